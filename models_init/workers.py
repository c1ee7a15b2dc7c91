"""Run calls that block (hashing, decompression, disks) in threads, from one event loop."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeVar

from models_init.errors import first_fault

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
        self._single = threading.Lock()
        self._slots: SimpleQueue[None] = SimpleQueue()
        for _ in range(2 * count):
            self._slots.put(None)

    async def run(self, call: Callable[..., T], *arguments: object) -> T:
        """Call in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, call, *arguments)

    @contextmanager
    def turn(self, *, fine: bool) -> Iterator[None]:
        """For work in a thread of the caller's own: two at once for each worker there is, of `fine` work one.

        Half of them may wait for the disk or for the interpreter's lock.
        Many small steps hold the interpreter lock most of the time: two threads of them wait for each other at every
        step. 100,000 small files took 0.7 of the time and half the CPU with one (measured).
        """
        if fine:
            with self._single:
                yield
            return
        slot = self._slots.get()
        try:
            yield
        finally:
            self._slots.put(slot)

    async def each(self, call: Callable[[U], T], items: Iterable[U]) -> list[T]:
        """Call for all items, as many side by side as there are threads; the first error is raised alone."""
        return await each(lambda item: self.run(call, item), items)

    def close(self) -> None:
        """Wait for the calls that run, and drop those that wait."""
        self._executor.shutdown(cancel_futures=True)


async def each(step: Callable[[U], Awaitable[T]], items: Iterable[U]) -> list[T]:
    """Take the step for all items side by side; the first error ends all and is raised alone."""

    async def one(item: U) -> T:
        return await step(item)

    with one_fault():
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(item)) for item in items]
    return [task.result() for task in tasks]


@contextmanager
def one_fault() -> Iterator[None]:
    """Raise the first error of a task group in the block, alone."""
    try:
        yield
    except BaseExceptionGroup as errors:
        fault = first_fault(errors)
    else:
        return
    raise fault  # not in the handler, and not from the group: it keeps the cause that it has
