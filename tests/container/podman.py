"""Run podman with its own storage, and pods of the chart in it, converted to what podman 4.3 understands.

podman has pods and init containers, but no kubelet. It supports neither native sidecars nor fsGroup nor termination
messages, and it ignores subPath. `ChartPod` implements them as a kubelet does.
"""

from __future__ import annotations

import contextlib
import copy
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tests import services
from tests.container.daemon import Docker, program
from tests.kubernetes.kubelet import make_sub_path
from tests.services.kubernetes_api.pod_rules import containers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from subprocess import Popen

Object = dict[str, Any]

_CONTAINERS = """
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
log_driver = "k8s-file"
netns = "host"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
runtime = "runc"
"""
_STORAGE = '[storage]\ndriver = "overlay"\ngraphroot = "{0}/root"\nrunroot = "{0}/run"\n'
_UNKNOWN_FIELDS = (
    "imagePullSecrets", "progressDeadlineSeconds", "serviceAccountName", "automountServiceAccountToken",
    "enableServiceLinks", "topologySpreadConstraints", "affinity", "nodeSelector",
)  # fmt: skip
_UNKNOWN_CONTAINER_FIELDS = (
    "ports", "startupProbe", "readinessProbe", "livenessProbe", "restartPolicy", "terminationMessagePolicy",
)  # fmt: skip
_TERMINATION_LOG = "/dev/termination-log"
_KEEP_INIT_CONTAINERS = {"io.podman.annotations.init.container.type": "always"}  # else their logs are lost


