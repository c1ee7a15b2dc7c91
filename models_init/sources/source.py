"""The contract that every source keeps: names of packs and versions, small documents, ranges of an archive."""

from __future__ import annotations

from typing import Protocol


class Sink(Protocol):
    """Lends memory for the bytes of a range, in order; used by one thread at a time, which may be kept waiting.

    The source has the bytes laid right where they are wanted: nobody copies them.
    """

    def room(self) -> memoryview:
        """Memory for the next bytes, one at least; it is the source's until `advance`."""

    def advance(self, count: int) -> None:
        """The first `count` bytes of that memory are right now."""


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
        """Lay the bytes `start` to `stop` (exclusive) of the object into the sink: in order, all of them, no others.

        On an error the sink has a correct prefix. Once this has ended, also by being cancelled, the sink is used no
        more. An empty range, or one past the end, is a `SourceError`.
        """

    async def names(self, folder: str) -> list[str]:
        """List what lies directly in `folder` ("" for the top), sorted. `AccessError` where listing is refused."""

    def lacks(self, key: str, start: int, stop: int, /) -> str:
        """Why a source that has the object's manifest has not these bytes of it; empty where it has, or cannot tell."""

    def remedy(self, key: str, start: int, /) -> str:
        """What to do when the byte `start` of the object is wrong, and where it lies if that helps: half a sentence."""

    async def close(self) -> None:
        """Release sockets and files; the source is not used again."""
