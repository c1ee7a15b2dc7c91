"""How much memory this process may use, by the limits of its control groups and by what the machine has left."""

from __future__ import annotations

from pathlib import Path

MIB = 1 << 20

BASE = 84 * MIB
"""Bytes that the program takes without buffers, measured: 66 MiB with a small manifest, up to 12 that aiohttp holds of
16 connections, and some to spare."""

FLOOR = 8 * MIB
"""Below this nothing works well; a limit that leaves less is somebody's mistake that the kernel will tell."""

_LEAST_SHARE, _MOST_SHARE = 16 * MIB, 8192 * MIB


def buffer_bytes(setting: int, limit: int | None) -> int:
    """Bytes for buffers: what is set, or three quarters of what the control group leaves, whichever is less."""
    if limit is None:
        return setting
    return max(FLOOR, min(setting, (limit - BASE) * 3 // 4))


def cache_share(available: int | None, limit: int | None) -> int:
    """Bytes of what was installed that may stay in the page cache: a quarter of what is free or can be freed.

    The engine loads its models right after an install, so what fits stays. At least 16 MiB, so that no write waits for
    the disk; at most 8 GiB, so that the list of what stays is short.
    """
    known = [number for number in (available, limit) if number is not None]
    return max(_LEAST_SHARE, min(_MOST_SHARE, min(known, default=0) // 4))


def available_bytes(meminfo: Path = Path("/proc/meminfo")) -> int | None:
    """Memory of the machine that is free or can be freed without swapping, None where the kernel does not tell."""
    for line in _lines(meminfo):
        name, _, rest = line.partition(":")
        if name == "MemAvailable":
            return int(rest.split()[0]) << 10
    return None


def limit_bytes(process: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> int | None:
    """The lowest memory limit of the control groups that this process is in, version 1 and 2; None without one."""
    limits = [limit for file in _limit_files(process, root) if (limit := _number(file)) is not None]
    return min(limits, default=None)


def _limit_files(process: Path, root: Path) -> list[Path]:
    """The group's own files and its parents'. In a container the root of the tree is the container's own group."""
    files = [root / "memory.max", root / "memory" / "memory.limit_in_bytes"]
    for line in _lines(process):
        _, controllers, group = line.split(":", 2)
        base, name = (
            (root / "memory", "memory.limit_in_bytes") if "memory" in controllers.split(",") else (root, "memory.max")
        )
        path = base / group.strip("/")
        files += [folder / name for folder in (path, *path.parents) if folder.is_relative_to(base)]
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
    return value if value < 1 << 60 else None  # version 1 says "none" with a number near 2**63