class Podman(Docker):
    """The command line of podman, whose storage and settings are in `directory`."""

    @property
    def environment(self) -> dict[str, str]:
        """The environment with which podman uses only this directory."""
        return {
            "CONTAINERS_CONF": str(self.directory / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(self.directory / "storage.conf"),
            "HOME": str(self.directory),
            "PATH": os.environ["PATH"],
        }


@contextlib.contextmanager
def podman() -> Iterator[Podman]:
    """Provide podman with empty storage; remove all of it at the end."""
    services.require_root()
    for needed in ("catatonit", "runc"):
        services.require_tool(needed)
    directory = Path(tempfile.mkdtemp(prefix="podman-"))  # a short path, as podman demands
    (directory / "containers.conf").write_text(_CONTAINERS)
    (directory / "storage.conf").write_text(_STORAGE.format(directory))
    tool = Podman(program("podman"), directory)
    try:
        yield tool
    finally:
        tool.run("pod", "rm", "--all", "--force", "--time=0")
        tool.run("rmi", "--all", "--force")
        shutil.rmtree(directory)


@dataclass(frozen=True)
class ChartPod:
    """A pod of the chart; `directory` has its volumes by name, and the termination messages of its containers."""

    podman: Podman
    directory: Path
    name: str
    template: Object

    def start(self) -> Popen[str]:
        """Start `podman play kube`, which returns when the init containers have ended and the others run."""
        file = self.directory / f"{self.name}.yaml"
        file.write_text(yaml.safe_dump(self._converted()))
        return self.podman.start("play", "kube", "--network=host", str(file))

    def played(self) -> tuple[str, int]:
        """Run `podman play kube`; return its output and exit code."""
        with self.start() as process:
            return process.communicate()[0], process.returncode

    def volume(self, name: str) -> Path:
        """Return the directory of a volume on this machine."""
        return self.directory / name

    def state(self, container: str) -> Object:
        """Return the state of a container as `podman inspect` reports it."""
        state: Object = self.podman.inspect(f"{self.name}-{container}")["State"]
        return state

    def exit_code(self, container: str) -> int:
        """Wait until a container has ended; return its exit code."""
        return int(self.podman.run("wait", f"{self.name}-{container}"))

    def log(self, container: str) -> str:
        """Return the log of a container; nothing if it does not exist yet."""
        text, code = self.podman.try_run("logs", f"{self.name}-{container}")
        return text if code == 0 else ""

    def execute(self, container: str, *command: str) -> str:
        """Run a command in a container; return its output."""
        return self.podman.run("exec", f"{self.name}-{container}", *command)

    def try_execute(self, container: str, *command: str) -> str:
        """Run a command in a container; return its output, also of a failure."""
        return self.podman.try_run("exec", f"{self.name}-{container}", *command).text

    def passes_startup_probe(self, container: str) -> bool:
        """Run the command of a container's startup probe in it, as a kubelet does."""
        (found,) = (each for each in containers(self.template["spec"]) if each["name"] == container)
        command = found["startupProbe"]["exec"]["command"]
        return self.podman.try_run("exec", f"{self.name}-{container}", *command).code == 0

    def stop(self, container: str) -> None:
        """Send SIGTERM to a container, and SIGKILL after two seconds."""
        self.podman.run("stop", "--time=2", f"{self.name}-{container}")

    def termination_message(self, container: str) -> str:
        """Return the message that Kubernetes would show as the reason of the container's end."""
        return (self.directory / f"{self.name}-{container}-message").read_text()

    def remove(self) -> None:
        """Remove the pod, killing its containers; the volumes stay."""
        self.podman.run("pod", "rm", "--force", "--time=0", self.name)

    def _converted(self) -> Object:
        spec = copy.deepcopy(self.template["spec"])
        for field in _UNKNOWN_FIELDS:
            spec.pop(field, None)
        security = spec.pop("securityContext")
        volumes = [volume | {"emptyDir": {}} for volume in spec["volumes"] if "emptyDir" in volume]
        temporary = {volume["name"] for volume in volumes}
        for container in containers(spec):
            container["securityContext"] = {**_user(security), **container["securityContext"]}
            container["imagePullPolicy"] = "Never"
            directories = self._directories(container, temporary)
            container["volumeMounts"] = [mount for mount, _ in directories]
            volumes += [volume for _, volume in directories if volume]
        starting = spec.get("initContainers", [])
        sidecars = [container for container in starting if "restartPolicy" in container]
        spec["initContainers"] = [container for container in starting if container not in sidecars]
        spec["containers"] = [*sidecars, *spec["containers"]]
        for container in containers(spec):
            for field in _UNKNOWN_CONTAINER_FIELDS:
                container.pop(field, None)
        spec |= {"volumes": volumes, "restartPolicy": "Never", "hostNetwork": True}
        metadata = {"name": self.name, "annotations": _KEEP_INIT_CONTAINERS}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}

    def _directories(self, container: Object, temporary: set[str]) -> list[tuple[Object, Object | None]]:
        """Return each mount with a separate volume: the directory on this machine, or that of the subPath in it."""
        message = self.directory / f"{self.name}-{container['name']}-message"
        message.touch()
        message.chmod(0o666)  # as a kubelet does
        found: list[tuple[Object, Object | None]] = [_mount(container, "message", _TERMINATION_LOG, message)]
        for number, mount in enumerate(container.pop("volumeMounts")):
            if mount["name"] in temporary:
                found.append((mount, None))
                continue
            path = self.volume(mount["name"])
            if "subPath" in mount:
                make_sub_path(path, mount["subPath"])
            found.append(_mount(container, str(number), mount["mountPath"], path / mount.get("subPath", "")))
            found[-1][0]["readOnly"] = mount.get("readOnly", False)
        return found


def _mount(container: Object, name: str, target: str, path: Path) -> tuple[Object, Object]:
    name = f"{container['name']}-{name}"
    return {"name": name, "mountPath": target}, {"name": name, "hostPath": {"path": str(path)}}


def _user(security: Object) -> Object:
    """Return the part of a pod's security that podman reads only from containers."""
    return {name: security[name] for name in ("runAsUser", "runAsGroup", "runAsNonRoot")}


class KubeletSecret:
    """A Secret in a directory, as a kubelet mounts it: files are links through `..data`, which it replaces."""

    def __init__(self, directory: Path, **files: str) -> None:
        directory.mkdir()
        self._directory = directory
        self.update(**files)

    def remove(self) -> None:
        """Make it empty, as for a Secret that does not exist and is optional."""
        shutil.rmtree(self._directory)
        self._directory.mkdir()

    def update(self, **files: str) -> None:
        """Replace all files at once (`AtomicWriter.Write` in pkg/volume/util/atomic_writer.go)."""
        versions = len(list(self._directory.glob("..2*")))
        data = self._directory / f"..2026_11_28_{versions}"
        data.mkdir()
        for name, content in files.items():
            (data / name).write_text(content)
            link = self._directory / name
            if not link.is_symlink():
                link.symlink_to(f"..data/{name}")
        aside = self._directory / "..data_tmp"
        aside.symlink_to(data.name)
        aside.rename(self._directory / "..data")
