"""Command prefixes that run a program with another file system or with fewer privileges."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.services import require_root, require_tool

if TYPE_CHECKING:
    from pathlib import Path


def in_tmpfs(directory: Path, options: str) -> list[str]:
    """Mount a private tmpfs on the directory for the duration of the command."""
    return _privately(f'mount -t tmpfs -o {options} tmpfs "{directory}"')


def read_only(directory: Path) -> list[str]:
    """Mount the directory read-only for the duration of the command."""
    return _privately(f'mount --bind "{directory}" "{directory}" && mount -o remount,bind,ro "{directory}"')


def powerless() -> list[str]:
    """Run without the capabilities that bypass other users' file permissions."""
    require_root()
    return [require_tool("setpriv"), "--bounding-set=-all", "--inh-caps=-all"]


def failing(calls: str, fault: str) -> list[str]:
    """Make these system calls fail with this fault, each time."""
    rules = ["-e", f"trace={calls}", "-e", f"inject={calls}:{fault}"]
    return [require_tool("strace"), "-f", "-qq", "-o", os.devnull, *rules]


def _privately(script: str) -> list[str]:
    require_root()
    return [require_tool("unshare"), "-m", "sh", "-c", f'{script} && exec "$@"', "sh"]
