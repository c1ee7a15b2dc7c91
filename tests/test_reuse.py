"""Installed files and chunks are found by digest: files first, and no chunk twice."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given

from models_init.formats.manifest import Chunk, File, Manifest, placements
from models_init.transfer.reuse import ReuseSearch
from tests.manifests import digest, manifest, manifests


def found_in(wanted: Manifest, held: Manifest, *, whole: bool = True) -> tuple[dict[str, str], list[str], list[str]]:
    """Return links (new path to old path), paths of copied chunks, and paths of missing chunks."""
    search = ReuseSearch(wanted, ())
    search.look("/held", held, whole=whole)
    found = search.found()
    links = {link.file.path: link.origin.path for link in found.links}
    return links, [copy.placement.file.path for copy in found.copies], [place.file.path for place in found.missing]


def renamed(pack: Manifest, old: str, new: str) -> Manifest:
    """Return the manifest with another path for a file."""
    files = [replace(file, path=new) if file.path == old else file for file in pack.files]
    return replace(pack, files=tuple(sorted(files, key=lambda file: file.path)))


def changed(file: File, number: int, *, executable: bool = False) -> File:
    """Return the file with different bytes in one chunk."""
    chunks = list(file.chunks)
    old = chunks[number]
    chunks[number] = Chunk(old.offset, old.length, old.size, digest(number + (1 << 90)))
    return File(file.path, file.size, digest(number + (1 << 91)), tuple(chunks), executable)


OLD = manifest({"a": [(10, 20)], "large": [(10, 20), (11, 21), (12, 22)], "run.sh": [(5, 5)], "zero": []})


def test_unchanged_file_is_linked() -> None:
    """Every file with bytes is linked from the version that has it; an empty one needs nothing."""
    assert found_in(OLD, OLD) == ({"a": "a", "large": "large", "run.sh": "run.sh"}, [], [])


def test_renamed_file_is_linked() -> None:
    """Files are compared by digest, not by path."""
    assert found_in(renamed(OLD, "large", "b/large"), OLD)[0]["b/large"] == "large"


def test_only_changed_chunk_is_missing() -> None:
    """The other chunks of the file are copied."""
    files = tuple(changed(file, 1) if file.path == "large" else file for file in OLD.files)
    new = replace(OLD, files=files)

    links, copies, missing = found_in(new, OLD)

    assert set(links) == {"a", "run.sh"}
    assert copies == ["large", "large"]
    assert missing == ["large"]


def test_file_with_other_mode_is_copied() -> None:
    """A hard link would share the mode as well."""
    files = tuple(replace(file, executable=not file.executable) for file in OLD.files)
    links, copies, missing = found_in(replace(OLD, files=files), OLD)
    assert (links, len(copies), missing) == ({}, 5, [])


def test_incomplete_tree_is_used_for_chunks_only() -> None:
    """Files of another staging directory are not linked, because they still change."""
    links, copies, missing = found_in(OLD, OLD, whole=False)
    assert (links, len(copies), missing) == ({}, 5, [])


def test_staged_chunks_are_not_searched() -> None:
    """Chunks in staging are neither reused nor fetched; the missing chunks of a staged file are copied."""
    sound = [place for place in OLD.placements() if place.file.path == "large"][:1]
    search = ReuseSearch(OLD, sound)
    search.look("/held", OLD, whole=True)
    found = search.found()
    assert [copy.start for copy in found.copies] == [20, 41]
    assert {link.file.path for link in found.links} == {"a", "run.sh"}


def test_first_tree_takes_precedence() -> None:
    """Chunks found in one tree are not searched for in the next."""
    search = ReuseSearch(OLD, ())
    search.look("/first", OLD, whole=True)
    search.look("/second", OLD, whole=True)
    assert {link.root for link in search.found().links} == {"/first"}
    assert not search.wants_more


@given(manifests(), manifests())
def test_every_chunk_is_linked_copied_or_missing_once(wanted: Manifest, held: Manifest) -> None:
    """Linked, copied and missing chunks together are all chunks, each once, and the missing ones are in order."""
    search = ReuseSearch(wanted, ())
    search.look("/held", held, whole=True)
    found = search.found()
    linked = [(p.file.path, p.start) for link in found.links for p in placements(link.file)]
    copied = [(copy.placement.file.path, copy.placement.start) for copy in found.copies]
    missing = [(place.file.path, place.start) for place in found.missing]

    assert sorted(linked + copied + missing) == sorted((p.file.path, p.start) for p in wanted.placements())
    assert [place.chunk.offset for place in found.missing] == sorted(place.chunk.offset for place in found.missing)


@given(manifests(), manifests())
def test_origins_have_the_wanted_digest(wanted: Manifest, held: Manifest) -> None:
    """A link's origin has the file's digest and mode; a copy's origin has the chunk's digest."""
    search = ReuseSearch(wanted, ())
    search.look("/held", held, whole=True)
    found = search.found()
    at = {(place.file.path, place.start): place.chunk.digest for place in held.placements()}

    assert all(
        (link.file.digest, link.file.executable) == (link.origin.digest, link.origin.executable) for link in found.links
    )
    assert all(at[copy.path, copy.start] == copy.placement.chunk.digest for copy in found.copies)
