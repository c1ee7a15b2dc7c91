"""Retry requests that fail transiently (source decorator).

Only `UnavailableError` is retried. Waits grow exponentially with full jitter
(https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/) and are never shorter than the service's
`Retry-After`. A broken range is resumed where it broke off. Received bytes count as success: attempts and time are
counted from the last progress, not from the beginning.
"""

from __future__ import annotations

import asyncio
from copy import copy
from dataclasses import dataclass, replace
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_after_attempt,
    stop_before_delay,
    wait_random_exponential,
)

from models_init.core.errors import UnavailableError
from models_init.sources.wrappers.base import SinkWrapper, SourceWrapper

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from models_init.sources.probe import Credential, EndpointProbe, ProbeResult
    from models_init.sources.source import Sink, Source

T = TypeVar("T")

_WORTH = 64 << 10
"""Bytes that reset the time limit. A source that sends only a byte now and then does not count as working."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Limits and waits, in seconds, of retries.

    Retrying ends after `attempts` in a row without a byte, or after `seconds` with fewer than `_WORTH` bytes, whichever
    comes first. Until the source has answered once, the limit is `first_seconds`: a wrong URL is then more likely than
    an outage. Ten attempts take a minute, 60 a quarter of an hour, so normally the time limit ends the retries.
    """

    attempts: int = 60
    seconds: float = 300.0
    first_seconds: float = 60.0
    first_wait: float = 0.5
    longest_wait: float = 30.0
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    clock: Callable[[], float] = monotonic


class RetryingSource(SourceWrapper):
    """Retries requests to `inner` within the limits of `patience`.

    `on_retry` is called before each wait with the error and the wait in seconds.
    """

    def __init__(
        self, inner: Source, patience: RetryPolicy, on_retry: Callable[[UnavailableError, float], None]
    ) -> None:
        super().__init__(inner)
        self._patience = patience
        self._on_retry = on_retry
        self._answered = False

    async def read(self, key: str, limit: int) -> bytes:
        """See `Source.read`."""
        return await self._again(lambda _: self._inner.read(key, limit))

    async def get_range(self, key: str, start: int, stop: int, sink: Sink) -> None:
        """See `Source.get_range`; a broken range is resumed at the byte where it broke off."""
        came = 0

        async def attempt(effort: _RetryLoop) -> None:
            nonlocal came
            if start + came < stop or not came:  # after an error behind the last byte, nothing is left to request
                counted = _CountingSink(sink, effort)
                try:
                    await self._inner.get_range(key, start + came, stop, counted)
                finally:
                    came += counted.came

        await self._again(attempt)

    async def names(self, directory: str) -> list[str]:
        """See `Source.names`."""
        return await self._again(lambda _: self._inner.names(directory))

    async def _again(self, call: Callable[[_RetryLoop], Awaitable[T]]) -> T:
        first, seconds = self._patience.first_seconds, self._patience.seconds
        patience = self._patience if self._answered else replace(self._patience, seconds=min(first, seconds))
        result = await _RetryLoop(patience, self._tell).make(call)
        self._answered = True
        return result

    def _tell(self, error: UnavailableError, wait: float) -> None:
        self._answered = self._answered or error.overloaded
        self._on_retry(error, wait)


class _CountingSink(SinkWrapper):
    """Counts the received bytes and reports them as progress."""

    def __init__(self, inner: Sink, effort: _RetryLoop) -> None:
        super().__init__(inner)
        self._effort = effort
        self.came = 0

    async def buffer_updated(self, count: int) -> None:
        """See `Sink.buffer_updated`."""
        began = self._effort.clock()
        await super().buffer_updated(count)
        self.came += count
        self._effort.progress(count, self._effort.clock() - began)


class RetryingProbe:
    """Retries the ping of `inner` by the same rules."""

    def __init__(self, inner: EndpointProbe, patience: RetryPolicy) -> None:
        self._inner = inner
        self._patience = patience

    async def ping(self) -> ProbeResult:
        """See `EndpointProbe.ping`."""
        return await call_with_retry(self._inner.ping, self._patience)

    def credential(self) -> Credential | None:
        """See `EndpointProbe.credential`."""
        return self._inner.credential()


async def call_with_retry(call: Callable[[], Awaitable[T]], patience: RetryPolicy) -> T:
    """Call until it does not raise `UnavailableError`, by the same rules, for calls that do not involve a source."""
    return await _RetryLoop(patience, lambda _error, _wait: None).make(lambda _: call())


class _RetryLoop:
    """The attempts of one request.

    tenacity's strategies decide about stopping and waiting, given the attempts and the time since the last progress
    instead of since the first attempt. They have no side effects: the counters change only when an attempt begins and
    when bytes arrive.
    """

    def __init__(self, patience: RetryPolicy, on_retry: Callable[[UnavailableError, float], None]) -> None:
        self._sleep = patience.sleep
        self.clock = patience.clock
        self._on_retry = on_retry
        self._backoff = wait_random_exponential(multiplier=patience.first_wait, max=patience.longest_wait)
        self._limit = stop_after_attempt(patience.attempts) | stop_before_delay(patience.seconds)
        self._attempt = 1
        self._attempts_before = 0  # attempts that had ended when bytes last arrived
        self._gain = 0
        self._last_gain = self.clock()

    async def make(self, call: Callable[[_RetryLoop], Awaitable[T]]) -> T:
        retrying = AsyncRetrying(
            sleep=self._sleep,
            retry=retry_if_exception_type(UnavailableError),
            wait=self._wait,
            stop=self._stop,
            before=self._begin,
            before_sleep=self._tell,
            reraise=True,
        )

        async def attempt() -> T:  # tenacity awaits only coroutine functions
            return await call(self)

        return await retrying(attempt)

    def progress(self, count: int, busy: float) -> None:
        """Record received bytes, and the seconds that the sink took, which do not count against the source."""
        self._attempts_before = self._attempt - 1
        self._gain += count
        self._last_gain += busy
        if self._gain >= _WORTH:
            self._gain, self._last_gain = 0, self.clock()

    def _begin(self, state: RetryCallState) -> None:
        self._attempt = state.attempt_number

    def _wait(self, state: RetryCallState) -> float:
        return max(self._backoff(self._since_progress(state)), _fault(state).retry_after or 0.0)

    def _stop(self, state: RetryCallState) -> bool:
        return self._limit(self._since_progress(state))

    def _since_progress(self, state: RetryCallState) -> RetryCallState:
        """Return a copy whose attempts and time are counted from the last progress.

        An attempt that received bytes and failed afterwards counts as the first one without progress.
        """
        since = copy(state)
        since.attempt_number -= self._attempts_before
        since.start_time, since.outcome_timestamp = self._last_gain, self.clock()
        return since

    def _tell(self, state: RetryCallState) -> None:
        self._on_retry(_fault(state), state.upcoming_sleep)


def _fault(state: RetryCallState) -> UnavailableError:
    fault = state.outcome.exception() if state.outcome else None
    if not isinstance(fault, UnavailableError):  # cannot happen: `retry` accepts only this class
        raise TypeError(f"{fault!r} is not retried")
    return fault
