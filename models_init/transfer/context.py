"""Bundle the objects that a transfer needs, for models-init and models-pack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from models_init.transfer.fetcher import Buffers, Fetcher

if TYPE_CHECKING:
    from models_init.core.events import Observer
    from models_init.runtime.workers import Workers
    from models_init.sources.source import Source
    from models_init.transfer.concurrency import ConnectionLimiter


@dataclass(frozen=True, slots=True)
class Context:
    """The source, the worker threads and the limits of a transfer; buffers take at most `memory` bytes in total."""

    source: Source
    workers: Workers
    observer: Observer
    connections: ConnectionLimiter
    memory: int

    def fetcher(self, buffer_size: int, memory: int | None = None) -> Fetcher:
        """Return a fetcher with buffers of `buffer_size` bytes: as many as fit into `memory`, and at least one."""
        count = max(1, (self.memory if memory is None else memory) // buffer_size)
        return Fetcher(self.source, self.workers, self.observer, self.connections, Buffers(count, buffer_size))
