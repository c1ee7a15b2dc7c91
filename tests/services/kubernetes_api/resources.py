"""The kinds of objects that the fake API server knows, its discovery documents, and its paths."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from tests.services.kubernetes_api.store import Key, Refused

GROUPS = {
    "v1": {
        "configmaps": "ConfigMap",
        "events": "Event",
        "persistentvolumeclaims": "PersistentVolumeClaim",
        "pods": "Pod",
        "secrets": "Secret",
        "serviceaccounts": "ServiceAccount",
        "services": "Service",
    },
    "apps/v1": {
        "daemonsets": "DaemonSet",
        "deployments": "Deployment",
        "replicasets": "ReplicaSet",
        "statefulsets": "StatefulSet",
    },
    "batch/v1": {"cronjobs": "CronJob", "jobs": "Job"},
    "gateway.networking.k8s.io/v1": {"httproutes": "HTTPRoute"},
    "networking.k8s.io/v1": {"ingresses": "Ingress", "networkpolicies": "NetworkPolicy"},
    "policy/v1": {"poddisruptionbudgets": "PodDisruptionBudget"},
}
VERSION = "1.34"
_PATH = re.compile(r"/(?:api/(v1)|apis/([^/]+/v1))/namespaces/([^/]+)/([^/]+)(?:/([^/]+))?")
_NAMESPACE = re.compile(r"/api/v1/namespaces/([^/]+)")
_VERBS = ["create", "delete", "get", "list", "patch", "update", "watch"]


@dataclass(frozen=True)
class ApiPath:
    """The object or the collection that a path names; the name of a collection is empty."""

    group: str
    namespace: str
    resource: str
    name: str

    @property
    def kind(self) -> str:
        """The kind of the object."""
        return GROUPS[self.group][self.resource]

    def key(self, name: str) -> Key:
        """Return the key of an object of this kind in this namespace."""
        return Key(self.group, self.resource, self.namespace, name)

    def holds(self, key: Key) -> bool:
        """Return True if an object belongs to the collection."""
        return (key.group, key.resource, key.namespace) == (self.group, self.resource, self.namespace)


def parse_path(path: str) -> ApiPath:
    """Return the target of a path."""
    match = _PATH.fullmatch(path)
    group = (match[1] or match[2]) if match else ""
    if not match or match[4] not in GROUPS.get(group, {}):
        raise Refused(404, "NotFound", f"the server could not find the requested resource {path}")
    return ApiPath(group, match[3], match[4], match[5] or "")


def discovery(path: str) -> dict[str, Any] | None:
    """Return the discovery document of a path; None for a path that has none."""
    documents: dict[str, dict[str, Any]] = {
        "/version": _version(),
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": _groups(),
        "/api/v1": _resources("v1"),
    }
    documents |= {f"/apis/{group}": _resources(group) for group in GROUPS if "/" in group}
    if path in documents:
        return documents[path]
    namespace = _NAMESPACE.fullmatch(path)
    return {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": namespace[1]}} if namespace else None


def _version() -> dict[str, str]:
    major, minor = VERSION.split(".")
    return {"major": major, "minor": minor, "gitVersion": f"v{VERSION}.0"}


def _groups() -> dict[str, Any]:
    groups = []
    for group in GROUPS:
        if "/" in group:
            version = {"groupVersion": group, "version": "v1"}
            groups.append({"name": group.partition("/")[0], "versions": [version], "preferredVersion": version})
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def _resources(group: str) -> dict[str, Any]:
    resources = [
        {"name": name, "singularName": "", "namespaced": True, "kind": kind, "verbs": _VERBS}
        for name, kind in GROUPS[group].items()
    ]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group, "resources": resources}
