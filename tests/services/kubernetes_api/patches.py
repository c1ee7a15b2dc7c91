"""The patches of the Kubernetes API: JSON merge patch, and strategic merge patch with its keys and directives.

https://github.com/kubernetes/community/blob/master/contributors/devel/sig-api-machinery/strategic-merge-patch.md
"""

from __future__ import annotations

import copy
from typing import Any

Tree = dict[str, Any]

_KEYS = {
    "containers": "name",
    "env": "name",
    "hostAliases": "ip",
    "imagePullSecrets": "name",
    "initContainers": "name",
    "secrets": "name",
    "topologySpreadConstraints": "topologyKey",
    "volumeMounts": "mountPath",
    "volumes": "name",
}
"""The field by which elements of a list are identified (`patchMergeKey`); other lists are replaced as a whole."""


def merge_patch(target: Tree, patch: Tree) -> Tree:
    """Apply a JSON merge patch (RFC 7396)."""
    merged = copy.deepcopy(target)
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, dict):
            old = merged.get(name)
            merged[name] = merge_patch(old if isinstance(old, dict) else {}, value)
        else:
            merged[name] = value
    return merged


def strategic_merge_patch(target: Tree, patch: Tree, path: tuple[str, ...] = ()) -> Tree:
    """Apply a strategic merge patch; `path` has the names of the fields above."""
    if "$patch" in patch:
        return _directed(patch)
    merged = copy.deepcopy(target)
    if "$retainKeys" in patch:
        merged = {name: value for name, value in merged.items() if name in patch["$retainKeys"]}
    for name, value in patch.items():
        if not name.startswith("$"):
            _set(merged, name, value, (*path, name))
    for name, value in patch.items():
        directive, _, field = name.partition("/")
        if directive == "$setElementOrder":
            _order(merged.get(field, []), value, _merge_key((*path, field)))
        elif name.startswith("$") and name != "$retainKeys":
            raise ValueError(f"the directive {name} is not known here")
    return merged


def _directed(patch: Tree) -> Tree:
    rest = {name: value for name, value in patch.items() if name != "$patch"}
    return {"replace": rest, "delete": {}}[patch["$patch"]]


def _set(merged: Tree, name: str, value: Any, path: tuple[str, ...]) -> None:
    old, key = merged.get(name), _merge_key(path)
    if value is None:
        merged.pop(name, None)
    elif isinstance(value, dict):
        merged[name] = strategic_merge_patch(old if isinstance(old, dict) else {}, value, path)
    elif key and isinstance(value, list):
        merged[name] = _merge_list(old or [], value, key, path)
    else:
        merged[name] = value


def _merge_list(old: list[Tree], patch: list[Tree], key: str, path: tuple[str, ...]) -> list[Tree]:
    if {"$patch": "replace"} in patch:
        return [element for element in patch if "$patch" not in element]
    elements = {element[key]: element for element in old}
    for change in patch:
        if change.get("$patch") == "delete":
            elements.pop(change[key], None)
        else:
            elements[change[key]] = strategic_merge_patch(elements.get(change[key], {}), change, path)
    return list(elements.values())


def _order(elements: list[Any], order: list[Any], key: str | None) -> None:
    """Sort in the order of the patch; elements that it does not name come last."""

    def identity(element: Any) -> Any:
        return element[key] if key else element

    places = {identity(element): place for place, element in enumerate(order)}
    elements.sort(key=lambda element: places.get(identity(element), len(places)))


def _merge_key(path: tuple[str, ...]) -> str | None:
    if path[-1] == "ports":
        within_container = "containers" in path or "initContainers" in path
        return "containerPort" if within_container else "port" if path == ("spec", "ports") else None
    return _KEYS.get(path[-1])
