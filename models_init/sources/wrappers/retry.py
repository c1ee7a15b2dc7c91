"""Retry requests that fail transiently (source decorator).

Only `UnavailableError` is retried. `backoff` computes the waits; all requests to an overloaded source wait at one
`gate`. A broken range is resumed where it broke off. Received bytes count as success: attempts and time are counted
from the last progress, not from the beginning.
"""

from __future__ import annotations

import asyncio
import random
from copy import copy
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Protocol, TypeVar

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_after_attempt,
    stop_before_delay,
)

from models_init.core.errors import UnavailableError
from models_init.sources.wrappers.backoff import Backoff
from models_init.sources.wrappers.base import SinkWrapper, SourceWrapper
from models_init.sources.wrappers.gate import Gate

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from models_init.sources.probe import Credential, EndpointProbe, ProbeResult
    from models_init.sources.source import Sink, Source

T = TypeVar("T")

_SUFFICIENT = 64 << 10
"""Bytes that reset the time limit. A source that sends only an occasional byte does not count as working."""

_PAUSE_FACTOR = 4.0
"""Growth of the pauses of an overloaded source: they reach the longest pause after a few refusals."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Limits and waits, in seconds, of retries.

    Retrying ends after `attempts` in a row without a byte, or after `seconds` with fewer than `_SUFFICIENT` bytes,
    whichever comes first. Until the source has answered once, the limit is `first_seconds`: a wrong URL is then more
    likely than an outage. Ten attempts take a minute, 60 a quarter of an hour: normally the time limit ends the
    retries. `pause` is the first and the longest wait for an overloaded source.
    """

    attempts: int = 60
    seconds: float = 300.0
    first_seconds: float = 60.0
    first_wait: float = 0.5
    longest_wait: float = 30.0
    pause: tuple[float, float] = (8.0, 30.0)
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    clock: Callable[[], float] = monotonic
    uniform: Callable[[float, float], float] = random.uniform

    def backoff(self) -> Backoff:
        """Return the waits of a single request."""
        return Backoff(self.first_wait, self.longest_wait, uniform=self.uniform)

    def pauses(self) -> Backoff:
        """Return the waits for an overloaded source."""
        first, longest = self.pause
        return Backoff(first, longest, _PAUSE_FACTOR, self.uniform)

    def gate(self) -> Gate:
        """Return a new gate for the requests of one run to one source."""
        return Gate(self.pauses(), self.clock, self.sleep)


@dataclass(frozen=True, slots=True)
class Retry:
    """A retry after `error`: the seconds until the retry, and until the request is given up if no byte arrives."""

    error: UnavailableError
    wait: float
    left: float


class RetryObserver(Protocol):
    """Receives reports of retries."""

    def retrying(self, retry: Retry) -> None:
        """Record a retry, before its wait."""

    def recovered(self) -> None:
        """Record that the source responds again: the first success or byte after a retry."""


class NullRetryObserver:
    """A `RetryObserver` that ignores everything."""

    def retrying(self, retry: Retry) -> None:
        """Do nothing."""

    def recovered(self) -> None:
        """Do nothing."""


class _Outage:
    """Forwards retries, and the first success after them, to an observer; shared by all requests to one host."""

    def __init__(self, observer: RetryObserver) -> None:
        self._observer = observer
        self._failing = False

    def retrying(self, retry: Retry) -> None:
        """See `RetryObserver.retrying`."""
        self._failing = True
        self._observer.retrying(retry)

    def recovered(self) -> None:
        """See `RetryObserver.recovered`."""
        if self._failing:
            self._failing = False
            self._observer.recovered()


class RetryingSource(SourceWrapper):
    """Retries requests to `inner` within the limits of `policy`."""

    def __init__(self, inner: Source, policy: RetryPolicy, observer: RetryObserver) -> None:
        super().__init__(inner)
        self._policy = policy
        self._gate = policy.gate()
        self._outage = _Outage(observer)
        self._answered = False

    async def read(self, key: str, limit: int) -> bytes:
        """See `Source.read`."""
        return await self._retried(lambda _: self._inner.read(key, limit))

    async def get_range(self, key: str, start: int, stop: int, sink: Sink) -> None:
        """See `Source.get_range`; a broken range is resumed at the byte where it broke off."""
        received = 0

        async def attempt(loop: _RetryLoop) -> None:
            nonlocal received
            if start + received < stop or not received:  # after an error behind the last byte, nothing is left
                counted = _CountingSink(sink, loop)
                try:
                    await self._inner.get_range(key, start + received, stop, counted)
                finally:
                    received += counted.received

        await self._retried(attempt)

    async def names(self, directory: str) -> list[str]:
        """See `Source.names`."""
        return await self._retried(lambda _: self._inner.names(directory))

    async def _retried(self, call: Callable[[_RetryLoop], Awaitable[T]]) -> T:
        result = await _RetryLoop(self._policy, self._gate, self, has_answered=self._answered).run(call)
        self.recovered()
        return result

    def retrying(self, retry: Retry) -> None:
        """See `RetryObserver.retrying`."""
        self._answered = self._answered or retry.error.overloaded
        self._outage.retrying(retry)

    def recovered(self) -> None:
        """See `RetryObserver.recovered`."""
        self._answered = True
        self._outage.recovered()


class _CountingSink(SinkWrapper):
    """Counts the received bytes and reports them as progress."""

    def __init__(self, inner: Sink, loop: _RetryLoop) -> None:
        super().__init__(inner)
        self._loop = loop
        self.received = 0

    async def buffer_updated(self, count: int) -> None:
        """See `Sink.buffer_updated`."""
        began = self._loop.clock()
        await super().buffer_updated(count)
        self.received += count
        self._loop.progress(count, self._loop.clock() - began)


