"""The other side of a wire, without a socket: bytes come in the pieces that the test wants."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from models_init.sources.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T")


class Feed:
    """A stream that gives one piece with each call, whoever wants more, then ends; `given` counts bytes."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self.given = 0
        self._pieces = (memoryview(piece) for piece in pieces if piece)
        self._left = memoryview(b"")

    def receive(self, into: memoryview, *, full: bool) -> int:  # noqa: ARG002 - nobody may rely on it
        """See `Stream.receive`."""
        assert len(into), "who has no room must not ask"
        self._left = self._left or next(self._pieces, memoryview(b""))
        given = self._left[: len(into)]
        into[: len(given)] = given
        self._left = self._left[len(given) :]
        self.given += len(given)
        return len(given)

    def send(self, _data: bytes) -> None:
        """See `Stream.send`."""

    @property
    def is_ready(self) -> bool:
        """See `Stream.is_ready`."""
        return True

    def abort(self) -> None:
        """See `Carrier.abort`."""

    def close(self) -> None:
        """See `Carrier.close`."""


def play(pieces: Iterable[bytes], read: Callable[[Wire], T]) -> T:
    """Have `read` read from a wire that gets these pieces."""
    return read(Wire(Feed(pieces), 60.0))
