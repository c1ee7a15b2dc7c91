"""Run calls that block (hashing, decompression, disks) in threads, from one event loop."""

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

_MOST = 8  # threads: four cores verify and write what a 10 Gbit/s line brings


class Workers:
    """As many threads as there are cores for this process, up to eight."""

    def __init__(self) -> None:
        count = min(_MOST, len(os.sched_getaffinity(0)))
        self._executor = ThreadPoolExecutor(count, thread_name_prefix="worker")
        self._single = ThreadPoolExecutor(1, thread_name_prefix="small")

    async def run(self, call: Callable[..., T], *arguments: object) -> T:
        """Call in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, call, *arguments)

    async def run_to_end(self, call: Callable[..., T], *arguments: object, small: bool = False) -> T:
        """Call in a thread, and return only when the call has ended: it uses memory that the caller owns.

        Calls made of many `small` steps share one thread: they hold the interpreter lock most of the time, and two
        threads of them wait for each other at every step. 100,000 small files took 0.7 of the time and half the CPU
        with one (measured).
        """
        executor = self._single if small else self._executor
        return await ended(asyncio.get_running_loop().run_in_executor(executor, call, *arguments))

    async def each(self, call: Callable[[U], T], items: Iterable[U]) -> list[T]:
        """Call for all items, as many side by side as there are threads; the first error is raised alone."""
        return await each(lambda item: self.run(call, item), items)

    def close(self) -> None:
        """Wait for the calls that run, and drop those that wait."""
        for executor in (self._single, self._executor):
            executor.shutdown(cancel_futures=True)


async def ended(call: asyncio.Future[T]) -> T:
    """Return the result of a call in a thread. A caller that is cancelled waits for its end before it is."""
    try:
        return await asyncio.shield(call)
    except asyncio.CancelledError:
        while not call.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([call])
        if not call.cancelled():
            call.exception()  # retrieved, or asyncio would report it as lost
        raise


async def each(step: Callable[[U], Awaitable[T]], items: Iterable[U]) -> list[T]:
    """Take the step for all items side by side; the first error ends all and is raised alone."""

    async def one(item: U) -> T:
        return await step(item)

    with unwrap_group():
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(item)) for item in items]
    return [task.result() for task in tasks]


@contextmanager
def unwrap_group() -> Iterator[None]:
    """Raise the first error of a task group in the block, alone."""
    try:
        yield
    except BaseExceptionGroup as errors:
        fault = first_error(errors)
    else:
        return
    raise fault  # not in the handler, and not from the group: it keeps the cause that it has
