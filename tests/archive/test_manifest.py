"""Published manifests of opaque archives list no files; derived ones list all files and their origin."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from models_init.core.errors import ManifestError
from models_init.formats.manifest import (
    EMPTY_DIGEST,
    Archive,
    Chunk,
    File,
    Manifest,
    OpaqueArchive,
    encode,
    origin,
    parse,
    published,
)
from tests.manifests import digest, manifest
from tests.publish.packs import REF

PUBLISHED = Manifest(1, *REF, Archive("a.tar.gz", 1000, digest(1)), (), plain=OpaqueArchive(5000, 3))
FILES = (
    File("a", 3000, digest(2), (Chunk(0, 2000, 2000, digest(3)), Chunk(2000, 1000, 1000, digest(4)))),
    File("d/b", 2000, digest(5), (Chunk(3000, 2000, 2000, digest(5)),), executable=True),
)
DERIVED = replace(PUBLISHED, files=FILES, plain=OpaqueArchive(5000, 3, digest(6)))


def test_manifest_with_chunks_has_no_plain_field() -> None:
    assert b"plain" not in encode(manifest({"a": [(10, 20)]}))


def test_published_manifest_states_totals() -> None:
    assert json.loads(encode(PUBLISHED))["plain"] == {"size": 5000, "entries": 3}
    assert published(encode(PUBLISHED), REF).manifest == PUBLISHED
    assert PUBLISHED.size == 5000
    assert replace(PUBLISHED, plain=OpaqueArchive()).size == PUBLISHED.archive.size


def test_derived_manifest_is_recognized() -> None:
    """A derived manifest can be read from a volume, names its origin, and is rejected from a source."""
    assert parse(encode(DERIVED), REF) == DERIVED
    assert (DERIVED.is_derived, PUBLISHED.is_derived) == (True, False)
    assert origin(DERIVED).manifest == PUBLISHED
    assert origin(DERIVED).digest == digest(6)
    with pytest.raises(ManifestError, match="one that a site wrote when it extracted"):
        published(encode(DERIVED), REF)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"plain": OpaqueArchive(5000, 3)}, id="files without an origin"),
        pytest.param(
            {"plain": OpaqueArchive(), "files": (), "directories": ("d",)}, id="directories without an origin"
        ),
        pytest.param({"plain": OpaqueArchive(4999, 3, digest(6))}, id="other size"),
        pytest.param({"plain": OpaqueArchive(5000, 4, digest(6))}, id="other count"),
        pytest.param({"plain": OpaqueArchive(None, 3, digest(6))}, id="missing size"),
        pytest.param({"files": FILES[:1]}, id="a file is missing"),
        pytest.param({"files": FILES[1:]}, id="the first file is missing"),
        pytest.param({"files": (File("x", 0, EMPTY_DIGEST), *FILES)}, id="out of order"),
    ],
)
def test_inconsistent_derived_manifest_is_rejected(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"plain|lists|is not at|ascend"):
        replace(DERIVED, **changes)


@pytest.mark.parametrize(
    "plain",
    ['{"size":-1}', '{"entries":1.5}', '{"derived_from":"x"}', '{"more":1}', "[]", '{"size":99999999999999999}'],
)
def test_wrong_type_is_rejected(plain: str) -> None:
    document = encode(replace(PUBLISHED, plain=OpaqueArchive())).replace(b'"plain":{}', f'"plain":{plain}'.encode())
    with pytest.raises(ManifestError):
        parse(document, REF)
