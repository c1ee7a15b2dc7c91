"""TCP connections to a name that may have several addresses, of which some may lead nowhere (RFC 8305).

asyncio's own way leaves sockets open where it is cancelled, which is what every limit on connecting does.
"""

from __future__ import annotations

import asyncio
import socket
from itertools import chain, zip_longest
from typing import Any

_NEXT_ADDRESS = 0.25  # seconds until the next address is tried beside the ones before


async def dial(host: str, port: int) -> socket.socket:
    """Connect to the first address that answers. Raises `OSError`, `UnicodeError` for what can be no name."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = _by_turns(found)
    tries: set[asyncio.Task[socket.socket]] = set()
    error: OSError = socket.gaierror(socket.EAI_NODATA, "no address")
    try:
        while addresses or tries:
            if addresses:
                tries.add(asyncio.create_task(_connected(addresses.pop(0))))
            done, _ = await asyncio.wait(
                tries, timeout=_NEXT_ADDRESS if addresses else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                tries.discard(task)
                try:
                    return task.result()
                except OSError as failed:
                    error = failed
        raise error
    finally:
        for task in tries:
            task.cancel()
            task.add_done_callback(_hang_up)


async def _connected(address: tuple[Any, ...]) -> socket.socket:
    family, kind, protocol, _, where = address
    made = socket.socket(family, kind, protocol)
    try:
        made.setblocking(False)
        await asyncio.get_running_loop().sock_connect(made, where)
    except BaseException:
        made.close()
        raise
    return made


def _hang_up(task: asyncio.Task[socket.socket]) -> None:
    """Close what was connected too late."""
    if not task.cancelled() and not task.exception():
        task.result().close()


def _by_turns(addresses: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The resolver's order, but IPv6 and IPv4 by turns: mostly one of them does not work at all."""
    families: dict[int, list[tuple[Any, ...]]] = {}
    for address in addresses:
        families.setdefault(address[0], []).append(address)
    return [address for address in chain(*zip_longest(*families.values())) if address]
