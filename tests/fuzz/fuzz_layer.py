"""Fuzz the layer reader: any bytes are a layer whose files stay below the tree, or are rejected, within the limits."""

from __future__ import annotations

import hashlib
import io
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from models_init.archive.decompress import opened
from models_init.archive.errors import BadArchiveError
from models_init.core.digests import digest_of, digest_text
from models_init.formats.ordinary_image import path_parts
from tests.archive.images import described, directory, layer, regular, scanned
from tests.fuzz import check_message, fuzz_archive
from tests.fuzz.fuzz_archive import mutate

__all__ = ["LARGEST", "check", "mutate"]

LARGEST = fuzz_archive.LARGEST
"""Maximum size of an input in bytes."""

_BASE = layer(directory("models/nl-nl/a"), regular("models/nl-nl/a/b", b"lower"), regular("models/nl-nl/c", b"c"))
_SIZE_LIMIT = 64 * (LARGEST + len(_BASE)) + (64 << 20)


def check(data: bytes) -> None:
    """Apply the input to a base layer; fail if the reader breaks one of its guarantees."""
    image, _ = described([_BASE, data])
    upper = replace(image.layers[1], digest=digest_of(data), diff_id=_diff_id(data))
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "tree"
        result = scanned(replace(image, layers=(image.layers[0], upper)), _BASE + data, root)
        assert not result.wrong, "a layer with the right digest is called wrong"
        if result.fault:
            check_message(ValueError(result.fault))
            assert not root.exists(), "a refused tree is left"
        else:
            assert result.image
            _check_tree(root.joinpath(*path_parts(result.image.root)[1:]), result.builder.paths())
        assert {path.name for path in Path(name).iterdir()} <= {"tree"}, "a file was written elsewhere"


def _diff_id(data: bytes) -> str:
    """Return the digest of the tar stream, as far as it can be decompressed."""
    found = hashlib.sha256()
    with suppress(BadArchiveError):
        stream = opened(io.BytesIO(data))
        while piece := stream.read(1 << 20):
            found.update(piece)
    return digest_text(found)


def _check_tree(top: Path, recorded: set[str]) -> None:
    entries = {path.relative_to(top).as_posix(): path for path in top.rglob("*")}
    assert set(entries) == recorded, "the tree differs from the manifest"
    assert all(not path.is_symlink() and (path.is_file() or path.is_dir()) for path in entries.values())
    assert sum(path.stat().st_size for path in entries.values() if path.is_file()) <= _SIZE_LIMIT
