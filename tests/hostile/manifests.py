"""Invalid and unusual manifests."""

from __future__ import annotations

import gzip
import json
import os
from typing import TYPE_CHECKING

import zstandard

from models_init.formats.manifest import CHUNK_LIMIT, EMPTY_DIGEST, FRAME_LIMIT, MANIFEST_LIMIT, MANIFEST_NAME, MIB
from tests.hostile.case import COMMON, PACK, VERSION, HostileCase, HostileSetup, digest, put, raw, said, truth

if TYPE_CHECKING:
    from collections.abc import Callable

_FIRST = ("files", 0, "chunks", 0)
_A_MILLION = 1_000_000


def _file(path: str) -> dict[str, object]:
    return {"path": path, "size": 0, "digest": EMPTY_DIGEST}


def _paths(*paths: str, directories: tuple[str, ...] = ()) -> Callable[[HostileSetup], None]:
    def prepare(setup: HostileSetup) -> None:
        document = truth() | {"files": [_file(path) for path in paths], "directories": list(directories)}
        setup.write(json.dumps(document).encode())

    return prepare


def _chunk(**values: int) -> Callable[[HostileSetup], None]:
    """Change the first chunk."""

    def prepare(setup: HostileSetup) -> None:
        document = truth()
        document["files"][0]["chunks"][0].update(values)
        setup.write(json.dumps(document).encode())

    return prepare


def _swapped(setup: HostileSetup) -> None:
    document = truth()
    document["files"][0]["chunks"].reverse()
    setup.write(json.dumps(document).encode())


def _same_extent(setup: HostileSetup) -> None:
    document = truth()
    first, second = document["files"][0]["chunks"]
    second["offset"] = first["offset"]
    setup.write(json.dumps(document).encode())


def _requires(*requirements: dict[str, object]) -> Callable[[HostileSetup], None]:
    return said("requires", to=list(requirements))


def _number(text: str) -> Callable[[HostileSetup], None]:
    """Write the size of the first file as this text, which `json` would not write."""
    return raw(lambda good: good.replace(b'"size": 190000', f'"size": {text}'.encode()))


def _larger_than_the_cap(setup: HostileSetup) -> None:
    os.truncate(setup.pack / MANIFEST_NAME, MANIFEST_LIMIT + MIB)


def _a_million_files(setup: HostileSetup) -> None:
    head = json.dumps(truth() | {"files": []}).removesuffix("]}")
    with (setup.pack / MANIFEST_NAME).open("w") as file:
        file.write(head)
        for number in range(_A_MILLION):
            file.write(f'{"," if number else ""}{{"path":"{number:07}","size":0,"digest":"{EMPTY_DIGEST}"}}')
        file.write("]}")


def _many_chunks(setup: HostileSetup) -> None:
    """Describe one file in chunks of one byte; the last ones are beyond the archive."""
    document = truth()
    document["files"] = []
    head = json.dumps(document).removesuffix("]}")
    count, own = 200_000, digest(b"?")
    chunks = ",".join(f'{{"offset":{at},"length":1,"size":1,"digest":"{own}"}}' for at in range(count))
    setup.write(f'{head}{{"path":"a","size":{count},"digest":"{own}","chunks":[{chunks}]}}]}}'.encode())


def _another_place(place: str) -> Callable[[HostileSetup], object]:
    """Replace the manifest by this kind of file."""

    def prepare(setup: HostileSetup) -> None:
        path = setup.pack / MANIFEST_NAME
        path.unlink()
        put(path, place)

    return prepare


def _listed(*names: str) -> Callable[[HostileSetup], None]:
    """Publish other versions with these names."""

    def prepare(setup: HostileSetup) -> None:
        setup.pack.rename(setup.pack.with_name("elsewhere"))
        for name in names:
            (setup.source / PACK / name).mkdir()

    return prepare


