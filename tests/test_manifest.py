"""Manifests: every `Manifest` is valid, and every other document is a `ManifestError` of one line."""

from __future__ import annotations

import json
import tracemalloc
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from models_init.core.errors import ManifestError, UnsupportedError
from models_init.core.pack_ref import PackRef
from models_init.formats.manifest import (
    CHUNK_LIMIT,
    EMPTY_DIGEST,
    FRAME_LIMIT,
    MANIFEST_LIMIT,
    MIB,
    Archive,
    Chunk,
    File,
    Manifest,
    encode,
    parse,
    placements,
)
from models_init.formats.paths import check_path
from tests.manifests import digest, manifest, manifests, paths

if TYPE_CHECKING:
    from collections.abc import Callable

_REF = PackRef("nl-nl", "2026.04")
_SAMPLE = manifest(
    {"am/final.mdl": [(10, 20), (30, 40)], "conf/é.conf": [(5, 6)], "empty": [], "run.sh": [(7, 8)]},
    directories=["speakers/none"],
)


def document() -> dict[str, Any]:
    """A valid document, which a test then changes."""
    loaded: dict[str, Any] = json.loads(encode(_SAMPLE))
    return loaded


def complaint(spoiled: object) -> str:
    """Parse an invalid manifest; return the error, which is one line."""
    text = spoiled if isinstance(spoiled, bytes) else json.dumps(spoiled).encode()
    with pytest.raises(ManifestError) as caught:
        parse(text, _REF)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 1000
    assert "pydantic" not in message
    return message


def test_encoded_manifest_is_parsed_unchanged() -> None:
    assert parse(encode(_SAMPLE), _REF) == _SAMPLE


@given(manifests())
def test_any_encoded_manifest_is_parsed_unchanged(drawn: Manifest) -> None:
    """Encoding it again gives the same bytes."""
    again = parse(encode(drawn), _REF)
    assert again == drawn
    assert encode(again) == encode(drawn)


def test_each_file_is_on_a_line_of_its_own() -> None:
    """This makes differences between documents readable."""
    odd = manifest({"a": [(1, 1)], '{"path":': [(1, 1)], "c": []})
    assert [line[:12] for line in encode(odd).split(b"\n")[1:-1]] == [
        b'{"path":"a",',
        b'{"path":"c",',
        b'{"path":"{\\"',
    ]


def test_manifest_lists_size_directories_and_placements() -> None:
    """Directories come after their parents, chunks in archive order with their position in the file."""
    assert _SAMPLE.ref == _REF
    assert _SAMPLE.size == 20 + 40 + 6 + 8
    assert _SAMPLE.all_directories() == ["am", "conf", "speakers", "speakers/none"]
    placed = list(_SAMPLE.placements())
    assert [(placement.file.path, placement.start) for placement in placed] == [
        ("am/final.mdl", 0), ("am/final.mdl", 20), ("conf/é.conf", 0), ("run.sh", 0),
    ]  # fmt: skip
    assert placed[:2] == list(placements(_SAMPLE.files[0]))
    assert [file.executable for file in _SAMPLE.files] == [False, False, False, True]


def test_another_schema_is_unsupported() -> None:
    """The message says whether to upgrade the program or to ask the publisher; the document is not examined further."""
    for schema, who in [(2, "upgrade models_init"), (10**30, "upgrade models_init"), (0, "ask the publisher")]:
        with pytest.raises(UnsupportedError, match=who):
            parse(json.dumps({"schema": schema, "new": [1]}).encode(), _REF)


def test_manifest_of_another_pack_is_rejected() -> None:
    """A manifest of another version is rejected as well."""
    for ref in (PackRef("en-us", "2026.04"), PackRef("nl-nl", "2026.05")):
        with pytest.raises(ManifestError, match=r"is that of nl-nl 2026\.04"):
            parse(encode(_SAMPLE), ref)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b"null",
        b"[]",
        b"<html>sign in</html>",
        b"\xef\xbb\xbf" + encode(_SAMPLE),
        encode(_SAMPLE)[:-40],
        encode(_SAMPLE) + b"x",
        encode(_SAMPLE).decode().encode("utf-16"),
        encode(_SAMPLE).replace("é".encode(), b"\xe9"),
        encode(_SAMPLE).replace("é".encode(), b"\\ud800"),
        encode(_SAMPLE).replace("é".encode(), b"\xed\xa0\x80"),
        encode(_SAMPLE).replace(b'"schema":1', b'"schema":1.5'),
        encode(_SAMPLE).replace(b'"schema":1', b'"schema":1e400'),
        encode(_SAMPLE).replace(b'"schema":1', b'"schema":true'),
        encode(_SAMPLE).replace(b'"schema":1', b'"schema":' + b"9" * 10_000),
        encode(_SAMPLE).replace(b'"size":60', b'"size":' + b"9" * 10_000),
        b'{"schema":1,"more":' + b"[" * 1_000_000 + b"]" * 1_000_000 + b"}",
        b'{"schema":1,"more":' + b'{"a":' * 1_000_000,
    ],
    ids=lambda text: text[:30].decode("latin-1"),
)
def test_document_that_is_not_json_is_rejected(text: bytes) -> None:
    """The document is not UTF-8, truncated, nested too deeply, or has numbers that are too large."""
    complaint(text)


