"""The commands of the peers: find them, and name the Debian packages of missing ones."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from tests.bench.pinned import PINNED

if TYPE_CHECKING:
    from collections.abc import Iterable

PACKAGES = {
    "aria2c": "aria2",
    "azcopy": "npm libsecret-1-0",
    "casync": "casync",
    "curl": "curl",
    "docker-registry": "docker-registry",
    "nginx": "nginx-light",
    "node": "nodejs",
    "npm": "npm",
    "oras": "oras",
    "rclone": "python3-pip",
    "rsync": "rsync",
    "sha256sum": "coreutils",
    "skopeo": "skopeo",
    "tar": "tar",
    "unzck": "zchunk",
    "zck": "zchunk",
    "zckdl": "zchunk",
    "zstd": "zstd",
}
_SYSTEM_DIRECTORIES = "/usr/local/sbin:/usr/sbin:/sbin"


def find(name: str) -> str | None:
    """Return the path of a command, also in directories that are on PATH only for root; install it if it is pinned."""
    if name in PINNED:
        path = PINNED[name]()
        return str(path) if path else None
    return shutil.which(name) or shutil.which(name, path=_SYSTEM_DIRECTORIES)


def absent(names: Iterable[str]) -> list[str]:
    """Return the commands that are not installed."""
    return sorted(name for name in set(names) if not find(name))


def remedy(names: Iterable[str]) -> str:
    """Return the command that installs them."""
    return f"apt-get install {' '.join(sorted({part for name in names for part in PACKAGES[name].split()}))}"


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))
