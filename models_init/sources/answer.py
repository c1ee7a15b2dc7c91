"""An HTTP answer: its status, its headers, and a body that is read once, in the thread that waits for it."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Protocol, TypeVar

from models_init.errors import SourceError, UnavailableError
from models_init.sources.message import Body, NotHttpError
from models_init.sources.troubles import told

if TYPE_CHECKING:
    from collections.abc import Callable

    from models_init.sources.message import Head
    from models_init.sources.peer import Peer
    from models_init.sources.source import Sink
    from models_init.sources.threads import Threads
    from models_init.sources.wire import Wire

T = TypeVar("T")

_LEAST = 1 << 10  # bytes a second; who brings less over an idle limit's time brings nothing
_PIECE = 64 << 10  # bytes of a document that are taken in at once


class Connections(Protocol):
    """Where a connection comes from, and goes when its answer was read."""

    threads: Threads

    def is_home(self, peer: Peer) -> bool:
        """Tell whether this is the server that was asked first."""

    def take_back(self, wire: Wire, peer: Peer, *, whole: bool) -> None:
        """Keep a connection for the next request, or close it where that cannot be."""


class Answer:
    """A status, headers, and a body that has not been read yet. Ends with `release`, read or not."""

    def __init__(self, http: Connections, wire: Wire, peer: Peer, head: Head, path: str) -> None:
        self._http = http
        self._wire: Wire | None = wire
        self._peer = peer
        self._head = head
        self._body = Body(wire, head)
        self._pulse = _Pulse(wire.idle_limit)
        self.path = path

    @property
    def status(self) -> int:
        """The status code."""
        return self._head.status

    @property
    def elsewhere(self) -> str:
        """The host that answered, where a redirect has led to another than was asked; else an empty string."""
        return "" if self._http.is_home(self._peer) else self._peer.origin.name

    @property
    def length(self) -> int | None:
        """Bytes of the body, as announced."""
        return self._head.length

    def header(self, name: str) -> str:
        """A header's value, or an empty string; case does not matter."""
        return self._head.get(name)

    async def pour(self, sink: Sink, count: int) -> int:
        """Lay the next `count` bytes of the body into the sink; return how many these are: fewer where it ends.

        Raises `UnavailableError`, and what the sink raises.
        """
        return await self._in_thread(self._pour, sink, count)

    async def body(self, limit: int, what: str) -> bytes:
        """The whole body; one of more than `limit` bytes is a `SourceError`. Raises `UnavailableError`."""
        return await self._in_thread(self._whole, limit, what)

    async def _in_thread(self, call: Callable[..., T], *arguments: object) -> T:
        if not self._wire:
            raise TypeError("released already")
        return await self._http.threads.run(call, *arguments, stop=self._wire.abort)

    def _pour(self, sink: Sink, count: int) -> int:
        left = count
        while left:
            laid = self._into(sink.room()[:left])
            if not laid:
                break
            sink.advance(laid)
            left -= laid
        return count - left

    def _whole(self, limit: int, what: str) -> bytes:
        body, room = bytearray(), memoryview(bytearray(_PIECE))
        while count := self._into(room):
            body += room[:count]
            if len(body) > limit:
                raise SourceError(
                    f"{what} on {self._peer.origin.name} is larger than {limit} bytes: it is not what it should be"
                )
        return bytes(body)

    def _into(self, room: memoryview) -> int:
        began = monotonic()
        try:
            count = self._body.into(room)
        except (OSError, EOFError, NotHttpError) as error:
            raise told(error, self._peer.origin.name) from None
        if self._pulse.is_weak(count, monotonic() - began):
            raise UnavailableError(f"{self._peer.origin.name} sends next to nothing; check the network")
        return count

    def release(self) -> None:
        """Give the connection back; close it where the body was not read to its end."""
        if self._wire:
            whole = self._body.finish() and self._head.keeps_alive
            self._http.take_back(self._wire, self._peer, whole=whole)
            self._wire = None


class _Pulse:
    """Whether bytes come at all: an idle limit alone never ends a connection that brings a byte now and then."""

    def __init__(self, seconds: float) -> None:
        self._window = seconds
        self._seconds = 0.0
        self._bytes = 0

    def is_weak(self, size: int, seconds: float) -> bool:
        """Count bytes, and the seconds of waiting for them; tell whether a whole window brought next to nothing."""
        self._bytes += size
        self._seconds += seconds
        if self._seconds < self._window:
            return False
        weak = self._bytes < _LEAST * self._seconds and size > 0
        self._bytes, self._seconds = 0, 0.0
        return weak
