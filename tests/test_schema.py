"""The JSON Schema in the repository is the one that the manifest's types give, and it fits real manifests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given

from models_init.formats.manifest import Manifest, encode, json_schema
from tests.manifests import manifest, manifests

_FILE = Path(__file__).parents[1] / "manifests/manifest.schema.json"
_VALIDATOR = jsonschema.Draft202012Validator(json.loads(json_schema()))


def test_the_schema_is_fresh() -> None:
    """`scripts/schema` has been run since the types were changed."""
    assert _FILE.read_bytes() == json_schema()


def test_the_schema_is_a_schema() -> None:
    """It keeps the rules of its own draft."""
    jsonschema.Draft202012Validator.check_schema(json.loads(json_schema()))


@given(manifests())
def test_manifests_fit_the_schema(drawn: Manifest) -> None:
    """Every manifest that the program writes is valid by the schema."""
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
def test_the_schema_refuses(change: dict[str, Any]) -> None:
    """What cannot be a manifest is not valid by the schema either."""
    document = json.loads(encode(manifest({"am/final": [(10, 20)]}))) | change
    assert not _VALIDATOR.is_valid(document)
