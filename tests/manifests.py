"""Manifests for tests: with given sizes, or any valid one drawn by hypothesis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import strategies as st

from models_init.formats.manifest import (
    CHUNK_LIMIT,
    EMPTY_DIGEST,
    FRAME_LIMIT,
    SCHEMA,
    Archive,
    Chunk,
    File,
    Manifest,
)
from models_init.formats.paths import check_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

HEADER = 512
"""Bytes of the archive before each file: the size of a tar header."""


def digest(number: int) -> str:
    """Return a different digest for each number."""
    return f"sha256:{number:064x}"


def manifest(
    files: Mapping[str, Sequence[tuple[int, int]]],
    *,
    directories: Iterable[str] = (),
    pack: str = "nl-nl",
    version: str = "2026.04",
    gap: int = HEADER,
) -> Manifest:
    """Return a manifest of files with chunks of (compressed, decompressed) lengths; `gap` bytes precede each file."""
    offset, described = 0, []
    for path, lengths in sorted(files.items()):
        offset += gap
        chunks = []
        for length, size in lengths:
            chunks.append(Chunk(offset, length, size, digest(offset)))
            offset += length
        several = digest(offset + (1 << 60)) if chunks else EMPTY_DIGEST
        own = chunks[0].digest if len(chunks) == 1 else several
        described.append(File(path, sum(size for _, size in lengths), own, tuple(chunks), path.endswith(".sh")))
    archive = Archive("pack.tar.zst", offset + 1024, digest(1 << 70))
    return Manifest(SCHEMA, pack, version, archive, tuple(described), tuple(sorted(directories)))


def _is_path(text: str) -> bool:
    try:
        check_path(text)
    except ValueError:
        return False
    return True


paths = (
    st.lists(st.text(st.sampled_from("ab.-_ é語🙂A"), min_size=1, max_size=4), min_size=1, max_size=3)
    .map("/".join)
    .filter(_is_path)
)
"""Few letters, so that paths often collide: they are equal, or one is inside another."""

lengths = st.tuples(
    st.integers(1, 100) | st.integers(1, FRAME_LIMIT), st.integers(1, 100) | st.integers(1, CHUNK_LIMIT)
)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    """Draw any valid manifest: consistent files and empty directories, chunks of any size, gaps between files."""
    drawn = draw(st.dictionaries(paths, st.none() | st.lists(lengths, max_size=4), max_size=8))
    fitting = {path: drawn[path] for path in drawn if not any(other.startswith(path + "/") for other in drawn)}
    files = {path: chunks for path, chunks in fitting.items() if chunks is not None}
    gap = draw(st.sampled_from([0, HEADER, 64 << 10, (64 << 10) + 1]))
    return manifest(files, directories=fitting.keys() - files.keys(), gap=gap)
