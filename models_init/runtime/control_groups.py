"""Find the files in which the kernel describes this process's control groups (versions 1 and 2)."""

from __future__ import annotations

from pathlib import Path

PROCESS, ROOT = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


def group_files(controller: str, name: str, name_v1: str, process: Path = PROCESS, root: Path = ROOT) -> list[Path]:
    """Return the paths of a file in each of this process's groups, their parents, and the root; some may not exist.

    `name` is the file's name in version 2, `name_v1` in version 1. In a container, the root is the container's group.
    """
    files = [root / name, root / controller / name_v1]
    for line in lines(process):
        _, controllers, group = line.split(":", 2)
        is_v1 = controller in controllers.split(",")
        base, file = (root / controller, name_v1) if is_v1 else (root, name)
        path = base / group.strip("/")
        files += [directory / file for directory in (path, *path.parents) if directory.is_relative_to(base)]
    return files


def lines(file: Path) -> list[str]:
    """Return the lines of a kernel file, or an empty list if it cannot be read."""
    try:
        return file.read_text().splitlines()
    except OSError:
        return []


def number(file: Path) -> int | None:
    """Return the number in a file, or None if there is no file or no limit."""
    try:
        value = int(file.read_text())
    except (OSError, ValueError):  # "max"
        return None
    return value if value < 1 << 60 else None  # version 1 represents "no limit" by a number near 2**63
