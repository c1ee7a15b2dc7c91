"""Run a separate Docker engine with its own directories, socket and addresses, and remove all of it at the end.

It changes no firewall rule and forwards no packets. Containers reach only each other, or use the network of the machine
(`network_mode: host`).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tests import services

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_OPTIONS = (
    "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false", "--bridge=none",
    "--default-address-pool", "base=10.213.0.0/16,size=24",
)  # fmt: skip
_DRIVERS = ("overlay2", "vfs")
_START_SECONDS = 30.0
_PAUSE = 0.05


class CommandResult(NamedTuple):
    """The output of a command, and its exit code."""

    text: str
    code: int


@dataclass(frozen=True)
class Docker:
    """The command line of one engine, with an environment that has only PATH of this process."""

    program: str
    directory: Path

    @property
    def environment(self) -> dict[str, str]:
        """The environment with which a client uses only this engine."""
        return {
            "DOCKER_HOST": f"unix://{self.directory}/socket",
            "DOCKER_CONFIG": str(self.directory),
            "HOME": str(self.directory),
            "PATH": f"{Path(self.program).parent}:{os.environ['PATH']}",
        }

    def start(
        self,
        *arguments: str,
        cwd: Path | None = None,
        more: Mapping[str, str] | None = None,
        stderr: int = subprocess.STDOUT,
    ) -> subprocess.Popen[str]:
        """Start `docker ARGUMENTS`, with `more` variables; standard error goes into `stdout` by default."""
        return subprocess.Popen(
            [self.program, *arguments], text=True, cwd=cwd, env=self.environment | dict(more or {}),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr,
        )  # fmt: skip

    def try_run(self, *arguments: str, **more: Any) -> CommandResult:
        """Run `docker ARGUMENTS` and return the result, also of a failure; `more` is as for `start`."""
        with self.start(*arguments, **more) as process:
            return CommandResult(process.communicate()[0].strip(), process.returncode)

    def run(self, *arguments: str, **more: Any) -> str:
        """Run `docker ARGUMENTS` and return its output; `more` is as for `start`."""
        text, code = self.try_run(*arguments, **more)
        assert code == 0, f"docker {' '.join(arguments)} ended with {code}:\n{text}"
        return text

    def inspect(self, name: str, kind: str = "container") -> dict[str, Any]:
        """Return the description of a container, an image or a volume."""
        found: list[dict[str, Any]] = json.loads(self.run("inspect", "--type", kind, name))
        return found[0]


def until(happened: Callable[[], object], what: str, seconds: float = 60.0) -> None:
    """Return as soon as the condition is true; fail if it does not become true in time."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds:.0f} s"
        time.sleep(_PAUSE)


def program(name: str) -> str:
    """Prefer Debian's program to others on PATH, because it includes BuildKit."""
    path = shutil.which(name, path=f"/usr/bin:/usr/sbin:{os.environ['PATH']}")
    return path or services.missing(f"no {name}", "as root on Debian, run .ci/install-docker")


def require_compose(docker: str) -> None:
    """Skip the test without compose v2; this needs no engine."""
    if subprocess.run([docker, "compose", "version"], check=False, capture_output=True).returncode:
        services.missing("no compose v2", "as root on Debian, run .ci/install-docker")


@contextlib.contextmanager
def engine(daemon: str = "") -> Iterator[Docker]:
    """Run an engine, with overlay2 if the file system supports it; `daemon` is another dockerd than Debian's."""
    services.require_root()
    daemon, docker = daemon or program("dockerd"), program("docker")
    directory = Path(tempfile.mkdtemp(prefix="dockerd-"))  # a short path, as sockets require
    try:
        with contextlib.ExitStack() as stack:
            yield stack.enter_context(_started(daemon, Docker(docker, directory)))
    finally:
        _unmount(directory)
        shutil.rmtree(directory)


@contextlib.contextmanager
def _started(daemon: str, docker: Docker) -> Iterator[Docker]:
    for driver in _DRIVERS:
        with (docker.directory / f"log-{driver}").open("w") as log:
            process = subprocess.Popen(_command(daemon, docker, driver), stdout=log, stderr=subprocess.STDOUT)
        try:
            if _answers(docker, process):
                yield docker
                return
        finally:
            _stop(docker, process)
    logs = "".join(path.read_text()[-2000:] for path in docker.directory.glob("log-*"))
    raise RuntimeError(f"dockerd does not start:\n{logs}")


def _command(daemon: str, docker: Docker, driver: str) -> list[str]:
    directory = docker.directory
    places = ["--data-root", f"{directory}/data", "--exec-root", f"{directory}/exec", "--pidfile", f"{directory}/pid"]
    return [daemon, *places, "--host", f"unix://{directory}/socket", "--storage-driver", driver, *_OPTIONS]


def _answers(docker: Docker, process: subprocess.Popen[bytes]) -> bool:
    def decided() -> bool:
        return process.poll() is not None or docker.try_run("version").code == 0

    until(decided, "the start of dockerd", _START_SECONDS)
    return process.poll() is None


def _stop(docker: Docker, process: subprocess.Popen[bytes]) -> None:
    """End all containers, remove the networks' devices, end the engine."""
    if process.poll() is None:
        if containers := docker.try_run("ps", "--all", "--quiet").text.split():
            docker.try_run("rm", "--force", *containers)
        docker.try_run("network", "prune", "--force")
        process.terminate()
    process.wait()


def _unmount(directory: Path) -> None:
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for mount in reversed([mount for mount in mounts if mount.startswith(f"{directory}/")]):
        subprocess.run(["umount", "--lazy", mount], check=False)
