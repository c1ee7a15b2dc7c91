"""Re-enact the changes that kubelet makes to a volume before a container starts: directories for subPath, fsGroup.

The functions follow kubelet's source, github.com/kubernetes/kubernetes:

- `make_sub_path`: `makeMounts` in pkg/kubelet/kubelet_pods.go passes the mode of the volume's root to `doSafeMakeDir`
  in pkg/volume/util/subpath/subpath_linux.go, which creates each missing directory and sets this mode, umask or not.
- `set_ownership`: `changeFilePermission` in pkg/volume/volume_linux.go, for a volume that is mounted read-write.
- `in_container`: `doBindSubPath` in the first file binds the directory; the runtime mounts the rest of the container.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from tests.services import require_root, require_tool

if TYPE_CHECKING:
    from pathlib import Path

USER = 10001
"""The user and group of the image, and the fsGroup of the chart."""


def make_sub_path(volume: Path, sub_path: str) -> None:
    """Create the missing directories of a subPath as root, with the mode of the volume's root."""
    mode, directory = stat.S_IMODE(volume.stat().st_mode), volume
    for name in sub_path.split("/"):
        directory /= name
        if not directory.exists():
            directory.mkdir()
            directory.chmod(mode)


def set_ownership(volume: Path, group: int = USER) -> None:
    """Give everything on the volume to the group `fsGroup`, recursively, as with fsGroupChangePolicy: Always."""
    for parent, directories, names in os.walk(volume, topdown=False):
        for path in (*(f"{parent}/{name}" for name in (*names, *directories)), parent):
            os.lchown(path, -1, group)
            if not os.path.islink(path):
                mask = 0o660 | (0o110 | stat.S_ISGID if os.path.isdir(path) else 0)
                os.chmod(path, stat.S_IMODE(os.lstat(path).st_mode) | mask)


def in_container(*mounts: tuple[Path, Path], read_only: bool = False, group: int = USER) -> list[str]:
    """Run a command as the image's user without privileges, with (source, target) bind mounts of its own.

    The root file system is read-only except for the mounts, which are so, too, with `read_only`.
    """
    require_root()
    options = ",bind,ro" if read_only else ",bind"
    binds = [f'mount --bind "{source}" "{target}" && mount -o remount{options} "{target}"' for source, target in mounts]
    script = " && ".join([*binds, *_READ_ONLY_ROOT, 'exec "$@"'])
    privileges = [f"--reuid={USER}", f"--regid={group}", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"]
    command = [require_tool("unshare"), "--mount", "sh", "-c", script, "sh"]
    return [*command, require_tool("setpriv"), *privileges, "--no-new-privs"]


_READ_ONLY_ROOT = ["mount -o remount,bind,ro /"]


def without_network(*, pid_1: bool = False) -> list[str]:
    """Run a command in a network namespace without any interface that is up; with `pid_1` as process 1 of its own."""
    require_root()
    processes = ["--pid", "--fork", "--kill-child", "--mount-proc"] if pid_1 else []
    return [require_tool("unshare"), "--net", *processes]
