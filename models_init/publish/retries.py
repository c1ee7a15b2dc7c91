"""When the publisher asks the service again: the rule of the sources, for calls that write."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_after_attempt,
    stop_before_delay,
    wait_random_exponential,
)

from models_init.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from models_init.sources.retrying import Patience

T = TypeVar("T")


async def patiently(call: Callable[[], Awaitable[T]], patience: Patience) -> T:
    """Call again after each `UnavailableError`, as long as patience lasts; never sooner than the service asks for."""
    jitter = wait_random_exponential(patience.first_wait, patience.longest_wait)

    def wait(state: RetryCallState) -> float:
        fault = state.outcome.exception() if state.outcome else None
        return max(jitter(state), fault.retry_after or 0.0 if isinstance(fault, UnavailableError) else 0.0)

    async def attempt() -> T:  # tenacity waits for coroutine functions only
        return await call()

    retrying = AsyncRetrying(
        sleep=patience.sleep,
        retry=retry_if_exception_type(UnavailableError),
        wait=wait,
        stop=stop_after_attempt(patience.attempts) | stop_before_delay(patience.seconds),
        reraise=True,
    )
    return await retrying(attempt)
