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
import sys
from pathlib import Path
from typing import NamedTuple

from tests.services import require_root, require_tool

USER = 10001
"""The user and group of the image, and the fsGroup of the chart."""


class Mount(NamedTuple):
    """A bind mount of a file or directory; `target` is below /mnt."""

    source: Path
    target: str
    read_only: bool = False


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


def in_container(*mounts: Mount) -> list[str]:
    """Return a prefix that runs a command in a container: as the image's user, without privileges, on a read-only root.

    It runs in a separate mount namespace, in which /mnt holds the mounts and nothing else.
    """
    require_root()
    script = ["mount -t tmpfs -o mode=755 tmpfs /mnt", *map(_bind, mounts), *_interpreter_for_everyone(), *_SEAL]
    user = [f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"]
    return [
        *(require_tool("unshare"), "--mount", "sh", "-e", "-c", "\n".join([*script, 'exec "$@"']), "sh"),
        *(require_tool("setpriv"), *user, "--no-new-privs"),
    ]


def without_network(*, pid_1: bool = False) -> list[str]:
    """Return a prefix that runs a command without any network interface, with `pid_1` as process 1 of a namespace."""
    require_root()
    processes = ["--pid", "--fork", "--kill-child", "--mount-proc"] if pid_1 else []
    return [require_tool("unshare"), "--net", *processes]


_SEAL = ["mount -o remount,ro /mnt", "mount -o remount,bind,ro /"]


def _bind(mount: Mount) -> str:
    make = "mkdir -p" if mount.source.is_dir() else "touch"
    command = f'{make} "{mount.target}"\nmount --bind "{mount.source}" "{mount.target}"'
    return f'{command}\nmount -o remount,bind,ro "{mount.target}"' if mount.read_only else command


def _interpreter_for_everyone() -> list[str]:
    """Return commands that make the interpreter readable to all users, as it is in the image.

    A parent directory that other users cannot enter, such as /root, is hidden by a tmpfs with nothing else in it.
    """
    needed = {Path(path).resolve() for path in (sys.base_prefix, sys.prefix, os.getcwd())}
    closed = {path: above for path in sorted(needed) if (above := _closed_above(path))}
    saves = [f'mkdir /mnt/.{n}\nmount --bind "{path}" /mnt/.{n}' for n, path in enumerate(closed)]
    covers = [f'mount -t tmpfs -o mode=755 tmpfs "{above}"' for above in sorted({*closed.values()})]
    restores = [f'mkdir -p "{path}"\nmount --bind /mnt/.{n} "{path}"' for n, path in enumerate(closed)]
    return [*saves, *covers, *restores]


def _closed_above(path: Path) -> Path | None:
    return next((above for above in reversed(path.parents) if not above.stat().st_mode & stat.S_IXOTH), None)
