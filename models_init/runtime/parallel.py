"""Run a function on all cores and return the results in order, with a bounded number of them in memory."""

from __future__ import annotations

import os
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from models_init.runtime.thread_pools import thread_pool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future, ThreadPoolExecutor

T = TypeVar("T")
R = TypeVar("R")


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


@contextmanager
def workers(threads: int) -> Iterator[ThreadPoolExecutor]:
    """Return a thread pool for a `with` block; cancel pending calls at its end, even after an error or interrupt.

    It has fewer threads if the system refuses more. Raises `UsageError`: the system refuses all threads.
    """
    pool = thread_pool(threads)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def in_order(pool: ThreadPoolExecutor, function: Callable[[T], R], jobs: Iterable[T], window: int) -> Iterator[R]:
    """Yield `function(job)` for each job, in order; at most `window` jobs are running or have unread results."""
    pending: deque[Future[R]] = deque()
    for job in jobs:
        pending.append(pool.submit(function, job))
        if len(pending) >= window:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()
