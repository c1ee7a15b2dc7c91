"""A proxy that limits the rate of all connections together and adds latency.

    python -m tests.bench.throttling_proxy --to PORT [--rate BYTES] [--round-trip SECONDS] [--each BYTES]
        [--throttled BYTES] [--only BYTES] [--port PORT]

Prints the port that it listens on, which `--port` can choose. The rate applies to the payload that the server sends. A
new connection takes one round trip, and each piece arrives half a round trip late; slow start, loss and framing of TCP
are not simulated. `--each` limits every connection, `--throttled` the third one. After `--only` bytes the proxy sends
nothing more, and prints a line. On SIGUSR1 it prints how many bytes clients have received.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
from collections import deque

_PIECE = 64 << 10
_BACKLOG = 0.05  # seconds of data that may be queued, as in the buffer of a switch
_THROTTLED = 2  # connections before the one that is throttled


class Lane:
    """A channel with a rate in bytes per second, 0 for no limit."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._free_at = 0.0

    async def carry(self, size: int) -> None:
        """Wait until the bytes have been sent, minus the size of a buffer."""
        if not self._rate:
            return
        now = asyncio.get_running_loop().time()
        self._free_at = max(now, self._free_at) + size / self._rate
        if (ahead := self._free_at - now) > _BACKLOG:
            await asyncio.sleep(ahead - _BACKLOG)

    def ends(self, now: float) -> float:
        """Return the time when the last bytes will have been sent."""
        return max(now, self._free_at) if self._rate else now


class Relay:
    """All connections of one line."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._line = Lane(options.rate)
        self._made = 0
        self._left = options.only or float("inf")
        self._received = 0

    async def serve(self) -> None:
        """Run until killed."""
        server = await asyncio.start_server(self._connect, "127.0.0.1", int(self._options.port), limit=_PIECE)
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, lambda: _tell(self._received))
        _tell(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        slow = self._made == _THROTTLED and self._options.throttled
        self._made += 1
        lanes = [Lane(self._options.throttled if slow else self._options.each), self._line]
        await asyncio.sleep(self._options.round_trip)
        with contextlib.suppress(OSError):
            back, forth = await asyncio.open_connection("127.0.0.1", self._options.to, limit=_PIECE)
            there = asyncio.create_task(self._pass(reader, forth, []))
            here = asyncio.create_task(self._pass(back, writer, lanes))
            await asyncio.wait({there, here}, return_when=asyncio.FIRST_COMPLETED)
            for task, end in ((there, forth), (here, writer)):
                task.cancel()
                end.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lanes: list[Lane]) -> None:
        """Read into a queue, from which each piece is written at its scheduled time."""
        loop, queue, filled = asyncio.get_running_loop(), deque[tuple[float, bytes]](), asyncio.Event()

        async def write() -> None:
            while True:
                while not queue:
                    filled.clear()
                    await filled.wait()
                due, piece = queue.popleft()
                if (wait := due - loop.time()) > 0:
                    await asyncio.sleep(wait)
                if not piece:
                    return
                writer.write(piece)
                self._received += len(piece) if lanes else 0
                await writer.drain()

        async with asyncio.TaskGroup() as group:
            group.create_task(write())
            while True:
                piece = await reader.read(_PIECE)
                for lane in lanes:
                    await lane.carry(len(piece))
                if lanes:
                    await self._ration(len(piece))
                now = loop.time()
                due = max([now, *(lane.ends(now) for lane in lanes)])
                queue.append((due + self._options.round_trip / 2, piece))
                filled.set()
                if not piece:
                    return

    async def _ration(self, size: int) -> None:
        """Wait forever after the allowed bytes have arrived."""
        if 0 < self._left <= size:
            _tell("that was all")
        self._left -= size
        if self._left <= 0:
            await asyncio.Event().wait()


def _tell(what: object) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


def main() -> None:
    """Run one line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--to", type=int, required=True)
    for name in ("--rate", "--round-trip", "--each", "--throttled", "--only", "--port"):
        parser.add_argument(name, type=float, default=0.0)
    asyncio.run(Relay(parser.parse_args()).serve())


if __name__ == "__main__":
    main()
