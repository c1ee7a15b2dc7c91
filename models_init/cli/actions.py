"""What each action does with the settings; each returns what it found or did."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models_init.core.errors import EXIT_OK, DamagedError, LockedError, NoSuchReleaseError, UnavailableError, UsageError
from models_init.volume.activation import Switch
from models_init.volume.layout import Volume

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from typing import NoReturn

    from models_init.cli.settings import Settings
    from models_init.core.events import Watcher
    from models_init.core.pack_ref import PackRef
    from models_init.formats.release import Release
    from models_init.install.assemble import Means

_CHECK_SECONDS = 5.0  # of patience with a source that is only to be tried
_LOCK_PAUSE = 0.2  # seconds between two looks at a lock that another run holds


@dataclass(frozen=True, slots=True)
class Result:
    """What an action tells on stdout (an object for programs, text for people), and the exit code."""

    content: dict[str, Any]
    text: str
    exit_code: int = EXIT_OK


# -- without asyncio: what must be fast


def nothing_to_do(settings: Settings) -> Result | None:
    """The result where the volume is what the environment names, or was rolled back from it; None where there is work.

    Opens no socket, needs no token, and imports nothing that it can do without.
    """
    volume = Volume(settings.folder)
    switch, current = Switch(volume), volume.current()
    if not current:
        return None
    if current.holds(settings.packs):
        switch.settle(settings.packs)
        return Result(_installed(current), f"nothing to do: release {current} is current")
    if refused := switch.rolled_back(settings.packs):
        return Result(
            _installed(current) | {"rolled_back_from": refused.id},
            f"ROLLED BACK: release {current} stays current, though the environment names {refused}; "
            f"to go forward again run --activate {refused.id}, or name other versions",
        )
    return None


def status(settings: Settings) -> Result:
    """Say what is on the volume."""
    from models_init.output import render  # noqa: PLC0415 - by need

    return Result(*render.status(Volume(settings.folder)))


def choose(settings: Settings, name: str, *, back: bool) -> Result:
    """Make an installed release current, by its name; with `back` and no name, the one before."""
    switch = Switch(Volume(settings.folder))
    release = switch.previous() if back and not name else switch.find(name)
    switch.choose(release, back=back)
    return Result(
        _installed(release) | {"activated": True},
        f"release {release} is current; later runs keep it until the environment names another set",
    )


def receipt(settings: Settings, file: str) -> Result:
    """Write what is installed, for whoever makes a bundle; `-` stands for stdout. Raises `UsageError`."""
    import json  # noqa: PLC0415 - by need
    from pathlib import Path  # noqa: PLC0415 - by need

    from models_init.core.errors import UsageError  # noqa: PLC0415 - by need
    from models_init.formats.receipt import Receipt  # noqa: PLC0415 - by need

    volume = Volume(settings.folder)
    current = volume.current()
    found = Receipt({ref: _published(volume, ref) for ref in volume.packs()}, current.id if current else "")
    text = found.encode()
    if file != "-":
        try:
            Path(file).write_bytes(text)
        except OSError as error:
            raise UsageError(f"--receipt {file} cannot be written: {error.strerror}; name another file") from error
    names = ", ".join(map(str, sorted(found.packs))) or "no packs"
    return Result(json.loads(text), text.decode().rstrip() if file == "-" else f"{file}: {names}")


def _published(volume: Volume, ref: PackRef) -> str:
    """The digest of the manifest as it was published, also where a site has derived its own. Raises `DamagedError`."""
    from models_init.install.resolve import installed  # noqa: PLC0415 - by need

    found = installed(volume, ref)
    plain = found.manifest.plain
    return plain.derived_from if plain and plain.derived_from else found.digest


def render_overlay(settings: Settings) -> Result:
    """Write the compose overlay for the languages that the environment names."""
    from models_init.cli.compose_overlay import languages, overlay  # noqa: PLC0415 - by need

    named = languages(settings.packs)
    text = overlay(named)
    return Result({"languages": named, "overlay": text}, text.removesuffix("\n"))


def hold(settings: Settings, name: str, program: tuple[str, ...]) -> NoReturn:
    """Become the program, holding a release as long as it lives. Raises `VolumeError`, `UsageError`."""
    from models_init.volume.lease import become  # noqa: PLC0415 - by need

    volume = Volume(settings.folder)
    become(volume, _named(volume, name), program)


def _named(volume: Volume, name: str) -> Release:
    """A release by name; nothing and "current" mean the current one. It may be damaged."""
    if name not in ("", "current"):
        return Switch(volume).find(name, whole=False)
    current = volume.current_name()
    if release := volume.record(current) or volume.inferred(current):
        return release
    if current:
        raise DamagedError(f"release {current} has lost its record; run without an action to mend it")
    raise NoSuchReleaseError(f"no release is current on {volume.root}; run without an action to install one")


# -- with it


async def install(settings: Settings, watcher: Watcher) -> Result:
    """Bring the volume to what the environment names."""
    from models_init.install.install import Installation  # noqa: PLC0415 - by need
    from models_init.output import render  # noqa: PLC0415 - by need

    retries = _Retries(watcher)
    async with _means(settings, watcher, retries) as means, _locked(means, "install", settings.lock_seconds):
        if done := nothing_to_do(settings):  # the run that held the lock did it
            return done
        if not means.volume.hard_links:
            watcher.event(
                "no_hard_links",
                level="warning",
                text="this file system refuses hard links, so an upgrade copies what did not change; "
                "a local file system or NFS for MODELS_DIR saves that room",
            )
        report = await Installation(settings.packs, means).run()
    content = _installed(report.release) | {
        "bytes_fetched": report.bytes_fetched,
        "bytes_reused": report.bytes_reused,
        "bytes_written": report.bytes_written,
        "seconds": report.seconds,
        "retries": retries.count,
        "activated": True,
    }
    return Result(content, render.installed(report, retries.count))


async def plan(settings: Settings, watcher: Watcher) -> Result:
    """Say what an install would do."""
    from models_init.install.install import Installation  # noqa: PLC0415 - by need
    from models_init.output import render  # noqa: PLC0415 - by need

    async with _means(settings, watcher, _Retries(watcher)) as means:
        found = await Installation(settings.packs, means).plan()
        return Result(*render.plan(found, means.volume, means.source.name))


async def check(settings: Settings, watcher: Watcher) -> Result:
    """Say whether an install would work, and all that would keep it from working."""
    from models_init.cli.factory import approach_of, ignored_no_proxy_entries  # noqa: PLC0415 - by need
    from models_init.core.events import Silence  # noqa: PLC0415 - by need
    from models_init.install.preflight import Preflight  # noqa: PLC0415 - by need
    from models_init.output import render  # noqa: PLC0415 - by need

    settings = _with_usable_keys(_hurried(settings))
    known = not any(fault.startswith(("REALTIME_", "WHISPER_")) for fault in settings.faults)
    somewhere = not any(fault.startswith("MODELS_URL=") for fault in settings.faults)
    async with _means(settings, Silence(), _Retries(watcher)) as means:
        approach = approach_of(settings, means.source) if somewhere else None
        ignored = ignored_no_proxy_entries(settings) if somewhere else ()
        report = await Preflight(settings.packs if known else (), means, approach).run(settings.faults, ignored)
    return Result(*render.checked(report), exit_code=report.found.exit_code)


def _hurried(settings: Settings) -> Settings:
    """The same with little patience: who checks waits for the answer."""
    return settings.model_copy(
        update={
            "retry_seconds": min(settings.retry_seconds, _CHECK_SECONDS),
            "idle_seconds": min(settings.idle_seconds, 2 * _CHECK_SECONDS),
            "token_seconds": 0.0,
        }
    )


def _with_usable_keys(settings: Settings) -> Settings:
    """The same; where the file of public keys cannot be used, without it, and with a fault that says so."""
    try:
        settings.read_public_keys()
    except UsageError as error:
        return settings.model_copy(update={"public_key_file": "", "faults": (*settings.faults, *error.faults)})
    return settings


async def verify(settings: Settings, watcher: Watcher, name: str) -> Result:
    """Hash what is installed."""
    from models_init.output import render  # noqa: PLC0415 - by need
    from models_init.volume.verify import verify as inspect  # noqa: PLC0415 - by need

    async with _means(settings, watcher, _Retries(watcher)) as means:
        state = await inspect(means.volume, _named(means.volume, name), means.workers, watcher)
    return Result(*render.state(state), exit_code=DamagedError.exit_code if state.damages else EXIT_OK)


async def repair(settings: Settings, watcher: Watcher, name: str) -> Result:
    """Mend what is installed."""
    from models_init.install.repair import repair as mend  # noqa: PLC0415 - by need
    from models_init.output import render  # noqa: PLC0415 - by need

    async with _means(settings, watcher, _Retries(watcher)) as means, _locked(means, "repair", settings.lock_seconds):
        repaired = await mend(means, _named(means.volume, name))
    return Result(*render.repaired(repaired))


async def prune(settings: Settings, watcher: Watcher, keep: int, *, dry_run: bool) -> Result:
    """Remove what nothing needs any more."""
    from models_init.output import render  # noqa: PLC0415 - by need
    from models_init.volume.prune import prune as remove  # noqa: PLC0415 - by need

    async with _means(settings, watcher, _Retries(watcher)) as means, _locked(means, "prune", settings.lock_seconds):
        pruned = await means.workers.run(lambda: remove(means.volume, settings.packs or None, keep, dry_run=dry_run))
    return Result(*render.pruned(pruned, dry_run=dry_run))


class _Retries:
    """Counts them, and tells the watcher."""

    def __init__(self, watcher: Watcher) -> None:
        self.count = 0
        self._watcher = watcher

    def __call__(self, error: Exception, wait: float) -> None:
        self.count += 1
        self._watcher.event("retrying", level="warning", error=str(error), wait_seconds=round(wait, 1))


@asynccontextmanager
async def _means(settings: Settings, watcher: Watcher, retries: _Retries) -> AsyncIterator[Means]:
    from models_init.cli.factory import source_of, token_expires, trust_of  # noqa: PLC0415 - by need
    from models_init.cli.token_expiry import Outlook  # noqa: PLC0415 - by need
    from models_init.core import memory_limits  # noqa: PLC0415 - by need
    from models_init.core.workers import Workers  # noqa: PLC0415 - by need
    from models_init.install.assemble import Means  # noqa: PLC0415 - by need
    from models_init.transfer.concurrency import Connections  # noqa: PLC0415 - by need

    trust = trust_of(settings, watcher)
    connections = Connections(settings.connections)

    def on_retry(error: UnavailableError, wait: float) -> None:
        if error.overloaded:
            connections.overloaded()
        retries(error, wait)

    watcher = Outlook(watcher, lambda: token_expires(settings))
    workers, source = Workers(), source_of(settings, watcher, on_retry)
    buffers = memory_limits.buffer_bytes(settings.memory, memory_limits.limit_bytes())
    try:
        async with _limited(settings.total_seconds):
            yield Means(Volume(settings.folder), source, trust, workers, watcher, connections, buffers)
    finally:
        workers.close()
        await source.close()


@asynccontextmanager
async def _limited(seconds: float) -> AsyncIterator[None]:
    """End the block after so many seconds, 0 is never. Raises `UnavailableError`."""
    import asyncio  # noqa: PLC0415 - by need

    try:
        async with asyncio.timeout(seconds or None) as limit:
            yield
    except TimeoutError:
        if not limit.expired():
            raise
        raise UnavailableError(
            f"the run was ended after MODELS_TOTAL_SECONDS={seconds:g}; what was verified is kept, run again to go on"
        ) from None


@asynccontextmanager
async def _locked(means: Means, doing: str, patience: float) -> AsyncIterator[None]:
    """Prepare and lock the volume; say for whom and how long there is waiting. Raises `LockedError`."""
    import asyncio  # noqa: PLC0415 - by need

    from models_init.volume.lock import Lock  # noqa: PLC0415 - by need

    means.volume.prepare()
    lock, waited = Lock(means.volume.root / ".lock"), 0.0
    while not lock.take(doing):
        if not waited:
            means.watcher.event("waiting", holder=lock.holder(), at_most_seconds=patience)
        if waited >= patience:
            raise LockedError(
                f"{means.volume.root} is in use ({lock.holder()}), for longer than {patience:.0f} s; "
                "run again when that run has ended"
            )
        await asyncio.sleep(_LOCK_PAUSE)
        waited += _LOCK_PAUSE
    try:
        yield
    finally:
        lock.release()


def _installed(release: Release) -> dict[str, Any]:
    return {
        "release": release.id,
        "packs": release.versions,
        "bytes_fetched": 0,
        "bytes_reused": 0,
        "bytes_written": 0,
        "seconds": 0.0,
        "retries": 0,
        "activated": False,
    }
