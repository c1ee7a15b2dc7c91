"""Activate releases, roll back, and record both.

In addition to the link `current`, there are two files that are only advisory. `releases/.history` (`volume.history`)
records which release was current before. `releases/.rolled-back.json`, a copy of a release's record, records the
release from which the operator rolled back.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from models_init.core.errors import DamagedError, NoSuchReleaseError
from models_init.formats import release as releases
from models_init.fs.files import make_link, removed_on_error, sync_path, temp_path, write_file
from models_init.fs.os_errors import volume_errors
from models_init.volume.copied_links import require_link, require_replaceable
from models_init.volume.history import BACK, STAGED, History
from models_init.volume.lock import flock_if_possible, lease

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from models_init.core.pack_ref import PackRef
    from models_init.formats.release import Release
    from models_init.volume.layout import Volume


class Switch:
    """Switches `volume` from one release to another, each time by a single rename."""

    def __init__(self, volume: Volume) -> None:
        self._volume = volume
        self._history = History(volume.root / "releases" / ".history")
        self._rollback_record = volume.root / "releases" / ".rolled-back.json"

    def rolled_back(self, wanted: Iterable[PackRef]) -> Release | None:
        """Return the release of these packs if the operator rolled back from it and it is not current."""
        release = self.rolled_back_from()
        return release if release and release.holds(wanted) and self._volume.current() else None

    def rolled_back_from(self) -> Release | None:
        """Return the release that the operator rolled back from, or None."""
        recorded = self._recorded_rollback()
        return recorded if recorded and recorded.id != self._volume.current_name() else None

    def clear_rollback(self, wanted: Iterable[PackRef]) -> None:
        """Remove the rollback record if the environment names another set of packs.

        On a read-only volume the record stays.
        """
        recorded = self._recorded_rollback()
        if recorded and not recorded.holds(wanted):
            with suppress(OSError):
                self._volume.remove_atomically(self._rollback_record)

    def install(self, release: Release) -> None:
        """Activate a newly installed release and remove the rollback record."""
        with volume_errors(self._volume.root):
            self._build(release)
            self._switch_current(release)
            self._history.append(release.id)
            if self._rollback_record.exists() and not self._was_left(release):
                self._volume.remove_atomically(self._rollback_record)

    def stage(self, release: Release) -> None:
        """Record a newly installed release without activating it; pruning keeps it for a time (`volume.retention`)."""
        with volume_errors(self._volume.root):
            self._build(release)
        self.note_staged(release)

    def note_staged(self, release: Release) -> None:
        """Record in the history that the release was staged, unless it was the last one or the volume is read-only."""
        if next(reversed(self.staged()), "") != release.id:
            with suppress(OSError):
                if shorter := self._history.shortened():
                    self._volume.replace(self._history.path, shorter)
                self._history.append(release.id, STAGED)

    def staged(self) -> dict[str, float]:
        """Return the staged releases that are neither current nor activated since, with the time of staging."""
        staged = self._history.staged()
        staged.pop(self._volume.current_name(), None)
        return staged

    def activate(self, release: Release, *, back: bool) -> None:
        """Activate a release on the operator's request; later runs keep it.

        It stays current until the environment names another set of packs or the operator chooses again. `back` marks it
        as a rollback target instead of the newest release.
        """
        with volume_errors(self._volume.root):
            self._volume.make_parts()
            # Pruning keeps the release meanwhile; without a lock server it keeps all releases.
            lease_descriptor = lease(self._volume.record_path(release.id), f"release {release.id}", flock_if_possible)
            try:
                self._record_rollback(release)
                self._build(release)
                self._switch_current(release)
                self._history.append(release.id, BACK if back else "")
                self._drop_rollback_record(release)
            finally:
                os.close(lease_descriptor)

    def find(self, name: str, *, complete: bool = True) -> Release:
        """Return a release by a prefix of its id; only complete ones if `complete`. Raises `NoSuchReleaseError`."""
        among = self._volume.releases() if complete else self._volume.recorded()
        found = [release for release in among if release.id.startswith(name)]
        if len(found) == 1:
            return found[0]
        if found:
            matches = " and ".join(release.id for release in found)
            raise NoSuchReleaseError(f"{name} is ambiguous: it matches {matches}; give more digits")
        raise NoSuchReleaseError(f"release {name} is not installed; {self._choices()}")

    def previous(self) -> Release:
        """Return the rollback target: the release before the last installed or activated one.

        If the operator has already rolled back, this is the current release, so that a repeated request, for example
        after a crash, goes neither further back nor forward. Raises `NoSuchReleaseError`.
        """
        current, active = self._volume.current(), self._volume.current_name()
        trail = [name for name in self._trail() if name == active or self._volume.release(name)]
        if current and current.id in trail[:-1]:
            return current
        for name in reversed(trail[:-1]):
            if release := self._volume.release(name):
                return release
        raise NoSuchReleaseError(f"there is no release to roll back to; {self._choices()}")

    def in_order(self) -> list[Release]:
        """Return all complete releases in rollback order: a rollback leaves the last one first."""
        last = {name: position for position, name in enumerate(self._trail())}
        return sorted(self._volume.releases(), key=lambda release: last.get(release.id, -1))

    def _choices(self) -> str:
        names = ", ".join(map(str, self._volume.releases()))
        return f"installed releases: {names}" if names else "nothing is installed"

    def _trail(self) -> list[str]:
        """Return the ids in order of installation or activation, oldest first.

        A release that is activated again becomes the newest, and those that followed its earlier entry are left out.
        Releases without a history entry, after a crash, count as older than the rest; only the current one counts as
        newest. Releases that were only staged are left out.
        """
        entries, current = self._history.installed(), self._volume.current_name()
        known = {*entries, *self._history.never_activated(), current}
        trail = [release.id for release in self._volume.releases() if release.id not in known]
        for name in [*entries, *({current} - {*entries, ""})]:
            if name in trail:
                del trail[trail.index(name) :]
            trail.append(name)
        return trail

    def _record_rollback(self, chosen: Release) -> None:
        """Record the release being left before switching; if the run crashes in between, the record is ignored."""
        current = self._volume.current_record()
        if current and current.id != chosen.id and not self._recorded_rollback():
            self._volume.replace(self._rollback_record, current.encode())

    def _drop_rollback_record(self, chosen: Release) -> None:
        """Remove the rollback record if the operator has returned to its release."""
        recorded = self._recorded_rollback()
        if recorded and recorded.id == chosen.id:
            self._volume.remove_atomically(self._rollback_record)

    def _was_left(self, release: Release) -> bool:
        """Return True if the operator has rolled back from the release, perhaps just after it became current.

        Whether it is current now does not matter: a record about the current release has no effect.
        """
        recorded = self._recorded_rollback()
        return recorded is not None and recorded.id == release.id

    def _recorded_rollback(self) -> Release | None:
        try:
            return releases.parse(self._rollback_record.read_bytes())
        except (OSError, ValueError):
            return None

    def _build(self, release: Release) -> None:
        """Create the release under its public name, or repair the existing one."""
        path, volume = self._volume.release_path(release.id), self._volume
        if path.exists():
            self.repair_record(release)
            return
        directory = temp_path(volume.staging, "release")
        with removed_on_error(directory):
            directory.mkdir(mode=0o755)
            write_file(directory / "release.json", release.encode())
            for link, target in links_of(release).items():
                make_link(target, directory / link)
            sync_path(directory)
            os.rename(directory, path)
        sync_path(path.parent)

    def repair_record(self, release: Release) -> None:
        """Restore the record and the links of a release.

        Each is replaced by its own rename because the release may be current.
        """
        volume, path = self._volume, self._volume.release_path(release.id)
        if not self.has_record(release):
            volume.replace(path / "release.json", release.encode())
        for name in self.unexpected_files(release):
            volume.remove_atomically(path / name)
        for link in self.wrong_links(release):
            volume.replace_link(path / link, links_of(release)[link])

    def has_record(self, release: Release) -> bool:
        """Return True if the release's record exists and matches."""
        return self._volume.record(release.id) is not None

    def wrong_links(self, release: Release) -> list[str]:
        """Return the links of the release that are missing or have another target."""
        path = self._volume.release_path(release.id)
        return [link for link, target in links_of(release).items() if _target(path / link) != target]

    def is_usable(self, release: Release) -> bool:
        """Return True if the release has a directory for each pack, by a link or by a copy of the pack."""
        path = self._volume.release_path(release.id)
        return all((path / link).is_dir() for link in links_of(release))

    def unexpected_files(self, release: Release) -> list[str]:
        """Return the entries of the release's directory that do not belong to it."""
        with suppress(OSError):
            return sorted({*os.listdir(self._volume.release_path(release.id))} - {"release.json", *links_of(release)})
        return []

    def _switch_current(self, release: Release) -> None:
        """Point `current` to the release, whose files must already be durable on disk."""
        volume = self._volume
        missing = [pack.ref for pack in release.packs if not volume.is_installed(pack.ref)]
        if missing:  # without working locks, a concurrent prune may have removed one
            raise NoSuchReleaseError(f"{missing[0]} was removed by another run; run again to install it")
        before = volume.current_name()
        self._point_current_to(release.id)
        if not volume.release(release.id):  # the same race: prune checks again after its rename, and so does this
            if before in ("", release.id):
                os.unlink(volume.root / "current")
            else:
                self._point_current_to(before)
            raise NoSuchReleaseError(f"release {release.id} was removed by another run; run again to install it")

    def _point_current_to(self, release_id: str) -> None:
        require_replaceable(self._volume)
        self._volume.replace_link(self._volume.root / "current", f"releases/{release_id}")


def links_of(release: Release) -> dict[str, str]:
    """Return the links in a release's directory: target by name."""
    return {pack.ref.name: f"../../packs/{pack.ref.name}/{pack.ref.version}" for pack in release.packs}


def _target(link: Path) -> str:
    try:
        return os.readlink(link)
    except OSError:
        return ""


def installed_release(volume: Volume, name: str) -> Release:
    """Return a release by name, possibly damaged; an empty name and "current" mean the current one.

    Raises `NoSuchReleaseError`: it is not installed. Raises `DamagedError`: the record of the current release is
    missing, or `current` is a directory.
    """
    if name not in ("", "current"):
        return Switch(volume).find(name, complete=False)
    require_link(volume)
    current = volume.current_name()
    if release := volume.record(current) or volume.inferred(current):
        return release
    if current:
        raise DamagedError(f"the record of release {current} is missing or damaged; run without an action")
    raise NoSuchReleaseError(f"no release is current on {volume.root}; run without an action to install one")
