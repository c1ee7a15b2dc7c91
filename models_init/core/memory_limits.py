"""Determine how much memory this process may use, from its control groups' limits and the machine's free memory."""

from __future__ import annotations

from pathlib import Path

MIB = 1 << 20

BASE = 84 * MIB
"""Memory use in bytes without buffers: 66 MiB with a small manifest (measured), up to 12 MiB that aiohttp buffers for
16 connections, and a reserve."""

FLOOR = 8 * MIB
"""Minimum bytes for buffers. A lower memory limit is a misconfiguration, and the kernel will kill the process."""

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
    for line in _lines(meminfo):
        name, _, rest = line.partition(":")
        if name == "MemAvailable":
            return int(rest.split()[0]) << 10
    return None


def limit_bytes(process: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Return the lowest memory limit in bytes of this process's control groups (version 1 and 2), None without one."""
    limits = [limit for file in _limit_files(process, root) if (limit := _number(file)) is not None]
    return min(limits, default=None)


def _limit_files(process: Path, root: Path) -> list[Path]:
    """Return the limit files of the process's groups and their parents, and of the root.

    In a container, the root of the tree is the container's own group.
    """
    files = [root / "memory.max", root / "memory" / "memory.limit_in_bytes"]
    for line in _lines(process):
        _, controllers, group = line.split(":", 2)
        base, name = (
            (root / "memory", "memory.limit_in_bytes") if "memory" in controllers.split(",") else (root, "memory.max")
        )
        path = base / group.strip("/")
        files += [directory / name for directory in (path, *path.parents) if directory.is_relative_to(base)]
    return files


def _lines(process: Path) -> list[str]:
    try:
        return process.read_text().splitlines()
    except OSError:
        return []


def _number(file: Path) -> int | None:
    try:
        value = int(file.read_text())
    except (OSError, ValueError):  # "max"
        return None
    return value if value < 1 << 60 else None  # version 1 represents "no limit" by a number near 2**63
