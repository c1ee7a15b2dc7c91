"""The contract that every source keeps: names of packs and versions, small documents, ranges of an archive."""

from __future__ import annotations

from typing import Protocol


class Sink(Protocol):
    """Receives the bytes of a range, in order, into memory of its own.

    The methods have the names of `asyncio.BufferedProtocol`. A source calls them by turns, from the event loop.
    """

    def get_buffer(self) -> memoryview:
        """Return memory for the next bytes, at least one; it belongs to the source until `buffer_updated`."""

    async def buffer_updated(self, count: int) -> None:
        """Take the first `count` bytes of that memory. Waits as long as the sink can take no more (back-pressure)."""


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
        """Copy the bytes `start` to `stop` (exclusive) of the object into the sink: in order, all, and no others.

        On an error the sink has a correct prefix. Once this has ended, also by being cancelled, the sink is used no
        more. An empty range, or one past the end, is a `SourceError`.
        """

    async def names(self, folder: str) -> list[str]:
        """List what lies directly in `folder` ("" for the top), sorted. `AccessError` where listing is refused."""

    def unavailable_reason(self, key: str, start: int, stop: int, /) -> str:
        """Why a source that has the object's manifest has not these bytes of it; empty where it has, or cannot tell."""

    def repair_hint(self, key: str, start: int, /) -> str:
        """What to do when the byte `start` of the object is wrong, and where it lies if that helps: half a sentence."""

    async def close(self) -> None:
        """Release sockets and files; the source is not used again."""
