"""Real parts that tests run against, with the one rule about a part that is absent.

Outside CI a missing part is a skipped test that says how to get it. In CI (the variable `CI` is set) it is a failure:
the machine there has every part, so a skip would only hide that something is no longer tested.
"""

from __future__ import annotations

import os
import shutil
import socket
from typing import NoReturn

IN_CI = os.environ.get("CI", "").lower() not in ("", "0", "false")

_PACKAGES = {
    "blkid": "util-linux",
    "losetup": "util-linux",
    "mkfs.ext4": "e2fsprogs",
    "mkfs.xfs": "xfsprogs",
    "mount": "util-linux",
    "nginx": "nginx-light",
    "node": "nodejs",
    "squid": "squid-openssl",
    "unshare": "util-linux",
}
_SYSTEM_FOLDERS = "/usr/local/sbin:/usr/sbin:/sbin"


def missing(what: str, remedy: str) -> NoReturn:
    """End the test because the machine lacks `what`: as skipped, or in CI as failed."""
    import pytest  # noqa: PLC0415 - the fault proxy does without

    reason = f"{what}: {remedy}"
    if IN_CI:
        pytest.fail(f"CI must have every part: {reason}", pytrace=False)
    pytest.skip(reason)


def require_tool(name: str) -> str:
    """Return the path of an executable, also of one that only root has on PATH."""
    path = shutil.which(name) or shutil.which(name, path=_SYSTEM_FOLDERS)
    return path or missing(f"no {name} on PATH", f"apt-get install {_PACKAGES.get(name, name)}")


def require_root() -> None:
    """Go on only as root: for mounts, loop devices, other users."""
    if os.geteuid() != 0:
        missing("needs root", "run ./scripts/test as root, on a machine that may be messed up")


def free_port() -> int:
    """Return a loopback port that nobody listens on now; a server that can bind port 0 itself should do that."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
