"""Tests of manifests/: the schema matches the manifest's types, and the examples match the schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given

from models_init.core.pack_ref import PackRef
from models_init.formats.manifest import Manifest, encode, json_schema, parse
from tests.manifests import manifest, manifests

_DIRECTORY = Path(__file__).parents[1] / "manifests"
_FILE = _DIRECTORY / "manifest.schema.json"
_EXAMPLES = sorted((_DIRECTORY / "examples").iterdir())
_VALIDATOR = jsonschema.Draft202012Validator(json.loads(json_schema()))


def test_schema_matches_the_types() -> None:
    """`scripts/schema` has been run since the types were changed."""
    assert _FILE.read_bytes() == json_schema()


def test_schema_is_valid_by_its_own_draft() -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads(json_schema()))


@given(manifests())
def test_written_manifest_is_valid_by_the_schema(drawn: Manifest) -> None:
    _VALIDATOR.validate(json.loads(encode(drawn)))


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"pack": "NL"},
        {"version": "../1"},
        {"archive": {}},
        {"files": [{"path": "a"}]},
        {"directories": [1]},
        {"more": True},
    ],
)
def test_schema_rejects_invalid_manifest(change: dict[str, Any]) -> None:
    document = json.loads(encode(manifest({"am/final": [(10, 20)]}))) | change
    assert not _VALIDATOR.is_valid(document)


@pytest.mark.parametrize("path", _EXAMPLES, ids=lambda path: path.name)
def test_example_is_valid_by_schema_and_by_program(path: Path) -> None:
    """Each example is valid, and the program writes it with the same bytes."""
    document = json.loads(path.read_bytes())
    _VALIDATOR.validate(document)
    example = parse(path.read_bytes(), PackRef(document["pack"], document["version"]))
    assert encode(example) == path.read_bytes()


def test_examples_cover_each_kind_of_manifest() -> None:
    """There is a pack of chunks, one with requirements, and an opaque archive; manifests/README.md names each file."""
    documents = [json.loads(path.read_bytes()) for path in _EXAMPLES]
    assert any(document["files"] and "requires" not in document for document in documents)
    assert any("requires" in document for document in documents)
    assert any("plain" in document for document in documents)
    readme = (_DIRECTORY / "README.md").read_text()
    assert [path.name for path in _EXAMPLES if f"(examples/{path.name})" not in readme] == []
