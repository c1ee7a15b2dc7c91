"""Calls that wait for a peer or a medium, in threads of their own: nobody who waits keeps a worker from working."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_MOST = 64  # as many as there may be connections; a thread is made when there is none to spare


class Threads:
    """Threads of one source."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(_MOST, thread_name_prefix="source")

    async def run(self, call: Callable[..., T], *arguments: object, stop: Callable[[], None] = lambda: None) -> T:
        """Call in a thread. Who is cancelled meanwhile has `stop` end the call, and goes when it has ended."""
        future = asyncio.get_running_loop().run_in_executor(self._executor, call, *arguments)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            while not future.done():
                stop()
                with suppress(asyncio.CancelledError):
                    await asyncio.wait([future])
            if not future.cancelled():
                future.exception()  # nobody wants to know any more
            raise

    async def close(self) -> None:
        """Wait for the calls that run."""
        await asyncio.get_running_loop().run_in_executor(None, self._executor.shutdown)
