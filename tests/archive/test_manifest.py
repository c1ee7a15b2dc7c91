"""A manifest of a plain archive lists no file; one that a site derived from it lists all of them, and says whence."""

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


def test_other_manifests_are_as_they_were() -> None:
    """The manifest of an archive of chunks does not mention the field."""
    assert b"plain" not in encode(manifest({"a": [(10, 20)]}))


def test_what_is_published_is_short() -> None:
    """Size and digest of the archive, and how much is in it."""
    assert json.loads(encode(PUBLISHED))["plain"] == {"size": 5000, "entries": 3}
    assert published(encode(PUBLISHED), REF).manifest == PUBLISHED
    assert PUBLISHED.size == 5000
    assert replace(PUBLISHED, plain=OpaqueArchive()).size == PUBLISHED.archive.size


def test_what_is_derived_is_known_as_such() -> None:
    """It can be read from a volume, tells what it was derived from, and is refused from a source."""
    assert parse(encode(DERIVED), REF) == DERIVED
    assert (DERIVED.is_derived, PUBLISHED.is_derived) == (True, False)
    assert origin(DERIVED).manifest == PUBLISHED
    assert origin(DERIVED).digest == digest(6)
    with pytest.raises(ManifestError, match="one that a site wrote for itself"):
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
        pytest.param({"plain": OpaqueArchive(None, 3, digest(6))}, id="no size"),
        pytest.param({"files": FILES[:1]}, id="a file is missing"),
        pytest.param({"files": FILES[1:]}, id="the first file is missing"),
        pytest.param({"files": (File("x", 0, EMPTY_DIGEST), *FILES)}, id="out of order"),
    ],
)
def test_what_contradicts_itself_is_refused(changes: dict[str, Any]) -> None:
    """A list of files without an origin, or one that is not complete."""
    with pytest.raises(ValueError, match=r"plain|lists|lie at|ascend"):
        replace(DERIVED, **changes)


@pytest.mark.parametrize(
    "plain",
    ['{"size":-1}', '{"entries":1.5}', '{"derived_from":"x"}', '{"more":1}', "[]", '{"size":99999999999999999}'],
)
def test_nonsense_is_refused(plain: str) -> None:
    """Whatever does not fit the types."""
    document = encode(replace(PUBLISHED, plain=OpaqueArchive())).replace(b'"plain":{}', f'"plain":{plain}'.encode())
    with pytest.raises(ManifestError):
        parse(document, REF)