def _truncated(tenth: int) -> HostileCase:
    words = "it is empty" if tenth == 0 else "it is not JSON"
    return HostileCase(f"cut after {tenth} tenths", words, raw(lambda good: good[: len(good) * tenth // 10]))


def _path(name: str, path: str, flaw: str) -> HostileCase:
    return HostileCase(f"a path {name}", flaw, _paths(path))


_UPWARDS, _ABSOLUTE, _DOT, _EMPTY = "it leads upwards", "it is absolute", "it has a part '.'", "it has an empty part"
_TOO_LONG = "is too long for a path"

_PATHS = [
    _path("out of the pack", "../x", _UPWARDS),
    _path("out of the pack and deep into another", "../../../packs/common/2026.04/am/common.mdl", _UPWARDS),
    _path("that goes down and up", "a/../../x", _UPWARDS),
    _path("that ends upwards", "a/..", _UPWARDS),
    _path("that is absolute", "/etc/passwd", _ABSOLUTE),
    _path("with two slashes in front", "//etc/passwd", _ABSOLUTE),
    _path("that begins here", "./x", _DOT),
    _path("that ends here", "a/.", _DOT),
    _path("with an empty part", "a//b", _EMPTY),
    _path("with a slash at its end", "a/", _EMPTY),
    _path("without anything", "", "`files[0].path` has fewer than 1 characters"),
    _path("with a zero byte", "a\0b", "the character U+0000"),
    _path("of two lines", "a\nb", "the character U+000A"),
    _path("that clears the screen", "\x1b[2Ja", "the character U+001B"),
    _path("with an eight-bit escape", "a\x9bb", "the character U+009B"),
    _path("that reads backwards", "models/\u202eldm.exe", "the character U+202E"),
    _path("with a part of 256 bytes", "n" * 256, _TOO_LONG),
    _path("with a part of 258 bytes in few letters", "語" * 86, _TOO_LONG),
    _path("of 1025 letters", "/".join(["n" * 204] * 5) + "/n", "`files[0].path` has more than 1024 characters"),
    HostileCase(
        "a path with half a letter",
        "`files[0].path` is not Unicode text",
        raw(lambda good: good.replace(b"am/", b"\\ud800/")),
    ),
    HostileCase("a path twice", "is listed twice, or after", _paths("a", "a")),
    HostileCase("a file below a file", "is both a file (or an empty directory) and a directory", _paths("a", "a/b")),
    HostileCase("a file that is a directory, too", "is both a file and a directory", _paths("a", directories=("a",))),
    HostileCase("a directory out of the pack", _UPWARDS, _paths(directories=("..",))),
]

_NAMES = [
    HostileCase("a pack's name that is a path", "`pack` does not match", said("pack", to="../nl-nl")),
    HostileCase("a version that is a path", "`version` does not match ^", said("version", to="../../2026.04")),
    HostileCase("a version of two lines", "`version` does not match", said("version", to="2026.04\n")),
    HostileCase(
        "an archive elsewhere",
        "`archive.file` does not match",
        said("archive", "file", to=f"../../{COMMON}/{VERSION}/x"),
    ),
    HostileCase("a manifest for an archive", "is not a name for an archive", said("archive", "file", to=MANIFEST_NAME)),
    HostileCase("another pack's manifest", f"is that of en-us {VERSION}", said("pack", to="en-us")),
    HostileCase("another version's manifest", f"is that of {PACK} 2026.05", said("version", to="2026.05")),
    *(
        HostileCase(
            f"a digest that is {what}", f"`{where}` does not match ^sha256:[0-9a-f]{{64}}$", said(*keys, to=wrong)
        )
        for what, wrong, where, keys in [
            ("a path", "sha256:../../../../etc/passwd", "files[0].digest", ("files", 0, "digest")),
            ("in capitals", "sha256:" + "A" * 64, "files[1].digest", ("files", 1, "digest")),
            ("cut", "sha256:" + "a" * 63, "files[2].digest", ("files", 2, "digest")),
            ("of another kind", "md5:" + "a" * 32, "files[0].chunks[0].digest", (*_FIRST, "digest")),
            ("empty", "", "archive.digest", ("archive", "digest")),
        ]
    ),
    HostileCase(
        "a digest with a line end",
        "`files[0].digest` does not match",
        said("files", 0, "digest", to=digest(b"") + "\n"),
    ),
    HostileCase("a pack that needs itself", "in its own pack", _requires({"pack": PACK, "versions": ["1"]})),
    HostileCase(
        "a need of a path", "`requires[0].pack` does not match", _requires({"pack": "../x", "versions": ["1"]})
    ),
    HostileCase(
        "a need of nothing", "`requires[0].versions` has fewer than 1 entries", _requires({"pack": "x", "versions": []})
    ),
    HostileCase(
        "a need that nobody can meet",
        f"works with {COMMON} 1999.01, but the environment asks for {VERSION}",
        _requires({"pack": COMMON, "versions": ["1999.01"]}),
        code=12,
    ),
]

_NUMBERS = [
    HostileCase("a size below zero", "`files[0].size` is less than 0", _number("-1")),
    HostileCase("a size of 2**53", "`files[0].size` is more than 9007199254740991", _number(str(2**53))),
    HostileCase("a size of 2**63", "`files[0].size` is more than 9007199254740991", _number(str(2**63))),
    HostileCase(
        "a size of ten thousand digits",
        "it holds a number that is not finite, or has more than 4300 digits",
        _number("9" * 10_000),
    ),
    HostileCase("a size with a point", "`files[0].size` is not a whole number", _number("190000.0")),
    HostileCase("a size beyond all floats", "`files[0].size` is not a whole number", _number("1e400")),
    HostileCase("a size that is no number", "it holds a number that is not finite", _number("NaN")),
    HostileCase("a size in quotes", "`files[0].size` is not a whole number", _number('"190000"')),
    HostileCase("a size that is true", "`files[0].size` is not a whole number", _number("true")),
    HostileCase(
        "a size that its chunks do not reach", "its chunks hold 190000 bytes, its size is 190001", _number("190001")
    ),
    HostileCase("a size that its chunks exceed", "its chunks hold 190000 bytes, its size is 1", _number("1")),
    HostileCase("chunks of nothing", "`files[0].chunks[0].size` is less than 1", _chunk(size=0)),
    HostileCase(
        "a chunk larger than any may be",
        f"`files[0].chunks[0].size` is more than {CHUNK_LIMIT}",
        _chunk(size=CHUNK_LIMIT + 1),
    ),
    HostileCase("a frame of nothing", "`files[0].chunks[0].length` is less than 1", _chunk(length=0)),
    HostileCase(
        "a frame larger than any may be",
        f"`files[0].chunks[0].length` is more than {FRAME_LIMIT}",
        _chunk(length=FRAME_LIMIT + 1),
    ),
    HostileCase("a frame before the archive", "`files[0].chunks[0].offset` is less than 0", _chunk(offset=-1)),
    HostileCase("frames that overlap", "overlaps the one before it", _chunk(length=4000)),
    HostileCase("frames that run backwards", "overlaps the one before it", _swapped),
    HostileCase("two chunks of one frame", "overlaps the one before it", _same_extent),
    HostileCase("frames beyond the archive", "the archive ends at 10", said("archive", "size", to=10)),
    HostileCase(
        "an empty file with a digest", "another digest than its only chunk", said("files", 2, "digest", to=digest(b"?"))
    ),
    HostileCase("two hundred thousand chunks", "chunks reach to 200000", _many_chunks, memory=160 * MIB),
    HostileCase("a million files", "inodes: 1000", _a_million_files, code=41, memory=600 * MIB, inodes=1000),
]

_DOCUMENTS = [
    *(_truncated(tenth) for tenth in range(10)),
    HostileCase("a manifest compressed with gzip", "compressed with gzip", raw(gzip.compress)),
    HostileCase("a manifest compressed with zstd", "compressed with zstd", raw(zstandard.compress)),
    HostileCase(
        "a sign-in page", "it is a web page", raw(lambda _: b"\n<!DOCTYPE html><title>Welcome to our hotel</title>")
    ),
    HostileCase("a byte order mark", "byte order mark", raw(lambda good: b"\xef\xbb\xbf" + good)),
    HostileCase("UTF-16", "it is UTF-16", raw(lambda good: good.decode().encode("utf-16"))),
    HostileCase("bytes that are no UTF-8", "can't decode byte 0xff", raw(lambda good: good.replace(b"am/", b"\xff/"))),
    HostileCase("a second document behind the first", "it is not JSON: Extra data", raw(lambda good: good + good)),
    HostileCase("a list of manifests", "it is not an object", raw(lambda good: b"[" + good + b"]")),
    HostileCase(
        "ten million lists", "too many values for its size", raw(lambda _: b'{"x":[' + b"[]," * 10_000_000 + b"[]]}")
    ),
    HostileCase(
        "five million objects in objects",
        "too many values for its size",
        raw(lambda _: b'{"x":[' + b'{"a":{}},' * 2_500_000 + b"{}]}"),
    ),
    HostileCase("ten million brackets", "too many values for its size", raw(lambda _: b'{"x":' + b"[" * 10_000_000)),
    HostileCase("a hundred thousand brackets", "it is nested too deeply", raw(lambda _: b'{"x":' + b"[" * 100_000)),
    HostileCase("unknown field", "unknown field `post_install`", said("post_install", to="rm -rf /")),
    HostileCase(
        "a file that is a link", "unknown field `files[0].target`", said("files", 0, "target", to="/etc/passwd")
    ),
    HostileCase(
        "a chunk from elsewhere",
        "unknown field `files[0].chunks[0].url`",
        said(*_FIRST, "url", to="https://elsewhere.invalid"),
    ),
    HostileCase("files that are none", "`files` is not a list", said("files", to={})),
    HostileCase(
        "a field's name of two lines and an escape", "unknown field `a\\nb\\x1b[2J`", said("a\nb\x1b[2J", to=1)
    ),
    HostileCase("schema 0", "has schema 0", said("schema", to=0), code=11),
    HostileCase("schema 2", "has schema 2", said("schema", to=2), code=11),
    HostileCase("schema -1", "has schema -1", said("schema", to=-1), code=11),
    HostileCase("a schema in quotes", "`schema` is not a whole number", said("schema", to="1")),
    HostileCase("a schema that is true", "`schema` is not a whole number", said("schema", to=True)),
    HostileCase(
        "a manifest larger than any may be",
        "is larger than 134217728 bytes",
        _larger_than_the_cap,
        code=20,
        memory=250 * MIB,
    ),
    HostileCase("a manifest without end", "is not a regular file", _another_place("endless"), code=20),
    HostileCase("a manifest that nobody writes", "is not a regular file", _another_place("fifo"), code=20),
    HostileCase("a manifest that is a directory", "has no manifest", _another_place("directory"), code=21),
    HostileCase("versions whose names are commands", "?[2J?]0;x?", _listed("\x1b[2J\x1b]0;x\a"), code=21),
]

CASES = [*_PATHS, *_NAMES, *_NUMBERS, *_DOCUMENTS]


def _twice(key: str, first: object) -> Callable[[bytes], bytes]:
    """Add a field a second time, with another value first."""
    return lambda good: good.replace(b"{", b"{" + f'"{key}": {json.dumps(first)}, '.encode(), 1)


def _named(*paths: str) -> Callable[[HostileSetup], None]:
    return _paths(*sorted(paths))


_HARMLESS = [
    ("files twice, of which the last counts", raw(_twice("files", []))),
    (
        "fields in any order, with all the room in the world",
        raw(lambda good: json.dumps(dict(reversed(json.loads(good).items())), indent=8).encode()),
    ),
    ("what is usual, said", said("requires", to=[])),
    ("backslashes, spaces, drive letters, devices", _named("..\\..\\x", "C:\\x", " ", "~", "-rf", "con", "...")),
    ("letters that look alike", _named("é", "e\u0301", "E", "e", "\u00a0")),
    ("a part of 255 bytes", _named("n" * 255)),
    ("1023 bytes in directories", _named("/".join(["n" * 203] * 5))),
]

CASES += [HostileCase(name, "", prepare, code=0) for name, prepare in _HARMLESS]
