"""Run blocking calls (hashing, decompression, disk I/O) in threads, from one event loop."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

from models_init.core.errors import first_error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

T = TypeVar("T")
U = TypeVar("U")

_MOST = 8  # threads; four cores can verify and write 10 Gbit/s


class Workers:
    """A thread pool with one thread per core available to this process, up to eight."""

    def __init__(self) -> None:
        count = min(_MOST, len(os.sched_getaffinity(0)))
        self._executor = ThreadPoolExecutor(count, thread_name_prefix="worker")
        self._single = ThreadPoolExecutor(1, thread_name_prefix="small")

    async def run(self, call: Callable[..., T], *arguments: object) -> T:
        """Call in a thread and return the result."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, call, *arguments)

    async def run_to_end(self, call: Callable[..., T], *arguments: object, small: bool = False) -> T:
        """Call in a thread and return the result; if cancelled, wait until the call has ended.

        This is for calls that use memory of the caller. With `small`, calls share one thread: calls that consist of
        many small steps hold the interpreter lock most of the time, so that two threads would wait for each other at
        every step. With one thread, 100,000 small files took 0.7 of the time and half the CPU (measured).
        """
        executor = self._single if small else self._executor
        return await ended(asyncio.get_running_loop().run_in_executor(executor, call, *arguments))

    async def each(self, call: Callable[[U], T], items: Iterable[U]) -> list[T]:
        """Call for all items, concurrently in all threads, and return the results in order. Raises the first error."""
        return await each(lambda item: self.run(call, item), items)

    def close(self) -> None:
        """Wait for running calls and cancel pending ones."""
        for executor in (self._single, self._executor):
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
