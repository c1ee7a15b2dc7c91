"""The reader hands out what any tar has packed of regular files and directories, and nothing else ever."""

from __future__ import annotations

import gzip
import io
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models_init.archive.decompress import PIECE
from models_init.archive.errors import BadArchiveError
from models_init.archive.scan import limits_of
from models_init.archive.tar_reader import Limits, read
from models_init.formats.manifest import Archive, OpaqueArchive
from tests.archive.archives import BLOCK, END, GNU, OLD, SUFFIXES, block, file, long_name, padded, pax
from tests.archive.hostile import HOSTILE, Hostile
from tests.manifests import digest, paths
from tests.publish.packs import pack
from tests.services import require_tool

if TYPE_CHECKING:
    from pathlib import Path

    from models_init.archive.decompress import Readable

Tree = dict[str, tuple[bytes, bool] | None]
"""What lies where: content and x bit of a file, None for a directory."""

_AMPLE = Limits(1 << 30)
_WRITABLE = {tarfile.USTAR_FORMAT: 90, tarfile.GNU_FORMAT: 1000, tarfile.PAX_FORMAT: 1000}
"""The formats, and bytes of names that each can write in any case."""


class Trickle:
    """Gives a few bytes at a time."""

    def __init__(self, data: bytes, step: int) -> None:
        self._file, self._step = io.BytesIO(data), step

    def read(self, size: int, /) -> bytes:
        """At most `step` of them."""
        return self._file.read(min(size, self._step))


def tree_in(archive: bytes | Readable, limits: Limits = _AMPLE) -> Tree:
    """Everything that is handed out; directories that names imply are added."""
    found: Tree = {}
    for entry in read(io.BytesIO(archive) if isinstance(archive, bytes) else archive, limits):
        data = b"".join(map(bytes, entry.content))
        assert len(data) == entry.size
        assert entry.path not in found
        found[entry.path] = None if entry.is_directory else (data, entry.executable)
    for path in list(found):
        while path := path.rpartition("/")[0]:
            found.setdefault(path)
    return found


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    """Draw names that fit together, with contents that end at borders of blocks or do not."""
    sizes = st.sampled_from([0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK]) | st.integers(0, 2000)
    contents = st.none() | st.tuples(sizes.map(lambda size: b"\xa5" * size), st.booleans())
    drawn = draw(st.dictionaries(paths, contents, max_size=8))
    return {path: content for path, content in drawn.items() if not any(p.startswith(path + "/") for p in drawn)}


