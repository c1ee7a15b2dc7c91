"""Rules of the API server about pods and pod templates that no schema expresses (`pkg/apis/core/validation`)."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from tests.services.kubernetes_api.immutable import quantity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Object = dict[str, Any]

LABEL = re.compile(r"(?=.{1,63}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_PORT_NAME = re.compile(r"(?=.{1,15}$)(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*")
_ENVIRONMENT_NAME = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")


def containers(spec: Object) -> list[Object]:
    """Return all containers of a pod."""
    return [*spec.get("initContainers", []), *spec["containers"]]


def pod_errors(spec: Object, claims: Iterable[str] = ()) -> Iterator[str]:
    """Yield a line for each rule that the pod breaks; `claims` are the volumes from a StatefulSet's claim templates."""
    volumes = [volume["name"] for volume in spec.get("volumes", [])]
    yield from _repeated("volume", volumes)
    yield from _repeated("container", [container["name"] for container in containers(spec)])
    for volume in spec.get("volumes", []):
        if len(volume) != 2:
            yield f"volume {volume['name']}: must have exactly one source, has {sorted(volume)}"
    for name in [*volumes, *(container["name"] for container in containers(spec))]:
        if not LABEL.fullmatch(name):
            yield f"{name}: is not a DNS label"
    for container in containers(spec):
        mistakes = itertools.chain(_mounts(container, {*volumes, *claims}), _fields(container), _resources(container))
        yield from (f"container {container['name']}: {text}" for text in mistakes)
    yield from _restarts(spec)


def _mounts(container: Object, volumes: set[str]) -> Iterator[str]:
    mounts = container.get("volumeMounts", [])
    yield from _repeated("mountPath", [mount["mountPath"] for mount in mounts])
    for mount in mounts:
        if mount["name"] not in volumes:
            yield f"volumeMounts: {mount['name']}: not found"
        path = mount.get("subPath", "")
        if path.startswith("/") or ".." in path.split("/"):
            yield f"subPath {path}: must be a relative path without '..'"


def _fields(container: Object) -> Iterator[str]:
    ports = [port["name"] for port in container.get("ports", []) if "name" in port]
    yield from _repeated("port", ports)
    yield from (f"port {name}: is not a port name" for name in ports if not _PORT_NAME.fullmatch(name))
    yield from _repeated("environment variable", [variable["name"] for variable in container.get("env", [])])
    for variable in container.get("env", []):
        if not _ENVIRONMENT_NAME.fullmatch(variable["name"]):
            yield f"env {variable['name']}: is not a variable's name"
        if "value" in variable and "valueFrom" in variable:
            yield f"env {variable['name']}: may not have value and valueFrom"
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        used = container.get(probe, {}).get("tcpSocket", container.get(probe, {}).get("httpGet", {})).get("port")
        if isinstance(used, str) and used not in ports:
            yield f"{probe}: the port {used} is not one of the container's"


def _resources(container: Object) -> Iterator[str]:
    resources = container.get("resources", {})
    limits = resources.get("limits", {})
    for name, requested in resources.get("requests", {}).items():
        if name in limits and quantity(requested) > quantity(limits[name]):
            yield f"resources.requests.{name}: must be less than or equal to the limit {limits[name]}"


def _restarts(spec: Object) -> Iterator[str]:
    for container in spec["containers"]:
        if "restartPolicy" in container:
            yield f"container {container['name']}: restartPolicy is for init containers"
    for container in spec.get("initContainers", []):
        if container.get("restartPolicy", "Always") != "Always":
            yield f"container {container['name']}: restartPolicy must be Always"
        probes = sorted(name for name in container if name.endswith("Probe") or name == "lifecycle")
        if probes and "restartPolicy" not in container:
            yield f"container {container['name']}: {', '.join(probes)} may not be set for init containers"


def _repeated(what: str, names: Iterable[str]) -> Iterator[str]:
    yield from (f"{what} {name}: Duplicate value" for name, times in Counter(names).items() if times > 1)
