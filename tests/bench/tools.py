"""Which commands the peers are, whether they are here, and which Debian package brings them."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

PACKAGES = {
    "aria2c": "aria2",
    "casync": "casync",
    "curl": "curl",
    "nginx": "nginx-light",
    "node": "nodejs",
    "npm": "npm",
    "rclone": "rclone",
    "rsync": "rsync",
    "sha256sum": "coreutils",
    "tar": "tar",
    "unzck": "zchunk",
    "zck": "zchunk",
    "zckdl": "zchunk",
    "zstd": "zstd",
}
_SYSTEM_DIRECTORIES = "/usr/local/sbin:/usr/sbin:/sbin"


def find(name: str) -> str | None:
    """Where a command lies, also one that only root has on PATH."""
    return shutil.which(name) or shutil.which(name, path=_SYSTEM_DIRECTORIES)


def absent(names: Iterable[str]) -> list[str]:
    """Those that are not here."""
    return sorted(name for name in set(names) if not find(name))


def remedy(names: Iterable[str]) -> str:
    """How to get them."""
    return f"apt-get install {' '.join(sorted({PACKAGES[name] for name in names}))}"


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))
