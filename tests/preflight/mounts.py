"""Commands that give the program behind them another disk, or take its powers."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.services import require_root, require_tool

if TYPE_CHECKING:
    from pathlib import Path


def in_tmpfs(folder: Path, options: str) -> list[str]:
    """A file system of its own on the folder, gone afterwards."""
    return _privately(f'mount -t tmpfs -o {options} tmpfs "{folder}"')


def read_only(folder: Path) -> list[str]:
    """The folder, mounted read-only."""
    return _privately(f'mount --bind "{folder}" "{folder}" && mount -o remount,bind,ro "{folder}"')


def powerless() -> list[str]:
    """A user who is master of no other user's folders."""
    require_root()
    return [require_tool("setpriv"), "--bounding-set=-all", "--inh-caps=-all"]


def failing(calls: str, fault: str) -> list[str]:
    """System calls that end with this fault, each time."""
    rules = ["-e", f"trace={calls}", "-e", f"inject={calls}:{fault}"]
    return [require_tool("strace"), "-f", "-qq", "-o", os.devnull, *rules]


def _privately(script: str) -> list[str]:
    require_root()
    return [require_tool("unshare"), "-m", "sh", "-c", f'{script} && exec "$@"', "sh"]
