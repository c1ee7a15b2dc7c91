"""Read from mirrors before the origin, and from the next source if one fails (source decorator).

Mirrors are not trusted. The caller verifies ranges and reports wrong ones; documents are read from mirrors only if the
caller verifies their signatures. A mirror that fails or sends wrong bytes is not used again, except for one request
that bypasses its caches and replaces the wrong bytes in a cache. An overloaded mirror is used again after a pause.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeGuard

from models_init.core.errors import ModelsInitError, NotFoundError, UnavailableError
from models_init.core.units import human_time
from models_init.formats.manifest import MANIFEST_NAME
from models_init.sources.mirror_errors import mirror_error_text
from models_init.sources.wrappers.base import SinkWrapper, SourceWrapper
from models_init.sources.wrappers.retry import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models_init.core.events import Observer
    from models_init.formats.manifest import Archive
    from models_init.sources.source import Sink, Source

_FAILURES = 3  # in a row, after which a mirror is given up
_PAUSE = 0.2  # seconds after a failure
_REPORTS = 2  # reports of the same wrong bytes that may concern a mirror: its first response, and one past its caches


class MirroredSource(SourceWrapper):
    """Reads ranges from `mirrors`, in order, before `origin`; documents too if `is_signed`.

    Without signatures, documents are read from the origin only. A range that breaks off continues at the next source.
    """

    def __init__(
        self,
        origin: Source,
        mirrors: Sequence[Source],
        observer: Observer,
        *,
        is_signed: bool,
        policy: RetryPolicy | None = None,
    ) -> None:
        """Wrap `origin`; `policy` provides the clock and the pauses of overloaded mirrors."""
        super().__init__(origin)
        self._mirrors = [_Mirror(mirror, policy or RetryPolicy()) for mirror in mirrors]
        self._observer = observer
        self._is_signed = is_signed
        self._read_from: dict[str, _Mirror] = {}  # by the key of a document
        self._past_caches: dict[tuple[str, int, int], _Mirror] = {}  # mirrors to request wrong bytes from again
        self._lacking: set[tuple[str, str]] = set()  # mirror and directory of packs that were reported as missing

    async def read(self, key: str, limit: int) -> bytes:
        """See `Source.read`."""
        self._read_from.pop(key, None)
        for mirror in self._mirrors if self._is_signed else ():
            if mirror.has(key):
                try:
                    document = await mirror.source.read(key, limit)
                except ModelsInitError as error:
                    self._failed(mirror, key, error)
                    continue
                self._read_from[key] = mirror
                return document
        return await super().read(key, limit)

    async def get_range(self, key: str, start: int, stop: int, sink: Sink) -> None:
        """See `Source.get_range`."""
        position = start
        if mirror := self._past_caches.pop((key, start, stop), None):
            position = await self._request(mirror, key, (position, stop), sink)
        for mirror in self._mirrors:
            while position < stop and mirror.has(key, position, stop):
                position = await self._request_on_trial(mirror, key, (position, stop), sink)
        if position < stop or position == start:
            await super().get_range(key, position, stop, sink)

    def report_wrong(self, key: str, start: int, stop: int, reason: str) -> bool:
        """See `Source.report_wrong`. Every mirror that sent some of these bytes is given up."""
        if mirror := self._read_from.pop(key, None):
            self._drop(mirror, reason)
            return True
        suspects = [mirror for mirror in self._mirrors if mirror.is_suspect(key, start, stop)]
        for mirror in suspects:
            if not mirror.is_dropped:
                mirror.source.report_wrong(key, start, stop, reason)
                self._past_caches[key, start, stop] = mirror
                self._drop(mirror, reason)
        return bool(suspects) or super().report_wrong(key, start, stop, reason)

    def recompressed(self, key: str) -> Archive | None:
        """See `Source.recompressed`."""
        mirror = self._read_from.get(f"{key.rpartition('/')[0]}/{MANIFEST_NAME}")
        return mirror.source.recompressed(key) if mirror else super().recompressed(key)

    async def close(self) -> None:
        """Close all sources."""
        for source in (*(mirror.source for mirror in self._mirrors), self._inner):
            await source.close()

    async def _request_on_trial(self, mirror: _Mirror, key: str, rest: tuple[int, int], sink: Sink) -> int:
        """Request a range as `_request` does, but one at a time until the mirror has sent a complete one."""
        if mirror.is_proven:
            return await self._request(mirror, key, rest, sink)
        async with mirror.trial:
            return await self._request(mirror, key, rest, sink) if mirror.needs_trial(key, *rest) else rest[0]

    async def _request(self, mirror: _Mirror, key: str, rest: tuple[int, int], sink: Sink) -> int:
        """Copy a range from a mirror; return the end of the bytes that it sent. Raises the errors of the sink."""
        part = mirror.begin(key, *rest, sink)
        try:
            await part.task
            mirror.proven()
        except asyncio.CancelledError:
            if not part.is_abandoned or _is_cancelled():
                raise
        except _AbandonedError:
            pass
        except ModelsInitError as error:
            if part.has_failed:
                raise
            if mirror.may_recover(error):
                await asyncio.sleep(_PAUSE)
            elif _is_overload(error) or mirror.has(key, *rest):  # a gap of a bundle is known once the bundle is open
                self._failed(mirror, key, error)
        finally:
            mirror.running.discard(part)
        return part.sent.stop

    def _failed(self, mirror: _Mirror, key: str, error: ModelsInitError) -> None:
        """Give up a mirror after an error, unless it only lacks an object or is overloaded."""
        if isinstance(error, NotFoundError):
            mirror.missing.add(key)
            self._report_lacking(mirror, key.rpartition("/")[0])
        elif _is_overload(error):
            self._pause(mirror, error)
        else:
            self._drop(mirror, mirror_error_text(error))

    def _report_lacking(self, mirror: _Mirror, directory: str) -> None:
        if (mirror.source.name, directory) not in self._lacking:
            self._lacking.add((mirror.source.name, directory))
            pack, _, version = directory.partition("/")
            self._observer.event(
                "mirror_lacks_pack",
                level="warning",
                mirror=mirror.source.name,
                pack=pack,
                version=version,
                text="the pack is fetched from the next source",
            )

    def _pause(self, mirror: _Mirror, error: UnavailableError) -> None:
        """Use the other sources until an overloaded mirror may be used again. The first pause is reported."""
        wait = mirror.pause(error.retry_after or 0.0)
        if not mirror.is_overload_reported:
            mirror.is_overload_reported = True
            self._observer.event(
                "mirror_overloaded",
                level="warning",
                mirror=mirror.source.name,
                error=mirror_error_text(error),
                wait=human_time(wait),
                text="the next source is used until then",
            )

    def _drop(self, mirror: _Mirror, reason: str) -> None:
        if not mirror.is_dropped:
            mirror.drop()
            self._observer.event(
                "mirror_dropped",
                level="warning",
                mirror=mirror.source.name,
                error=reason,
                text="the run continues without this mirror",
            )


class _Mirror:
    """The state of a mirror: `missing` are the keys of objects that it lacks, `running` the ranges being received."""

    def __init__(self, source: Source, policy: RetryPolicy) -> None:
        self.source = source
        self.missing: set[str] = set()
        self.is_proven = self.is_dropped = self.is_overload_reported = False
        self._clock = policy.clock
        self._backoff = policy.pauses()
        self._pauses = 0  # since the last complete range
        self._paused_until = -math.inf
        self.failures = 0  # since the last complete range
        self.trial = asyncio.Lock()
        self.running: set[_Part] = set()
        self._sent: defaultdict[str, list[_SentRange]] = defaultdict(list)
        self._reports: Counter[tuple[str, int, int]] = Counter()

    def has(self, key: str, start: int = 0, stop: int = 0) -> bool:
        """Return False if the mirror is known to be unable to send these bytes now."""
        if self.is_dropped or key in self.missing or self._clock() < self._paused_until:
            return False
        return start == stop or not self.source.unavailable_reason(key, start, stop)

    def needs_trial(self, key: str, start: int, stop: int) -> bool:
        """Return True if the mirror may send this range and has not sent a complete one yet."""
        return not self.is_proven and self.has(key, start, stop)

    def may_recover(self, error: ModelsInitError) -> bool:
        """Count a failed request; return True if another request to the mirror is worthwhile.

        It is not if the mirror has never sent a complete range or is overloaded, because there are other sources.
        """
        self.failures += 1
        is_transient = isinstance(error, UnavailableError) and not _is_overload(error)
        return is_transient and self.is_proven and self.failures < _FAILURES

    def proven(self) -> None:
        """Record a complete range."""
        self.is_proven, self.failures, self._pauses = True, 0, 0

    def pause(self, retry_after: float) -> float:
        """Pause the mirror for `retry_after` seconds plus a random time, and return the wait. Then it is on trial."""
        now, wait = self._clock(), retry_after
        if self._paused_until <= now:  # one of several requests that are refused at the same time starts the pause
            self._pauses += 1
            wait = self._backoff.wait(self._pauses, retry_after, is_first=self._pauses == 1)
        self._paused_until = max(self._paused_until, now + wait)
        self.is_proven = False
        return self._paused_until - now

    def begin(self, key: str, start: int, stop: int, sink: Sink) -> _Part:
        """Start to receive a range."""
        part = _Part(sink, _SentRange(start, start))
        part.task = asyncio.create_task(self.source.get_range(key, start, stop, part))
        self._sent[key].append(part.sent)
        if not self.is_dropped:
            self.running.add(part)
        return part

    def is_suspect(self, key: str, start: int, stop: int) -> bool:
        """Return True if the mirror may have sent wrong bytes; False if they were reported more than twice."""
        if not any(sent.start < stop and start < sent.stop for sent in self._sent[key]):
            return False
        self._reports[key, start, stop] += 1
        return self._reports[key, start, stop] <= _REPORTS

    def drop(self) -> None:
        """Stop using the mirror, and abandon all ranges that are being received from it."""
        self.is_dropped = True
        for part in self.running:
            part.abandon()


class _AbandonedError(Exception):
    """A range was given up because its mirror is no longer used; internal."""


@dataclass(slots=True)
class _SentRange:
    """The bytes `start` to `stop` (exclusive) of an object, which a mirror has sent."""

    start: int
    stop: int


class _Part(SinkWrapper):
    """A range that is being received; `sent` is the part that has arrived.

    It is received in its own task, because the caller's task continues when the mirror is given up.
    """

    task: asyncio.Task[None]

    def __init__(self, inner: Sink, sent: _SentRange) -> None:
        super().__init__(inner)
        self.sent = sent
        self.is_abandoned = self.has_failed = self._is_busy = False

    async def buffer_updated(self, count: int) -> None:
        """See `Sink.buffer_updated`. Raises `_AbandonedError` if the mirror was given up."""
        self.sent.stop += count
        self._is_busy = True
        try:
            await super().buffer_updated(count)
        except BaseException:
            self.has_failed = True
            raise
        finally:
            self._is_busy = False
        if self.is_abandoned:
            raise _AbandonedError

    def abandon(self) -> None:
        """Stop receiving at once, or as soon as the sink has accepted the bytes that it is processing."""
        self.is_abandoned = True
        if not self._is_busy:
            self.task.cancel()


def _is_overload(error: ModelsInitError) -> TypeGuard[UnavailableError]:
    return isinstance(error, UnavailableError) and error.overloaded


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
