"""Which release is current: activation, rollback, and the memory of both.

Beside the link `current` there are two notes, neither of which proves anything: `releases/.history` (a line for each
activation) says which release was current before, and `releases/.rolled-back.json` (a copy of a release's record) says
which one the operator turned away from.
"""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from models_init import release as releases
from models_init.errors import NoSuchReleaseError
from models_init.faults import volume_faults
from models_init.files import aside, sync_path, write_file

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from models_init.names import PackRef
    from models_init.release import Release
    from models_init.volume import Volume


class Switch:
    """Turns `volume` from one release to another, by one rename each time."""

    def __init__(self, volume: Volume) -> None:
        self._volume = volume
        self._history = volume.root / "releases" / ".history"
        self._mark = volume.root / "releases" / ".rolled-back.json"

    def rolled_back(self, wanted: Iterable[PackRef]) -> Release | None:
        """The release of these packs, if the operator turned away from it and it is not current."""
        try:
            release = releases.parse(self._mark.read_bytes())
        except (OSError, ValueError):
            return None
        current = self._volume.current()
        stays = release.holds(wanted) and current is not None and current.id != release.id
        return release if stays else None

    def settle(self, wanted: Iterable[PackRef]) -> None:
        """Forget what was rolled back once the environment names another set; a volume that is read-only keeps it."""
        with suppress(OSError, ValueError):
            if not releases.parse(self._mark.read_bytes()).holds(wanted):
                self._volume.discard(self._mark)

    def install(self, release: Release) -> None:
        """Make what was installed current, as the environment wants it; forget what was rolled back."""
        with volume_faults(self._volume.root):
            self._build(release)
            self._flip(release)
            if self._mark.exists():
                self._volume.discard(self._mark)

    def choose(self, release: Release) -> None:
        """Make a release current, as the operator wants it: later runs keep to that.

        Until the environment names another set than it does now, or the operator chooses again.
        """
        current = self._volume.current()
        with volume_faults(self._volume.root):
            self._remember(release, current)
            self._build(release)
            self._flip(release)

    def find(self, name: str) -> Release:
        """A release by its id or the beginning of it. Raises `NoSuchReleaseError`."""
        found = [release for release in self._volume.releases() if release.id.startswith(name)]
        if len(found) == 1:
            return found[0]
        if found:
            raise NoSuchReleaseError(f"{name} may be {' or '.join(release.id for release in found)}; name one of them")
        raise NoSuchReleaseError(f"there is no release {name}; {self._choices()}")

    def previous(self) -> Release:
        """The release that was current before this one. Raises `NoSuchReleaseError`."""
        current = self._volume.current()
        for name in reversed([*(release.id for release in self._volume.releases()), *self._activations()]):
            release = self._volume.release(name)
            if release and (not current or release.id != current.id):
                return release
        raise NoSuchReleaseError(f"there is no release to go back to; {self._choices()}")

    def in_order(self) -> list[Release]:
        """All whole releases, the one that was current last of all at the end."""
        last = {name: position for position, name in enumerate(self._activations())}
        return sorted(self._volume.releases(), key=lambda release: last.get(release.id, -1))

    def _choices(self) -> str:
        names = ", ".join(map(str, self._volume.releases()))
        return f"releases are: {names}" if names else "nothing is installed yet"

    def _activations(self) -> list[str]:
        """Ids, oldest first; torn lines name no release and do no harm."""
        try:
            lines = self._history.read_text("utf-8", "replace").splitlines()
        except OSError:
            return []
        return [line.split()[-1] for line in lines if line.strip()]

    def _remember(self, chosen: Release, current: Release | None) -> None:
        """Note what is turned away from, before it is: a crash in between leaves a note that means nothing."""
        with suppress(OSError, ValueError):
            marked = releases.parse(self._mark.read_bytes())
            if marked.id == chosen.id:
                self._volume.discard(self._mark)
            return
        if current and current.id != chosen.id:
            self._volume.replace(self._mark, current.encode())

    def _build(self, release: Release) -> None:
        """Give the release its public name, or mend what is wrong with the one that has it."""
        path, volume = self._volume.release_path(release.id), self._volume
        if path.exists():
            self.mend(release)
            return
        name = aside(volume.staging, "release")
        name.mkdir(mode=0o755)
        write_file(name / "release.json", release.encode())
        for link, target in links_of(release).items():
            os.symlink(target, name / link)
        sync_path(name)
        os.rename(name, path)
        sync_path(path.parent)

    def mend(self, release: Release) -> None:
        """Put back the record and the links of a release, each by a rename of its own: it may be current."""
        volume, path = self._volume, self._volume.release_path(release.id)
        if not self.has_record(release):
            volume.replace(path / "release.json", release.encode())
        for link in self.wrong_links(release):
            name = aside(volume.staging, "link")
            os.symlink(links_of(release)[link], name)
            if (path / link).is_dir() and not (path / link).is_symlink():
                volume.discard(path / link)
            os.rename(name, path / link)
        sync_path(path)

    def has_record(self, release: Release) -> bool:
        """Tell whether the release's record is there and says the same."""
        return self._volume.record(release.id) is not None

    def wrong_links(self, release: Release) -> list[str]:
        """The links of the release that are missing or lead elsewhere."""
        path = self._volume.release_path(release.id)
        return [link for link, target in links_of(release).items() if _leads_to(path / link) != target]

    def _flip(self, release: Release) -> None:
        """Make `current` lead to the release; what it leads to is on the disk."""
        volume = self._volume
        missing = [pack.ref for pack in release.packs if not volume.is_installed(pack.ref)]
        if missing:  # where locks do not hold, a prune beside this run may have taken one
            raise NoSuchReleaseError(f"{missing[0]} is gone again; run again to install it")
        link = aside(volume.staging, "current")
        os.symlink(f"releases/{release.id}", link)
        os.rename(link, volume.root / "current")
        sync_path(volume.root)
        self._note(release)

    def _note(self, release: Release) -> None:
        line = f"{datetime.now(UTC).isoformat(timespec='seconds')} {release.id}\n"
        descriptor = os.open(self._history, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            os.write(descriptor, line.encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def links_of(release: Release) -> dict[str, str]:
    """The links that a release's folder holds: where each leads, by name."""
    return {pack.ref.name: f"../../packs/{pack.ref.name}/{pack.ref.version}" for pack in release.packs}


def _leads_to(link: Path) -> str:
    try:
        return os.readlink(link)
    except OSError:
        return ""
