"""The level "restricted" of the Pod Security Standards (https://kubernetes.io/docs/concepts/security/pod-security-standards)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.services.kubernetes_api.pod_rules import containers

if TYPE_CHECKING:
    from collections.abc import Iterator

Object = dict[str, Any]

_VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected", "secret",
}  # fmt: skip


def violations(spec: Object) -> Iterator[str]:
    """Yield a line for each field of a pod that the level does not allow."""
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(name):
            yield name
    for volume in spec.get("volumes", []):
        yield from (f"volume {volume['name']}: {kind}" for kind in volume.keys() - {"name"} - _VOLUMES)
    for container in containers(spec):
        merged = spec.get("securityContext", {}) | container.get("securityContext", {})
        yield from (f"{container['name']}: {text}" for text in _container(container, merged))


def _container(container: Object, context: Object) -> Iterator[str]:
    capabilities = context.get("capabilities", {})
    requirements = {
        "allowPrivilegeEscalation": context.get("allowPrivilegeEscalation") is False,
        "capabilities": capabilities.get("drop") == ["ALL"]
        and set(capabilities.get("add", [])) <= {"NET_BIND_SERVICE"},
        "hostPort": not any("hostPort" in port for port in container.get("ports", [])),
        "privileged": not context.get("privileged"),
        "procMount": context.get("procMount", "Default") == "Default",
        "runAsNonRoot": context.get("runAsNonRoot") is True,
        "runAsUser": context.get("runAsUser") != 0,
        "seccompProfile": context.get("seccompProfile", {}).get("type") in ("RuntimeDefault", "Localhost"),
    }
    yield from (name for name, holds in requirements.items() if not holds)