@given(st.binary())
@example(b"\xff" * 100)
def test_any_bytes_raise_a_manifest_error(text: bytes) -> None:
    complaint(text)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.data())
def test_any_value_in_any_place_gives_a_manifest_or_an_error(data: st.DataObject) -> None:
    """The error is one line."""
    spoiled = document()
    inner: Any = spoiled
    while isinstance(inner, (dict, list)) and inner:
        key = data.draw(st.sampled_from(sorted(inner) if isinstance(inner, dict) else range(len(inner))))
        if data.draw(st.booleans()) or not isinstance(inner[key], (dict, list)):
            inner[key] = data.draw(_JSON)
            break
        inner = inner[key]
    text = json.dumps(spoiled).encode()
    with suppress(ManifestError):
        assert parse(text, _REF).ref == _REF
        return
    complaint(text)


def _set(*keys: str | int, to: object) -> Callable[[dict[str, Any]], None]:
    def change(spoiled: Any) -> None:
        for key in keys[:-1]:
            spoiled = spoiled[key]
        spoiled[keys[-1]] = to

    return change


_FIRST = ("files", 0, "chunks", 0)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_set("more", to=1), "unknown field `more`"),
        (_set("mo\nre\x1b[31m", to=1), "unknown field"),
        (_set("archive", "more", to=1), "unknown field `archive.more`"),
        (_set("files", 0, "more", to=1), "unknown field `files[0].more`"),
        (_set(*_FIRST, "more", to=1), "unknown field `files[0].chunks[0].more`"),
        (_set("pack", to="../nl"), "does not match"),
        (_set("pack", to="nl-nl\n"), "`pack` does not match"),
        (_set("version", to="."), "does not match"),
        (_set("archive", "file", to="../pack"), "does not match"),
        (_set("archive", "file", to="a/b"), "does not match"),
        (_set("archive", "digest", to="md5:0"), "does not match"),
        (_set("archive", "digest", to=digest(1) + "\n"), "`archive.digest` does not match"),
        (_set("archive", "size", to=-1), "is less than 0"),
        (_set("archive", "size", to=2**53), "is more than 9007199254740991"),
        (_set("archive", "size", to=552), "the archive ends at 552"),
        (_set("files", to=None), "`files` is not a list"),
        (_set("files", 0, "size", to=61), "its chunks hold 60 bytes, its size is 61"),
        (_set("files", 0, "size", to=59), "its chunks hold 60 bytes, its size is 59"),
        (_set("files", 0, "chunks", to=[]), "its chunks hold 0 bytes, its size is 60"),
        (_set("files", 0, "digest", to="sha256:" + "A" * 64), "does not match"),
        (_set("files", 1, "digest", to=digest(3)), "another digest than its only chunk"),
        (_set("files", 2, "digest", to=digest(3)), "or than no bytes"),
        (_set("archive", "file", to="manifest.json.minisig"), "not a name for an archive"),
        (_set("requires", to=[{"pack": "common", "versions": []}]), "`requires[0].versions` has fewer than 1 entries"),
        (_set("requires", to=[{"pack": "nl-nl", "versions": ["1"]}]), "in its own pack"),
        (_set("requires", to=[{"pack": name, "versions": ["1"]} for name in ("b", "a")]), "out of order"),
        (_set("files", 0, "executable", to=1), "is neither true nor false"),
        (_set(*_FIRST, "size", to=0), "is less than 1"),
        (_set(*_FIRST, "size", to=CHUNK_LIMIT + 1), "is more than 4194304"),
        (_set(*_FIRST, "length", to=0), "is less than 1"),
        (_set(*_FIRST, "length", to=FRAME_LIMIT + 1), f"is more than {FRAME_LIMIT}"),
        (_set(*_FIRST, "length", to=11), "overlaps"),
        (_set(*_FIRST, "offset", to=-1), "is less than 0"),
        (_set(*_FIRST, "offset", to=900), "overlaps"),
        (_set("files", 1, "path", to="am/final.mdl"), "is listed twice"),
        (_set("files", 1, "path", to="a"), "must be in ascending order"),
        (_set("files", 1, "path", to="am/final.mdl/x"), "both a file"),
        (_set("files", 2, "path", to="speakers/none"), "must be in ascending order"),
        (_set("files", 3, "path", to="speakers/none"), "both a file and a directory"),
        (_set("files", 3, "path", to="speakers/none/x"), "directory with entries"),
        (_set("directories", to=["am"]), "directory with entries"),
        (_set("directories", to=["b", "a"]), "must be in ascending order"),
        (_set("directories", to=["a", "a"]), "is listed twice"),
        (_set("directories", to=["a", "a/b"]), "directory with entries"),
        (_set("directories", to=["../a"]), "is not a usable path"),
        (_set("directories", to=[""]), "`directories[0]` has fewer than 1 characters"),
        (_set("requires", to=[{"pack": "../common", "versions": ["1"]}]), "does not match"),
        (_set("requires", to=[{"pack": "common", "versions": ["../1"]}]), "does not match"),
        (_set("requires", to=[{"pack": "common", "versions": "1"}]), "`requires[0].versions` is not a list"),
    ],
)
def test_inconsistent_manifest_is_rejected(change: Callable[[dict[str, Any]], None], why: str) -> None:
    """Each rule of the format has a message."""
    spoiled = document()
    change(spoiled)
    assert why in complaint(spoiled)


