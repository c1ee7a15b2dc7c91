"""Run blocking calls (hashing, decompression, disk I/O) in threads, from one event loop."""

from __future__ import annotations

import asyncio
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

from models_init.core.errors import first_error
from models_init.runtime.thread_pools import startable, thread_pool

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

T = TypeVar("T")
U = TypeVar("U")

_MOST = 8  # threads; four cores can verify and write 10 Gbit/s


_MOST_IO = 32  # threads for short blocking calls; asyncio's default
_RESERVE = 4  # threads that other parts start later: unpacking and hashing of an archive, the end of the event loop


class Workers:
    """A thread pool with one thread per core available to this process, up to eight; fewer if the system refuses more.

    `io` is for short blocking calls of the event loop: name resolution and reading local sources.
    Raises `UsageError`: the system refuses all threads.
    """

    def __init__(self) -> None:
        cores = len(os.sched_getaffinity(0))
        count, io = min(_MOST, cores), min(_MOST_IO, cores + 4)
        spare = startable(count + io + 1 + _RESERVE) - _RESERVE - 1
        if spare < count + io:
            count = max(1, min(count, spare // 2))
            io = max(1, min(io, spare - count))
        self._executor = thread_pool(count, "worker")
        self._single = thread_pool(1, "small") if spare > 1 else self._executor
        self.io = thread_pool(io, "io") if spare > 0 else self._executor

    async def run(self, call: Callable[..., T], *arguments: object) -> T:
        """Call in a thread and return the result."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, call, *arguments)

    async def run_to_end(self, call: Callable[..., T], *arguments: object, small: bool = False) -> T:
        """Call in a thread and return the result; if cancelled, wait until the call has ended.

        Use it for calls that access memory of the caller. With `small`, calls share one thread. Calls that consist of
        many small steps hold the interpreter lock most of the time, so two threads would wait for each other at every
        step. With one thread, 100,000 small files took 0.7 of the time and half the CPU (measured).
        """
        executor = self._single if small else self._executor
        return await ended(asyncio.get_running_loop().run_in_executor(executor, call, *arguments))

    async def each(self, call: Callable[[U], T], items: Iterable[U]) -> list[T]:
        """Call for all items, concurrently in all threads, and return the results in order. Raises the first error."""
        return await each(lambda item: self.run(call, item), items)

    def close(self) -> None:
        """Wait for running calls and cancel pending ones."""
        for executor in (self._single, self._executor, self.io):
            executor.shutdown(cancel_futures=True)


async def ended(call: asyncio.Future[T]) -> T:
    """Return the result of a call in a thread. If cancelled, wait until the call has ended."""
    try:
        return await asyncio.shield(call)
    except asyncio.CancelledError:
        while not call.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([call])
        if not call.cancelled():
            call.exception()  # otherwise asyncio logs that the exception was never retrieved
        raise


async def each(step: Callable[[U], Awaitable[T]], items: Iterable[U]) -> list[T]:
    """Run `step` for all items concurrently and return the results in order.

    The first error cancels the others and is raised without the group.
    """

    async def one(item: U) -> T:
        return await step(item)

    with unwrap_group():
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(item)) for item in items]
    return [task.result() for task in tasks]


@contextmanager
def unwrap_group() -> Iterator[None]:
    """Replace an exception group that the block raises by its first error (see `first_error`)."""
    try:
        yield
    except BaseExceptionGroup as errors:
        fault = first_error(errors)
    else:
        return
    raise fault  # outside the handler, so that it keeps its own cause and context
