"""The contract that every source keeps: names of packs and versions, small documents, ranges of an archive."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

Sink = Callable[[memoryview], Awaitable[None]]
"""Takes the next bytes of a range. A piece is valid until the sink returns: the source may reuse its memory."""


class Source(Protocol):
    """A read-only tree of objects, each under a key such as `nl-nl/2026.04/manifest.json`.

    Every method raises `NotFoundError` (no such object), `AccessError` (refused), `UnavailableError` (may pass: worth
    another try) or another `SourceError` (will not pass), and no foreign exception. What a sink raises passes through
    untouched. Methods may be called side by side from one event loop.
    """

    @property
    def name(self) -> str:
        """Where this is, for people and for `release.json`; never a secret."""

    async def read(self, key: str, limit: int) -> bytes:
        """Return a whole small object; one of more than `limit` bytes is a `SourceError`."""

    async def get_range(self, key: str, start: int, stop: int, sink: Sink) -> None:
        """Hand the bytes `start` to `stop` (exclusive) of the object to `sink`: in order, all of them, and no others.

        On an error the sink has seen a correct prefix. An empty range, or one past the end, is a
        `SourceError`.
        """

    async def names(self, folder: str) -> list[str]:
        """List what lies directly in `folder` ("" for the top), sorted. `AccessError` where listing is refused."""

    def lacks(self, key: str, start: int, stop: int, /) -> str:
        """Why a source that has the object's manifest has not these bytes of it; empty where it has, or cannot tell."""

    def remedy(self, key: str, start: int, /) -> str:
        """What to do when the byte `start` of the object is wrong, and where it lies if that helps: half a sentence."""

    async def close(self) -> None:
        """Release sockets and files; the source is not used again."""
