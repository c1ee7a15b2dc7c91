"""The fields that the Kubernetes API server does not allow to change.

Kubernetes: `pkg/apis/batch/validation` (ValidateJobSpecUpdate), `pkg/apis/apps/validation` (ValidateStatefulSetUpdate,
ValidateDeploymentUpdate, ValidateDaemonSetUpdate), `pkg/apis/core/validation` (ValidatePersistentVolumeClaimUpdate,
ValidateSecretUpdate, ValidateServiceUpdate, ValidatePodUpdate).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

Object = dict[str, Any]

_FIXED = {
    "DaemonSet": ("selector",),
    "Deployment": ("selector",),
    "Job": ("completionMode", "completions", "managedBy", "podFailurePolicy", "selector", "successPolicy", "template"),
    "Service": ("clusterIP",),
}
_CHANGEABLE = {
    "PersistentVolumeClaim": ("resources", "volumeAttributesClassName"),
    "Pod": ("activeDeadlineSeconds", "tolerations"),
    "StatefulSet": (
        "minReadySeconds", "ordinals", "persistentVolumeClaimRetentionPolicy", "replicas", "revisionHistoryLimit",
        "template", "updateStrategy",
    ),
}  # fmt: skip
_QUOTED = {
    "StatefulSet": "updates to statefulset spec for fields other than {allowed} are forbidden: {field}",
    "PersistentVolumeClaim": "spec is immutable after creation except {allowed} for bound claims: {field}",
}


def forbidden_changes(old: Object, new: Object) -> Iterator[str]:
    """Yield a line for each change that the server refuses."""
    kind, before, after = old["kind"], old.get("spec", {}), new.get("spec", {})
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    for name in changed:
        if name in _FIXED.get(kind, ()):
            yield f"spec.{name}: Invalid value: field is immutable"
        elif kind in _CHANGEABLE and name not in _CHANGEABLE[kind]:
            text = _QUOTED.get(kind, "pod updates may not change fields other than {allowed}: {field}")
            yield f"spec: Forbidden: {text.format(allowed=', '.join(_CHANGEABLE[kind]), field=name)}"
    if kind == "PersistentVolumeClaim" and _storage(after) < _storage(before):
        yield "spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"
    if kind == "Secret" and old.get("type", "Opaque") != new.get("type", "Opaque"):
        yield "type: Invalid value: field is immutable"


def quantity(text: str | float) -> float:
    """Return the value of a quantity such as `500m`, `192Mi` or `2`."""
    units = {"m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
    units |= {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
    number = str(text).rstrip("kKmMGTi")
    return float(number) * units.get(str(text)[len(number) :], 1)


def _storage(spec: Object) -> float:
    return quantity(spec.get("resources", {}).get("requests", {}).get("storage", 0))
