"""Other programs that use registries: podman and containerd, each with separate directories, oras and docker."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests import services
from tests.eventually import eventually_sync

if TYPE_CHECKING:
    from collections.abc import Iterator

_LIMIT = 120
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Tool:
    """A program with the options and the environment that separate it from an installation on this machine."""

    command: tuple[str, ...]
    directory: Path

    def run(self, *arguments: str) -> str:
        """Run the program to its end; return its standard output."""
        environment = {
            **os.environ,
            "HOME": str(self.directory),
            "CONTAINERS_REGISTRIES_CONF": str(self.directory / "registries.conf"),
        }
        done = subprocess.run(
            [*self.command, *arguments], env=environment, capture_output=True, text=True, timeout=_LIMIT, check=False
        )
        assert done.returncode == 0, f"{self.command[0]} {' '.join(arguments)}: {done.stderr}"
        return done.stdout


def require_oras() -> str:
    """Return the path of oras, which Debian has from version 13 on."""
    return shutil.which("oras") or services.missing("no oras", "as root on Debian, run .ci/install-docker")


def require_docker_26() -> str:
    """Return the path of a dockerd of version 26 or later."""
    path = _ROOT / ".cache/docker-26/usr/sbin/dockerd"
    return str(path) if path.exists() else services.missing("no docker 26", "as root on Debian, run .ci/install-docker")


@contextlib.contextmanager
def podman(directory: Path, *hosts: str) -> Iterator[Tool]:
    """Provide podman with separate storage; it uses plain http for these registries."""
    services.require_root()
    program = services.require_tool("podman")
    entries = (f'[[registry]]\nlocation = "{host}"\ninsecure = true\n' for host in hosts)
    (directory / "registries.conf").write_text("".join(entries))
    with tempfile.TemporaryDirectory(prefix="podman-", ignore_cleanup_errors=True) as short:  # at most 50 characters
        storage = ("--root", f"{short}/root", "--runroot", f"{short}/run", "--storage-driver", "vfs")
        tool = Tool((program, *storage, "--cgroup-manager", "cgroupfs", "--events-backend", "none"), directory)
        try:
            yield tool
        finally:
            tool.run("image", "umount", "--all", "--force")


def busybox_root(directory: Path) -> Path:
    """Make a root file system with nothing but a static busybox."""
    for name in ("bin", "dev", "proc", "sys", "etc", "tmp", "run", "models"):
        (directory / name).mkdir(parents=True)
    shutil.copy(services.require_tool("busybox"), directory / "bin/busybox")
    return directory


@contextlib.contextmanager
def containerd(directory: Path) -> Iterator[Tool]:
    """Run containerd; the tool is its client `ctr`."""
    services.require_root()
    program, client = services.require_tool("containerd"), services.require_tool("ctr")
    socket = directory / "socket"
    (directory / "config.toml").write_text(
        f'version = 2\nroot = "{directory}/root"\nstate = "{directory}/state"\n'
        f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\naddress = "{socket}"\n'
    )
    with (directory / "log").open("w") as log:
        process = subprocess.Popen([program, "-c", str(directory / "config.toml")], stdout=log, stderr=log)
    try:
        eventually_sync(lambda: process.poll() is not None or socket.exists(), "containerd")
        assert process.poll() is None, (directory / "log").read_text()
        yield Tool((client, "-a", str(socket)), directory)
    finally:
        process.kill()
        process.wait()
