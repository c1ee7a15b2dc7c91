"""The interface of all sources: list packs and versions, read small documents and ranges of archives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from models_init.formats.manifest import Archive


class Sink(Protocol):
    """Receives the bytes of a range, in order, in its own memory.

    The methods are named like those of `asyncio.BufferedProtocol`. A source calls them alternately, from the event
    loop.
    """

    def get_buffer(self) -> memoryview:
        """Return a buffer of at least one byte for the next bytes; the source may use it until `buffer_updated`."""

    async def buffer_updated(self, count: int) -> None:
        """Accept the first `count` bytes of that buffer. Wait while the sink can accept no more (back-pressure)."""


class Source(Protocol):
    """A read-only tree of objects with keys such as `nl-nl/2026.04/manifest.json`.

    Every method raises `NotFoundError` (no such object), `AccessError` (access denied), `UnavailableError` (transient:
    a retry may succeed) or another `SourceError` (permanent), never another library's exception. Exceptions of a sink
    are passed on unchanged. Methods may be called concurrently from one event loop.
    """

    @property
    def name(self) -> str:
        """The location of the source, for messages and for `release.json`. It contains no secret."""

    async def read(self, key: str, limit: int) -> bytes:
        """Return a whole small object. Raises `SourceError`: it has more than `limit` bytes."""

    async def get_range(self, key: str, start: int, stop: int, sink: Sink) -> None:
        """Copy exactly the bytes `start` to `stop` (exclusive) of the object into the sink, in order.

        After an error the sink has received a prefix of the range. The sink is not used after this method has ended,
        even if it was cancelled. Raises `SourceError`: the range is empty or extends past the end.
        """

    async def names(self, directory: str) -> list[str]:
        """Return the sorted names of the entries directly in `directory` ("" for the top).

        Raises `AccessError`: listing is not permitted.
        """

    def report_wrong(self, key: str, start: int, stop: int, reason: str, /) -> bool:
        """Report wrong bytes of the object, so that further requests for it bypass caches on the way.

        `reason` is a readable clause. Return True if the next request for these bytes goes to another server, so that
        another attempt is worthwhile.
        """

    def recompressed(self, key: str, /) -> Archive | None:
        """Return the archive that the source has instead of `key`: the same tar stream, compressed differently.

        Return None if the source has `key` itself. Call this method after the manifest was read.
        """

    def unavailable_reason(self, key: str, start: int, stop: int, /) -> str:
        """Return why the source cannot serve this range although it has the manifest; "" if it can or does not know."""

    def repair_hint(self, key: str, start: int, /) -> str:
        """Return advice, as a clause, about a wrong byte at `start` of the object, with its location if that helps."""

    async def close(self) -> None:
        """Release sockets and files; the source is not used again."""