def written(tree: Tree, form: int, prefix: str) -> bytes:
    """The tar stream of a tree, in an order that is nobody's."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as tar:
        for path, content in sorted(tree.items(), key=lambda item: hash(item[0])):
            info = tarfile.TarInfo(prefix + path)
            if content is None:
                info.type, info.mode = tarfile.DIRTYPE, 0o700
                tar.addfile(info)
            else:
                info.size, info.mode, info.mtime = len(content[0]), 0o4711 if content[1] else 0o600, 1.5
                info.uid, info.uname = 1_000_000, "é"
                tar.addfile(info, io.BytesIO(content[0]))
    return stream.getvalue()


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    tree=trees(), form=st.sampled_from(list(_WRITABLE)), suffix=st.sampled_from(list(SUFFIXES)),
    prefix=st.sampled_from(["", "./"]), step=st.sampled_from([1, 7, 511, PIECE]),
)  # fmt: skip
def test_any_tree_comes_out_as_it_went_in(tree: Tree, form: int, suffix: str, prefix: str, step: int) -> None:
    """Whatever the format, the compression, and the pieces in which the archive comes."""
    archive = SUFFIXES[suffix](written(tree, form, prefix))
    expected = dict(tree)
    for path in tree:
        while path := path.rpartition("/")[0]:
            expected.setdefault(path)
    assert tree_in(Trickle(archive, step)) == expected


@pytest.mark.parametrize("form", ["gnu", "oldgnu", "pax", "posix", "ustar", "v7"])
def test_what_gnu_tar_packs_comes_out(form: str, tmp_path: Path) -> None:
    """Every format of GNU tar, with names as long as the format can write."""
    tar, directory = require_tool("tar"), tmp_path / "tree"
    names = ["a", "d/" + "n" * 90] if form == "v7" else ["a", "d/" + "m" * 80 + "/" + "n" * 90]
    if form not in ("v7", "ustar"):
        names += ["e/" + "ü" * 120 + "/" + "x" * 200]
    for number, name in enumerate(names):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(b"content" * number)
    (directory / "empty").mkdir()
    subprocess.run([tar, f"--format={form}", "-C", directory, "-cf", tmp_path / "a.tar", "."], check=True)
    found = tree_in((tmp_path / "a.tar").read_bytes())
    assert {path for path, content in found.items() if content} == set(names)
    assert found["empty"] is None


def test_what_the_builder_builds_comes_out(tmp_path: Path) -> None:
    """An archive of our own, one zstd frame for each chunk, is a plain archive like any other."""
    directory = pack(tmp_path, {"a": b"1" * 5000, "b/c": b"", "d/": b""}, chunk_size=4096)
    found = tree_in((directory.path / "pack.tar.zst").read_bytes())
    assert found == {"a": (b"1" * 5000, False), "b": None, "b/c": (b"", False), "d": None}


@pytest.mark.parametrize(
    ("archive", "expected"),
    [
        pytest.param(END, {}, id="nothing in it"),
        pytest.param(file(b"./", kind=b"5") + file(b"a", b"x") + END, {"a": (b"x", False)}, id="a top directory"),
        pytest.param(file(b"d/e/", kind=b"\0", magic=OLD) + END, {"d": None, "d/e": None}, id="an old directory"),
        pytest.param(file(b"d/a") + file(b"d/", kind=b"5") + END, {"d": None, "d/a": (b"", False)}, id="d after d/a"),
        pytest.param(
            pax({b"comment": b"0123"}, kind=b"g") + file(b"a", b"x") + END, {"a": (b"x", False)}, id="git archive"
        ),
        pytest.param(
            pax({b"SCHILY.xattr.user.x": b"\xff\n\0", b"mtime": b"1.5", b"size": b"1"}) + file(b"a", b"x") + END,
            {"a": (b"x", False)},
            id="attributes and times",
        ),
        pytest.param(
            pax({b"size": b"3"}) + block(b"a", 0) + padded(b"xyz") + END, {"a": (b"xyz", False)}, id="size in pax alone"
        ),
        pytest.param(
            block(b"a", b"\x80" + (3).to_bytes(11, "big")) + padded(b"xyz") + END, {"a": (b"xyz", False)}, id="base 256"
        ),
        pytest.param(
            long_name(b"n" * 200) + pax({b"mtime": b"1"}) + file(b"n", magic=GNU) + END,
            {"n" * 200: (b"", False)},
            id="long name and pax",
        ),
        pytest.param(
            file(b"a", mode=0o6755) + file(b"b", mode=0o666) + END, {"a": (b"", True), "b": (b"", False)}, id="m"
        ),
        pytest.param(file(b"a") + END + bytes(9 * BLOCK), {"a": (b"", False)}, id="a record filled up"),
        pytest.param(
            gzip.compress(file(b"a")[:200]) + gzip.compress(file(b"a")[200:] + END), {"a": (b"", False)}, id="members"
        ),
        pytest.param(
            zstandard.compress(file(b"a")[:200])
            + b"\x5a\x2a\x4d\x18\x03\0\0\0TOC"
            + zstandard.compress(file(b"a")[200:] + END),
            {"a": (b"", False)},
            id="frames, and one to skip",
        ),
    ],
)
def test_odd_archives_that_are_right(archive: bytes, expected: Tree) -> None:
    """What honest tools write is taken, however odd."""
    assert tree_in(archive) == expected
    assert tree_in(Trickle(archive, 1)) == expected


@pytest.mark.parametrize("hostile", HOSTILE, ids=[hostile.name for hostile in HOSTILE])
def test_hostile_archives_are_refused_in_words(hostile: Hostile) -> None:
    """Each by a message of its own, whatever the pieces in which it comes; the names that were handed out are sound."""
    limits = limits_of(Archive("a.tar", len(hostile.archive), digest(1)), OpaqueArchive())
    with pytest.raises(BadArchiveError) as whole:
        tree_in(hostile.archive, limits)
    assert hostile.words in str(whole.value)
    if len(hostile.archive) < 1 << 16:
        with pytest.raises(BadArchiveError) as pieces:
            tree_in(Trickle(hostile.archive, 1), limits)
        assert hostile.words in str(pieces.value)


def test_hostile_archives_have_messages_of_their_own() -> None:
    """There are enough of them, and few share their words."""
    assert len(HOSTILE) >= 100
    assert len({hostile.name for hostile in HOSTILE}) == len(HOSTILE)
    assert len({hostile.words for hostile in HOSTILE}) > 60


@given(data=st.binary(max_size=2000), at=st.integers(0, 3000), suffix=st.sampled_from(list(SUFFIXES)))
def test_no_bytes_raise_anything_else(data: bytes, at: int, suffix: str) -> None:
    """Whatever is written over a good archive, the reader hands out or refuses."""
    good = SUFFIXES[suffix](file(b"a/b", b"x" * 700) + pax({b"path": b"c"}) + file(b"d", b"y") + END)
    spoiled = good[: at % len(good)] + data + good[at % len(good) + len(data) :]
    assert (_fault(spoiled) or "none").isprintable()


def _fault(archive: bytes) -> str:
    try:
        tree_in(archive)
    except BadArchiveError as error:
        return str(error)
    return ""


def test_what_is_not_read_of_a_file_is_passed_over() -> None:
    """Who wants names alone need not read contents."""
    archive = file(b"a", b"x" * 3000) + file(b"b", b"y") + END
    assert [entry.path for entry in read(io.BytesIO(archive), _AMPLE)] == ["a", "b"]


@pytest.mark.parametrize(("size", "entries", "fits"), [(10, 4, True), (9, 4, False), (10, 3, False)])
def test_limits_are_exact(size: int, entries: int, *, fits: bool) -> None:
    """So many bytes of files and so many files and directories, implied ones included, and not one more."""
    archive = file(b"d/e/a", b"x" * 4) + file(b"b", b"x" * 6) + END
    if fits:
        assert len(tree_in(archive, Limits(size, entries))) == 4
    else:
        with pytest.raises(BadArchiveError, match="its limit"):
            tree_in(archive, Limits(size, entries))


def test_a_deep_name_counts_for_all_its_directories() -> None:
    """A thousand directories that one name implies are a thousand entries."""
    archive = b"".join(long_name(b"%d/" % number + b"a/" * 400 + b"a") + file(b"a", magic=GNU) for number in range(10))
    with pytest.raises(BadArchiveError, match="more than 3000 files and directories"):
        tree_in(archive + END, Limits(0, 3000))


@pytest.mark.parametrize(("options", "fits"), [(["-1"], True), (["-19"], True), (["--long=27"], False)])
def test_levels_of_zstd(options: list[str], *, fits: bool) -> None:
    """`zstd -19` is taken; what asks for more memory is refused in words that name the remedy."""
    zstd, stream = require_tool("zstd"), file(b"a", bytes(9 << 20)) + END
    packing = subprocess.run([zstd, "-qc", *options], input=stream, capture_output=True, check=True)
    if fits:
        assert tree_in(packing.stdout) == {"a": (bytes(9 << 20), False)}
    else:
        with pytest.raises(BadArchiveError, match="packed with `zstd -19` at most"):
            tree_in(packing.stdout)
