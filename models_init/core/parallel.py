"""Work on all cores whose results come in order, without ever holding more than a few of them."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future

T = TypeVar("T")
R = TypeVar("R")


def cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0))


@contextmanager
def workers(threads: int) -> Iterator[ThreadPoolExecutor]:
    """Offer a pool that drops what has not begun when its block is left by an error or an interrupt."""
    pool = ThreadPoolExecutor(threads)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def in_order(pool: ThreadPoolExecutor, function: Callable[[T], R], jobs: Iterable[T], window: int) -> Iterator[R]:
    """Apply `function` to each job; at most `window` jobs are under way or wait for the caller."""
    pending: deque[Future[R]] = deque()
    for job in jobs:
        pending.append(pool.submit(function, job))
        if len(pending) >= window:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()
