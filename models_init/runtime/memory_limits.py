"""Determine how much memory this process may use, from its control groups' limits and the machine's free memory."""

from __future__ import annotations

from pathlib import Path

from models_init.runtime.control_groups import PROCESS, ROOT, group_files, lines, number

MIB = 1 << 20

BASE = 84 * MIB
"""Memory use in bytes without buffers: 66 MiB with a small manifest (measured), up to 12 MiB that aiohttp buffers for
16 connections, and a reserve."""

FLOOR = 8 * MIB
"""Minimum bytes for buffers. If the memory limit leaves less, the kernel will kill the process."""

_LEAST_SHARE, _MOST_SHARE = 16 * MIB, 8192 * MIB


def buffer_bytes(setting: int, limit: int | None) -> int:
    """Return the bytes to use for buffers, at least `FLOOR`.

    That is the smaller of `setting` and three quarters of the memory that `limit`, the control group's limit, leaves
    beyond `BASE`. Without a limit, it is `setting`.
    """
    if limit is None:
        return setting
    return max(FLOOR, min(setting, (limit - BASE) * 3 // 4))


def cache_share(available: int | None, limit: int | None) -> int:
    """Return how many bytes of installed files may stay in the page cache: a quarter of `available` or `limit`.

    The smaller of the two applies. The engine loads its models right after an install, so it is useful to keep them
    cached. The result is at least 16 MiB, so that no write waits for the disk, and at most 8 GiB, so that the list of
    cached ranges stays short.
    """
    known = [number for number in (available, limit) if number is not None]
    return max(_LEAST_SHARE, min(_MOST_SHARE, min(known, default=0) // 4))


def available_bytes(meminfo: Path = Path("/proc/meminfo")) -> int | None:
    """Return the memory that is free or can be freed without swapping, or None if the kernel does not report it."""
    for line in lines(meminfo):
        name, _, rest = line.partition(":")
        if name == "MemAvailable":
            return int(rest.split()[0]) << 10
    return None


def limit_bytes(process: Path = PROCESS, root: Path = ROOT) -> int | None:
    """Return the lowest memory limit in bytes of this process's control groups (version 1 and 2), or None."""
    files = group_files("memory", "memory.max", "memory.limit_in_bytes", process, root)
    return min([limit for file in files if (limit := number(file)) is not None], default=None)
