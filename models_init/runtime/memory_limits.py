"""Determine how much memory this process may use, from its control groups' limits and the machine's free memory."""

from __future__ import annotations

from pathlib import Path

from models_init.runtime.control_groups import PROCESS, ROOT, group_files, lines, number

MIB = 1 << 20

BASE = 84 * MIB
"""Memory use in bytes without buffers: 66 MiB with a small manifest (measured), up to 12 MiB that aiohttp buffers for
16 connections, and a reserve."""

FLOOR = 8 * MIB
"""Minimum bytes for buffers. With a lower memory limit, the kernel will kill the process."""

_LEAST_SHARE, _MOST_SHARE = 16 * MIB, 8192 * MIB


def buffer_bytes(setting: int, limit: int | None) -> int:
    """Return the bytes to use for buffers, at least `FLOOR`.

    That is the smaller of `setting` and three quarters of what `limit`, the control group's, leaves beyond `BASE`.
    Without a limit it is `setting`.
    """
    if limit is None:
        return setting
    return max(FLOOR, min(setting, (limit - BASE) * 3 // 4))


def cache_share(available: int | None, limit: int | None) -> int:
    """Return how many bytes of installed files may stay in the page cache: a quarter of `available` or `limit`.

    The smaller of the two counts. The engine loads its models right after an install, so it is useful to keep them
    cached. At least 16 MiB, so that no write waits for the disk; at most 8 GiB, so that the list of cached ranges
    stays short.
    """
    known = [number for number in (available, limit) if number is not None]
    return max(_LEAST_SHARE, min(_MOST_SHARE, min(known, default=0) // 4))


def available_bytes(meminfo: Path = Path("/proc/meminfo")) -> int | None:
    """Return the machine's memory that is free or can be freed without swapping, None if the kernel does not say."""
    for line in lines(meminfo):
        name, _, rest = line.partition(":")
        if name == "MemAvailable":
            return int(rest.split()[0]) << 10
    return None


def limit_bytes(process: Path = PROCESS, root: Path = ROOT) -> int | None:
    """Return the lowest memory limit in bytes of this process's control groups (version 1 and 2), None without one."""
    files = group_files("memory", "memory.max", "memory.limit_in_bytes", process, root)
    return min([limit for file in files if (limit := number(file)) is not None], default=None)