class RetryingProbe:
    """Retries the ping of `inner` by the same rules."""

    def __init__(self, inner: EndpointProbe, policy: RetryPolicy) -> None:
        self._inner = inner
        self._retrier = Retrier(policy)

    async def ping(self) -> ProbeResult:
        """See `EndpointProbe.ping`."""
        return await self._retrier.call(self._inner.ping)

    def credential(self) -> Credential | None:
        """See `EndpointProbe.credential`."""
        return self._inner.credential()


class Retrier:
    """Retries calls to one host by the same rules; for calls that do not involve a source."""

    def __init__(self, policy: RetryPolicy, observer: RetryObserver | None = None) -> None:
        self._policy = policy
        self._gate = policy.gate()
        self._outage = _Outage(observer or NullRetryObserver())

    async def call(self, call: Callable[[], Awaitable[T]]) -> T:
        """Call until it does not raise `UnavailableError`."""
        result = await _RetryLoop(self._policy, self._gate, self._outage, has_answered=True).run(lambda _: call())
        self._outage.recovered()
        return result


class _RetryLoop:
    """The attempts of one request.

    tenacity runs the attempts and decides when to give up, by the attempts and the time since the last progress instead
    of since the first attempt. The counters change only when an attempt begins and when bytes arrive.
    """

    def __init__(self, policy: RetryPolicy, gate: Gate, observer: RetryObserver, *, has_answered: bool) -> None:
        self._policy = policy
        self._seconds = policy.seconds if has_answered else min(policy.first_seconds, policy.seconds)
        self.clock = policy.clock
        self._gate = gate
        self._observer = observer
        self._backoff = policy.backoff()
        self._attempt = 1
        self._attempts_before = 0  # attempts that had ended when bytes last arrived
        self._received = 0  # since the last progress
        self._last_progress = self.clock()

    async def run(self, call: Callable[[_RetryLoop], Awaitable[T]]) -> T:
        retrying = AsyncRetrying(
            sleep=self._policy.sleep,
            retry=retry_if_exception_type(UnavailableError),
            wait=self._wait,
            stop=self._stop,
            before=self._begin,
            before_sleep=self._report,
            reraise=True,
        )

        async def attempt() -> T:  # tenacity awaits only coroutine functions
            return await self._admitted(call)

        return await retrying(attempt)

    async def _admitted(self, call: Callable[[_RetryLoop], Awaitable[T]]) -> T:
        """Make one attempt when the gate admits it.

        The source does not fail this request while it waits for others that are answered; that time does not count.
        """
        arrived = self.clock()
        await self._gate.enter()
        answered = self.clock() if self._attempt == 1 else max(arrived, self._gate.answered_at)
        self._last_progress += answered - arrived
        try:
            result = await call(self)
        except UnavailableError as error:
            if error.overloaded:
                self._gate.refused(error.retry_after or 0.0, self._left(error))
            raise
        else:
            self._gate.succeeded()
            return result
        finally:
            self._gate.leave()

    def progress(self, count: int, busy: float) -> None:
        """Record received bytes, and the seconds that the sink took, which do not count against the source."""
        self._attempts_before = self._attempt - 1
        self._received += count
        self._last_progress += busy
        if self._received >= _SUFFICIENT:
            self._received, self._last_progress = 0, self.clock()
            self._gate.answered()
        self._observer.recovered()

    def _begin(self, state: RetryCallState) -> None:
        self._attempt = state.attempt_number

    def _wait(self, state: RetryCallState) -> float:
        error, failures = _error(state), self._attempt - self._attempts_before
        if error.overloaded:
            return max(self._backoff.wait(failures), self._gate.closed_for())
        return self._backoff.wait(failures, error.retry_after or 0.0, self._left(error))

    def _stop(self, state: RetryCallState) -> bool:
        limit = stop_after_attempt(self._policy.attempts) | stop_before_delay(self._time_limit(_error(state)))
        return limit(self._since_progress(state))

    def _since_progress(self, state: RetryCallState) -> RetryCallState:
        """Return a copy whose attempts and time are counted from the last progress.

        An attempt that received bytes and failed afterwards counts as the first one without progress.
        """
        since = copy(state)
        since.attempt_number -= self._attempts_before
        since.start_time, since.outcome_timestamp = self._progress_before(_error(state)), self.clock()
        return since

    def _progress_before(self, error: UnavailableError) -> float:
        """Return the time of the last progress of this request, or of any request if the service is overloaded."""
        return max(self._last_progress, self._gate.answered_at) if error.overloaded else self._last_progress

    def _left(self, error: UnavailableError) -> float:
        """Return the seconds until the request is given up."""
        return self._time_limit(error) - (self.clock() - self._progress_before(error))

    def _time_limit(self, error: UnavailableError) -> float:
        """Return the maximum time without progress; a service that reports overload counts as having answered."""
        return self._policy.seconds if error.overloaded else self._seconds

    def _report(self, state: RetryCallState) -> None:
        error = _error(state)
        self._observer.retrying(Retry(error, state.upcoming_sleep, self._left(error)))


def _error(state: RetryCallState) -> UnavailableError:
    error = state.outcome.exception() if state.outcome else None
    if not isinstance(error, UnavailableError):  # cannot happen: `retry` accepts only this class
        raise TypeError(f"{error!r} is not retried")
    return error
