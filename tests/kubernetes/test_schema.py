"""values.schema.json refuses unknown keys and wrong types everywhere, and helm enforces it."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import yaml

from tests.kubernetes.chart import CHART, NAMED, VALUE_SETS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.services.chart_tools import Helm

_SCHEMA = json.loads((CHART / "values.schema.json").read_text())
_DEFAULTS = yaml.safe_load((CHART / "values.yaml").read_text())
_OPEN = {
    "global",  # belongs to the chart that contains this one
    *("strategy", "startupProbe", "readinessProbe", "podSecurityContext", "securityContext", "requests", "limits"),
}
"""Values whose keys the schema does not restrict, because the chart copies them unchanged."""


def _errors(values: Any) -> list[str]:
    validator = jsonschema.Draft7Validator(_SCHEMA)
    return [f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in validator.iter_errors(values)]


def _nodes(values: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield path and value of each object and each leaf, except within values that the chart copies."""
    yield path, values
    for name, value in values.items():
        if name in _OPEN:
            continue
        if isinstance(value, dict):
            yield from _nodes(value, (*path, name))
        else:
            yield (*path, name), value


def _with(path: tuple[str, ...], value: object) -> Any:
    changed = copy.deepcopy(_DEFAULTS)
    place = changed
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    return changed


_OBJECTS = [path for path, value in _nodes(_DEFAULTS) if isinstance(value, dict) and value]
_LEAVES = {path: value for path, value in _nodes(_DEFAULTS) if not isinstance(value, dict)}


def test_schema_is_valid_and_accepts_defaults_and_value_sets() -> None:
    jsonschema.Draft7Validator.check_schema(_SCHEMA)
    assert [_errors(yaml.safe_load(path.read_text())) for path in (CHART / "values.yaml", *VALUE_SETS)] == [
        [] for _ in range(len(VALUE_SETS) + 1)
    ]


@pytest.mark.parametrize("path", _OBJECTS, ids=".".join)
def test_unknown_key_is_refused(path: tuple[str, ...]) -> None:
    unknown = (*path, "unknown")
    (error,) = _errors(_with(unknown, {"key": "value"}))
    assert "unknown" in error


@pytest.mark.parametrize("path", _LEAVES, ids=".".join)
def test_value_of_another_type_is_refused(path: tuple[str, ...]) -> None:
    """A number instead of a string is the result of an unquoted version in YAML."""
    wrong = {"true": True} if isinstance(_LEAVES[path], bool | int | None) else 2026.1
    assert _errors(_with(path, wrong))


_REFUSED: dict[str, dict[str, Any]] = {
    "packs.languageVersion": {"packs": {"languageVersion": 2026.1}},
    "packs.commonVersion": {"packs": {"commonVersion": 2026}},
    "languages.nl-nl.version": {"languages": {"nl-nl": {"version": 2026.07}}},
    "staging.ahead.0.packs.languageVersion": {"staging": {"ahead": [{"packs": {"languageVersion": 2026.07}}]}},
    "staging.ahead.0": {"staging": {"ahead": [{"languageVersion": "2026.07"}]}},
    "languages.nl-nl": {"languages": {"nl-nl": {"versoin": "2026.07"}}},
    "languages": {"languages": {"NL_nl": {}}},
    "engine.image.tag": {"engine": {"image": {"tag": 1.28}}},
    "modelsInit.image.tag": {"modelsInit": {"image": {"tag": "latest"}}},
    "storage.type": {"storage": {"type": "pvc"}},
    "source.url": {"source": {"url": "models.example/container"}},
}


@pytest.mark.parametrize("path", _REFUSED)
def test_helm_names_the_refused_value(helm: Helm, tmp_path: Path, path: str) -> None:
    (tmp_path / "values.json").write_text(json.dumps(_REFUSED[path]))
    done = helm.try_run("template", *NAMED, "--values", VALUE_SETS[0], "--values", tmp_path / "values.json")
    assert (done.code, done.out) == (1, "")
    pointer = "/" + path.replace(".", "/")
    assert pointer in done.err or path in done.err, done.err


@pytest.mark.parametrize(("size", "accepted"), [("62914560Ki", True), ("60G", True), ("60ki", False), ("60Kb", False)])
def test_sizes_have_the_units_of_kubernetes(size: str, *, accepted: bool) -> None:
    assert bool(_errors(_with(("storage", "claim", "size"), size))) is not accepted