_BAD_PATHS = (
    ["", "/", "/a", "a/", "a//b", ".", "..", "./a", "../a", "a/.", "a/..", "a/./b", "a/../b", "../../etc/passwd"]
    + [f"a{control}b" for control in "\x00\t\n\r\x1b\x1f\x7f\x80\x85\x9f\u2028\u2029\u202e\u2066\u200f\ud800\udfff"]
    + ["a\n", "n" * 256, "é" * 128, "a/" + "n" * 256, "語" * 86, "/".join(["n" * 200] * 6), "/".join(["é" * 100] * 6)]
)
_GOOD_PATHS = [
    *("a", "a/b", "...", "..a", "a..", "a/...", ".hidden", "-rf", "a b", " ", "~", "*", "a\\b", "con"),
    *("é", "e\u0301", "語", "🙂", "\u00a0", "n" * 255, "é" * 127, "/".join(["n" * 203] * 5)),
]


@pytest.mark.parametrize("path", _BAD_PATHS, ids=ascii)
def test_unusable_path_is_rejected(path: str) -> None:
    """Such a path leads out of the directory, cannot be printed on one line, or is too long for a file system."""
    with pytest.raises(ValueError, match="path") as caught:
        check_path(path)
    assert str(caught.value).isprintable()
    with pytest.raises(ValueError, match="path"):
        File(path=path, size=0, digest=digest(0))
    spoiled = document()
    spoiled["files"] = [{"path": path, "size": 0, "digest": EMPTY_DIGEST}]
    complaint(spoiled)


@pytest.mark.parametrize("path", _GOOD_PATHS, ids=ascii)
def test_unusual_path_is_accepted(path: str) -> None:
    check_path(path)
    spoiled = document()
    spoiled["files"] = [{"path": path, "size": 0, "digest": EMPTY_DIGEST}]
    assert parse(json.dumps(spoiled).encode(), _REF).files[0].path == path


@given(paths)
def test_accepted_path_stays_inside_its_directory(path: str) -> None:
    """No part of it is empty or `..`."""
    assert not {"", ".", ".."} & set(path.split("/"))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Chunk(-1, 1, 1, digest(0)),
        lambda: Chunk(0, 0, 1, digest(0)),
        lambda: Chunk(0, 1, CHUNK_LIMIT + 1, digest(0)),
        lambda: Chunk(0, FRAME_LIMIT + 1, 1, digest(0)),
        lambda: Chunk(0, 1, 1, "sha256:"),
        lambda: File("a", 1, digest(0)),
        lambda: File("a", 0, "sha256:\n"),
        lambda: Archive("..", 0, digest(0)),
        lambda: Archive("a", -1, digest(0)),
        lambda: Manifest(2, "nl-nl", "1", _SAMPLE.archive, ()),
        lambda: Manifest(1, "NL", "1", _SAMPLE.archive, ()),
        lambda: Manifest(1, "nl-nl", "1/..", _SAMPLE.archive, ()),
        lambda: Manifest(1, "nl-nl", "1", _SAMPLE.archive, (), ("..",)),
        lambda: Manifest(1, "nl-nl", "1", _SAMPLE.archive, _SAMPLE.files[::-1]),
        lambda: Manifest(1, "nl-nl", "1", Archive("a", 10, digest(0)), _SAMPLE.files),
    ],
)
def test_invalid_value_cannot_be_constructed(make: Callable[[], object]) -> None:
    """The rules for documents also apply to objects constructed in code."""
    with pytest.raises(ValueError, match=r"."):
        make()


def test_hundred_thousand_files_fit_in_memory() -> None:
    """The document is below the limit; parsing takes less than 1.3 kB for each file."""
    assert encode(parse(many_files(3), _REF)).split() == many_files(3).split()
    assert len(many_files(100_000)) < MANIFEST_LIMIT // 4
    text = many_files(20_000)  # tracing is slow
    tracemalloc.start()
    try:
        assert len(parse(text, _REF).files) == 20_000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak * 5 < 128 * MIB


def many_files(count: int) -> bytes:
    """Return the document for files of 700 bytes, as `encode` would but faster."""
    lines = [
        f'{{"path":"lexicon/{number // 1000:03}/words-{number:06}.txt","size":700,"digest":"{digest(number)}",'
        f'"chunks":[{{"offset":{number * 300},"length":300,"size":700,"digest":"{digest(number)}"}}]}}'
        for number in range(count)
    ]
    archive = f'{{"file":"pack.tar.zst","size":{count * 300},"digest":"{digest(0)}"}}'
    head = f'{{"schema":1,"pack":"{_REF.name}","version":"{_REF.version}","archive":{archive},"files":[\n'
    return (head + ",\n".join(lines) + "]}\n").encode()
