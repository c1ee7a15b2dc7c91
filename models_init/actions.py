"""What each action does with the settings; each returns what it found or did."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models_init.errors import LockedError
from models_init.volume import Volume

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from models_init.install import Installation, Report
    from models_init.release import Release
    from models_init.settings import Settings
    from models_init.sources.source import Source
    from models_init.watch import Watcher

_LOCK_PAUSE = 0.2  # seconds between two looks at a lock that another run holds
_WORKERS = 8  # threads at most: four cores verify and write what a 10 Gbit/s line brings


@dataclass(frozen=True, slots=True)
class Result:
    """What an action tells on stdout: an object for programs, text for people."""

    content: dict[str, Any]
    text: str


def nothing_to_do(settings: Settings) -> Result | None:
    """The result where the volume is what the environment names; None where there is work.

    Opens no socket, needs no token, and imports nothing that it can do without.
    """
    current = Volume(settings.folder).current()
    if not current or not current.holds(settings.packs):
        return None
    return Result(_installed(current), f"nothing to do: release {current} is current")


async def install(settings: Settings, watcher: Watcher) -> Result:
    """Bring the volume to what the environment names."""
    volume = Volume(settings.folder)
    volume.prepare()
    async with _locked(volume, settings.lock_seconds, watcher):
        if done := nothing_to_do(settings):  # the run that held the lock did it
            return done
        retries = _Retries(watcher)
        async with _installation(settings, volume, watcher, retries) as installation:
            report = await installation.run()
    return _told(report, retries.count)


async def plan(settings: Settings, watcher: Watcher) -> Result:
    """Say what an install would do."""
    from models_init import views  # noqa: PLC0415 - by need

    volume = Volume(settings.folder)
    async with _installation(settings, volume, watcher, _Retries(watcher)) as installation:
        found = await installation.plan()
        return Result(*views.plan(found, volume, installation.source.name))


def status(settings: Settings) -> Result:
    """Say what is on the volume."""
    from models_init import views  # noqa: PLC0415 - by need

    return Result(*views.status(Volume(settings.folder)))


class _Retries:
    """Counts them, and tells the watcher."""

    def __init__(self, watcher: Watcher) -> None:
        self.count = 0
        self._watcher = watcher

    def __call__(self, error: Exception, wait: float) -> None:
        self.count += 1
        self._watcher.event("retrying", error=str(error), wait_seconds=round(wait, 1))


@asynccontextmanager
async def _installation(
    settings: Settings, volume: Volume, watcher: Watcher, on_retry: _Retries
) -> AsyncIterator[Installation]:
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - by need

    from models_init import memory  # noqa: PLC0415 - by need
    from models_init.install import Installation, Means  # noqa: PLC0415 - by need

    workers = ThreadPoolExecutor(min(_WORKERS, len(os.sched_getaffinity(0))), thread_name_prefix="worker")
    source = _source(settings, on_retry)
    buffers = memory.buffer_bytes(settings.memory, memory.limit_bytes())
    try:
        yield Installation(settings.packs, source, volume, Means(workers, watcher, settings.connections, buffers))
    finally:
        workers.shutdown(cancel_futures=True)
        await source.close()


def _source(settings: Settings, on_retry: Callable[[Exception, float], None]) -> Source:
    """The source that MODELS_URL names, opened when it is first asked."""
    from models_init.settings import local_folder  # noqa: PLC0415 - by need
    from models_init.sources.deferred import DeferredSource  # noqa: PLC0415 - by need
    from models_init.sources.retrying import Patience, RetryingSource  # noqa: PLC0415 - by need

    folder = local_folder(settings.url)
    if folder:
        from models_init.sources.directory import DirectorySource  # noqa: PLC0415 - by need

        inner: Source = DirectorySource(folder)
    else:
        inner = DeferredSource(f"{settings.url.rstrip('/')}/{settings.prefix}", lambda: _container(settings))
    return RetryingSource(inner, Patience(seconds=settings.retry_seconds), on_retry)


def _container(settings: Settings) -> Source:
    from models_init.sources.azure import Access, AzureSource  # noqa: PLC0415 - aiohttp takes a third of a second

    return AzureSource(
        Access(settings.url, settings.prefix, settings.read_token, settings.idle_seconds, settings.ca_file)
    )


@asynccontextmanager
async def _locked(volume: Volume, patience: float, watcher: Watcher) -> AsyncIterator[None]:
    """Hold the volume's lock; say for whom and how long there is waiting. Raises `LockedError`."""
    import asyncio  # noqa: PLC0415 - by need

    from models_init.lock import Lock  # noqa: PLC0415 - by need

    lock, waited = Lock(volume.root / ".lock"), 0.0
    while not lock.take("install"):
        if not waited:
            watcher.event("waiting", holder=lock.holder(), at_most_seconds=patience)
        if waited >= patience:
            raise LockedError(
                f"{volume.root} is in use ({lock.holder()}), for longer than {patience:.0f} s; "
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


def _told(report: Report, retries: int) -> Result:
    from models_init.console import human_size, human_time  # noqa: PLC0415 - by need

    content = _installed(report.release) | {
        "bytes_fetched": report.bytes_fetched,
        "bytes_reused": report.bytes_reused,
        "bytes_written": report.bytes_written,
        "seconds": report.seconds,
        "retries": retries,
        "activated": report.activated,
    }
    text = (
        f"release {report.release} is current: {human_size(report.bytes_fetched)} fetched, "
        f"{human_size(report.bytes_reused)} reused, {human_size(report.bytes_written)} written "
        f"in {human_time(report.seconds)}, {retries} retries"
    )
    return Result(content, text)
