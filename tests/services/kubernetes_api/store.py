"""The objects of the fake API server, and the rules for creating, changing and removing them."""

from __future__ import annotations

import copy
import itertools
import threading
import uuid
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.services.kubernetes_api.immutable import forbidden_changes
from tests.services.kubernetes_api.object_rules import object_errors

Object = dict[str, Any]


class Key(NamedTuple):
    """The place of an object; an example of `group` is `apps/v1`."""

    group: str
    resource: str
    namespace: str
    name: str


class Refused(Exception):  # noqa: N818  # the answer of a working server, not a fault
    """An answer other than success, with the HTTP status and the reason of a `Status` object."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason = status, reason


@dataclass
class Store:
    """All objects, and a line for each that was created, changed or deleted, without helm's own Secrets."""

    objects: dict[Key, Object] = field(default_factory=dict)
    changes: list[str] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)
    _versions: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def get(self, key: Key) -> Object:
        """Return an object."""
        if key not in self.objects:
            raise Refused(404, "NotFound", f'{key.resource} "{key.name}" not found')
        return self.objects[key]

    def create(self, key: Key, new: Object) -> Object:
        """Add an object."""
        if key in self.objects:
            raise Refused(409, "AlreadyExists", f'{key.resource} "{key.name}" already exists')
        return self._put(key, None, new)

    def change(self, key: Key, new: Object) -> Object:
        """Replace an object; fields that only the server sets stay."""
        return self._put(key, self.get(key), new)

    def apply(self, key: Key, new: Object) -> Object:
        """Create or replace an object, as server-side apply does for the single manager of all its fields."""
        return self._put(key, self.objects.get(key), new)

    def delete(self, key: Key) -> None:
        """Remove an object."""
        old = self.get(key)
        del self.objects[key]
        self._log("deleted", old)

    def next_version(self) -> str:
        """Return the next resource version."""
        return str(next(self._versions))

    def _put(self, key: Key, old: Object | None, new: Object) -> Object:
        new = copy.deepcopy(new)
        new["metadata"]["namespace"] = key.namespace
        _keep_server_fields(old, new)
        errors = object_errors(new) if not _is_release(new) else []
        errors += forbidden_changes(old, new) if old else ()
        if errors:
            name = f'{new["kind"]} "{key.name}" is invalid'
            raise Refused(422, "Invalid", f"{name}: {'; '.join(errors)}")
        if old == new:
            return old
        new["metadata"]["resourceVersion"] = self.next_version()
        self.objects[key] = new
        self._log("changed" if old else "created", new)
        return new

    def _log(self, what: str, thing: Object) -> None:
        if not _is_release(thing):
            self.changes.append(f"{what} {thing['kind']}/{thing['metadata']['name']}")


def without_server_fields(thing: Object) -> Object:
    """Return an object as its author wrote it, without fields of the server and controllers or helm's annotations."""
    stripped = copy.deepcopy(thing)
    stripped.pop("status", None)
    metadata = stripped["metadata"]
    for name in _SERVER_METADATA:
        metadata.pop(name, None)
    annotations = {name: value for name, value in metadata.get("annotations", {}).items() if _RELEASE not in name}
    metadata.pop("annotations", None)
    if annotations:
        metadata["annotations"] = annotations
    for path in _SERVER_FIELDS.get(stripped["kind"], ()):
        _remove(stripped, path)
    return stripped


_RELEASE = "meta.helm.sh/release-"
_SERVER_METADATA = ("creationTimestamp", "namespace", "resourceVersion", "uid")
_CONTROLLER = "batch.kubernetes.io/controller-uid"
_SERVER_FIELDS = {
    "Job": (("spec", "selector"), ("spec", "template", "metadata", "labels", _CONTROLLER)),
    "PersistentVolumeClaim": (("spec", "volumeName"),),
    "Service": (("spec", "clusterIP"),),
}


def _is_release(thing: Object) -> bool:
    return str(thing.get("type", "")).startswith("helm.sh/")


def _keep_server_fields(old: Object | None, new: Object) -> None:
    """Set the fields that the server generates at creation, and keep them later."""
    metadata, kept = new["metadata"], (old or {"metadata": {}})["metadata"]
    metadata["uid"] = kept.get("uid") or str(uuid.uuid4())
    metadata["creationTimestamp"] = kept.get("creationTimestamp", "2026-01-01T00:00:00Z")
    if "resourceVersion" in kept:
        metadata["resourceVersion"] = kept["resourceVersion"]
    if new["kind"] in _GENERATED:
        _GENERATED[new["kind"]](new)


def _job(job: Object) -> None:
    """Select the Job's pods by its unique identifier, as the server does."""
    labels = {_CONTROLLER: job["metadata"]["uid"]}
    job["spec"].setdefault("selector", {"matchLabels": labels})
    template = job["spec"]["template"].setdefault("metadata", {})
    template["labels"] = template.get("labels", {}) | labels
    job["status"] = {"succeeded": 1, "conditions": [{"type": "Complete", "status": "True"}]}


def _claim(claim: Object) -> None:
    claim["spec"]["volumeName"] = f"pvc-{claim['metadata']['uid']}"
    claim["status"] = {"phase": "Bound"}


def _service(service: Object) -> None:
    service["spec"].setdefault("clusterIP", "10.43.0.1")


def _pod(pod: Object) -> None:
    """End each pod at once with success; the pods in a chart are its tests."""
    pod["status"] = {"phase": "Succeeded"}


_GENERATED = {"Job": _job, "PersistentVolumeClaim": _claim, "Pod": _pod, "Service": _service}


def _remove(tree: Object, path: tuple[str, ...]) -> None:
    """Remove a field, and the objects above it that are empty without it."""
    name, *rest = path
    if rest and name in tree:
        _remove(tree[name], tuple(rest))
    if not rest or tree.get(name) == {}:
        tree.pop(name, None)
