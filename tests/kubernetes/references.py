"""References between the objects of a chart: selectors, ports, claims, ConfigMaps, Secrets, accounts, routes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.services.kubernetes_api.object_rules import pod_template
from tests.services.kubernetes_api.pod_rules import containers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Set as AbstractSet

Object = dict[str, Any]


def broken_references(things: list[Object], given: AbstractSet[str]) -> Iterator[str]:
    """Yield a line for each reference to an object that is neither rendered nor among the `given` names."""
    names = {(thing["kind"], thing["metadata"]["name"]) for thing in things}
    names |= {("PersistentVolumeClaim", name) for thing in things for name in _claims(thing)}
    for thing in things:
        for kind, name in _references(thing):
            if (kind, name) not in names and name not in given:
                yield f"{_title(thing)}: {kind} {name} does not exist"
    templates = [template for thing in things if (template := pod_template(thing))]
    for thing in things:
        yield from (f"{_title(thing)}: {text}" for text in _broken_selectors(thing, templates))


def _claims(thing: Object) -> Iterator[str]:
    """Yield the names of the claims that the controller creates for the pods of a StatefulSet."""
    spec = thing.get("spec", {})
    for claim in spec.get("volumeClaimTemplates", []):
        for ordinal in range(spec["replicas"]):
            yield f"{claim['metadata']['name']}-{thing['metadata']['name']}-{ordinal}"


def _title(thing: Object) -> str:
    return f"{thing['kind']} {thing['metadata']['name']}"


def _references(thing: Object) -> Iterator[tuple[str, str]]:
    template = pod_template(thing)
    if template:
        yield from _pod_references(template["spec"])
    if thing["kind"] == "StatefulSet":
        yield "Service", thing["spec"]["serviceName"]
    if thing["kind"] == "Ingress":
        for rule in thing["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                yield "Service", path["backend"]["service"]["name"]
        yield from (("Secret", entry["secretName"]) for entry in thing["spec"].get("tls", []))
    if thing["kind"] == "HTTPRoute":
        for rule in thing["spec"]["rules"]:
            yield from (("Service", backend["name"]) for backend in rule["backendRefs"])


def _pod_references(spec: Object) -> Iterator[tuple[str, str]]:
    if spec.get("serviceAccountName", "default") != "default":
        yield "ServiceAccount", spec["serviceAccountName"]
    yield from (("Secret", entry["name"]) for entry in spec.get("imagePullSecrets", []))
    for volume in spec.get("volumes", []):
        yield from _volume_references(volume)
        for source in volume.get("projected", {}).get("sources", []):
            yield from _volume_references(source)
    for container in containers(spec):
        for variable in container.get("env", []):
            origin = variable.get("valueFrom", {})
            if "secretKeyRef" in origin:
                yield "Secret", origin["secretKeyRef"]["name"]
            if "configMapKeyRef" in origin:
                yield "ConfigMap", origin["configMapKeyRef"]["name"]


def _volume_references(source: Object) -> Iterator[tuple[str, str]]:
    if "persistentVolumeClaim" in source:
        yield "PersistentVolumeClaim", source["persistentVolumeClaim"]["claimName"]
    if "configMap" in source:
        yield "ConfigMap", source["configMap"]["name"]
    if "secret" in source:
        yield "Secret", source["secret"].get("secretName") or source["secret"]["name"]


def _broken_selectors(thing: Object, templates: list[Object]) -> Iterator[str]:
    spec = thing.get("spec", {})
    if thing["kind"] == "Service" and spec.get("selector"):
        selected = _selected(spec["selector"], templates)
        if not selected:
            yield "selects no pod"
        for port in spec["ports"]:
            target = port.get("targetPort", port["port"])
            yield from (
                f"the port {target} is not one of {template['metadata']['labels']}"
                for template in selected
                if target not in _ports(template)
            )
    if thing["kind"] in ("PodDisruptionBudget", "NetworkPolicy"):
        selector = spec.get("selector", spec.get("podSelector", {}))
        if not _selected(selector.get("matchLabels", {}), templates):
            yield "selects no pod"


def _selected(labels: Object, templates: list[Object]) -> list[Object]:
    return [template for template in templates if labels.items() <= template["metadata"].get("labels", {}).items()]


def _ports(template: Object) -> set[object]:
    ports = [port for container in containers(template["spec"]) for port in container.get("ports", [])]
    return {port.get("name") for port in ports} | {port["containerPort"] for port in ports}
