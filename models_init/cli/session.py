"""Set up the observer, the source, the threads and the volume lock for actions that use an event loop."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from models_init.cli import metrics
from models_init.cli.factory import source_of, trust_of
from models_init.cli.retry_report import RetryReport, SourceRetries
from models_init.cli.token_expiry import TokenExpiryMonitor, token_expires
from models_init.core.errors import LockedError, UnavailableError
from models_init.install.context import InstallContext
from models_init.output import console
from models_init.runtime import memory_limits
from models_init.runtime.collector import collector_paused
from models_init.runtime.event_loop import run
from models_init.runtime.workers import Workers
from models_init.sources.open_source import host_of
from models_init.transfer.concurrency import ConnectionLimiter
from models_init.volume.copied_links import require_replaceable
from models_init.volume.layout import Volume
from models_init.volume.lock import Lock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from models_init.cli.result import Result
    from models_init.cli.settings import Settings
    from models_init.core.events import Observer

_LOCK_PAUSE = 0.2  # seconds between two attempts to take a lock that another run holds


def run_observed(action: Callable[[Observer], Coroutine[object, object, Result]], settings: Settings) -> Result:
    """Run an action on an event loop, with a bar or log lines on stderr."""
    with console.watching(log_format=settings.log_format, level=settings.log_level) as observer:
        return run(partial(action, metrics.observed(observer)))


@asynccontextmanager
async def open_context(settings: Settings, observer: Observer, retries: RetryReport) -> AsyncIterator[InstallContext]:
    """Open the source and the threads that `settings` describe; close them at the end of the block."""
    trust = trust_of(settings, observer)
    connections = ConnectionLimiter(settings.connections)
    observer = TokenExpiryMonitor(observer, lambda: token_expires(settings))
    with collector_paused():  # imports the HTTP client
        received: dict[str, int] = {}
        metrics.count_transfer(retries, received)
        source = source_of(settings, observer, SourceRetries(host_of(settings.url), retries, connections), received)
    workers = Workers()
    asyncio.get_running_loop().set_default_executor(workers.io)
    buffers = memory_limits.buffer_bytes(settings.memory, memory_limits.limit_bytes())
    try:
        async with _time_limit(settings.total_seconds):
            volume = Volume(settings.directory)
            yield InstallContext(source, workers, observer, connections, buffers, volume, trust, received)
    finally:
        await source.close()
        workers.close()


@asynccontextmanager
async def _time_limit(seconds: float) -> AsyncIterator[None]:
    """Cancel the block after `seconds`; 0 means no limit. Raises `UnavailableError`."""
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
async def locked(context: InstallContext, action: str, longest_wait: float) -> AsyncIterator[None]:
    """Prepare and lock the volume; report the holder and the longest wait while waiting. Raises `LockedError`."""
    context.volume.prepare()
    require_replaceable(context.volume)
    lock, waited = Lock(context.volume.root / ".lock"), 0.0
    while not lock.take(action):
        if not waited:
            context.observer.event("waiting", holder=lock.holder(), at_most_seconds=longest_wait)
        if waited >= longest_wait:
            raise LockedError(
                f"{context.volume.root} is in use ({lock.holder()}), for longer than {longest_wait:.0f} s; "
                "run again when that run has ended"
            )
        await asyncio.sleep(_LOCK_PAUSE)
        waited += _LOCK_PAUSE
    try:
        yield
    finally:
        lock.release()
