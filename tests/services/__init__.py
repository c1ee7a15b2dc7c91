"""Real services and tools that tests run against, and the handling of missing ones.

Outside CI, a test whose service is missing is skipped with installation instructions. In CI (the variable `CI` is set)
it fails: the machine there has every service, so a skip would hide that something is no longer tested.
"""

from __future__ import annotations

import os
import shutil
import socket
from typing import NoReturn

IN_CI = os.environ.get("CI", "").lower() not in ("", "0", "false")

_PACKAGES = {
    "blkid": "util-linux",
    "busybox": "busybox-static",
    "ctr": "containerd",
    "losetup": "util-linux",
    "lowntfs-3g": "ntfs-3g",
    "mkfs.btrfs": "btrfs-progs",
    "mkfs.exfat": "exfatprogs",
    "mkfs.ext4": "e2fsprogs",
    "mkfs.xfs": "xfsprogs",
    "mkntfs": "ntfs-3g",
    "mount": "util-linux",
    "mount.exfat-fuse": "exfat-fuse",
    "umount": "util-linux",
    "nginx": "nginx-light",
    "node": "nodejs",
    "promtool": "prometheus",
    "squid": "squid-openssl",
    "unshare": "util-linux",
}
_SYSTEM_DIRECTORIES = "/usr/local/sbin:/usr/sbin:/sbin"


def missing(what: str, remedy: str) -> NoReturn:
    """End the test because the machine lacks `what`: as skipped, or as failed in CI."""
    import pytest  # noqa: PLC0415 - the fault proxy does not need it

    reason = f"{what}: {remedy}"
    if IN_CI:
        pytest.fail(f"CI must have every part: {reason}", pytrace=False)
    pytest.skip(reason)


def require_tool(name: str) -> str:
    """Return the path of an executable, including those in directories that are on PATH only for root."""
    path = shutil.which(name) or shutil.which(name, path=_SYSTEM_DIRECTORIES)
    return path or missing(f"no {name} on PATH", f"apt-get install {_PACKAGES.get(name, name)}")


def require_root() -> None:
    """Skip (or fail in CI) unless running as root, which mounts, loop devices and other users require."""
    if os.geteuid() != 0:
        missing("needs root", "run ./scripts/test as root, on a machine that may be messed up")


def free_port() -> int:
    """Return a free loopback port. A server that can bind port 0 itself should do that instead."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
