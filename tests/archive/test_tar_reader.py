"""The reader yields the regular files and directories of any tar archive, and rejects everything else."""

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
"""Content and executable bit of each file by path; None for a directory."""

_AMPLE = Limits(1 << 30)
_WRITABLE = {tarfile.USTAR_FORMAT: 90, tarfile.GNU_FORMAT: 1000, tarfile.PAX_FORMAT: 1000}
"""The tar formats, and the longest name in bytes that each can always store."""


class SlowReader:
    """Returns a few bytes at a time."""

    def __init__(self, data: bytes, step: int) -> None:
        self._file, self._step = io.BytesIO(data), step

    def read(self, size: int, /) -> bytes:
        """Return at most `step` bytes."""
        return self._file.read(min(size, self._step))


def tree_in(archive: bytes | Readable, limits: Limits = _AMPLE) -> Tree:
    """Return all yielded entries and the directories that they imply."""
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
    """Draw names without conflicts, with contents that end at block boundaries or not."""
    sizes = st.sampled_from([0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK]) | st.integers(0, 2000)
    contents = st.none() | st.tuples(sizes.map(lambda size: b"\xa5" * size), st.booleans())
    drawn = draw(st.dictionaries(paths, contents, max_size=8))
    return {path: content for path, content in drawn.items() if not any(p.startswith(path + "/") for p in drawn)}


def written(tree: Tree, form: int, prefix: str) -> bytes:
    """Return the tar stream of a tree, in arbitrary order."""
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
def test_any_tree_survives_round_trip(tree: Tree, form: int, suffix: str, prefix: str, step: int) -> None:
    """Format, compression and the size of the pieces do not matter."""
    archive = SUFFIXES[suffix](written(tree, form, prefix))
    expected = dict(tree)
    for path in tree:
        while path := path.rpartition("/")[0]:
            expected.setdefault(path)
    assert tree_in(SlowReader(archive, step)) == expected


@pytest.mark.parametrize("form", ["gnu", "oldgnu", "pax", "posix", "ustar", "v7"])
def test_archives_of_gnu_tar_are_read(form: str, tmp_path: Path) -> None:
    """Every format of GNU tar is read, with the longest names that it supports."""
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


def test_links_suggest_options_of_tar_that_avoid_them(tmp_path: Path) -> None:
    """`tar --dereference` still writes hard links for files with two names; the options of the message avoid both."""
    tar, directory = require_tool("tar"), tmp_path / "tree"
    directory.mkdir()
    (directory / "model").write_bytes(b"content")
    (directory / "second").hardlink_to(directory / "model")
    (directory / "third").symlink_to("model")

    def archive(*options: str) -> bytes:
        subprocess.run([tar, *options, "-C", directory, "-cf", tmp_path / "a.tar", "."], check=True)
        return (tmp_path / "a.tar").read_bytes()

    for options, kind in (((), "a (hard|symbolic) link"), (("--dereference",), "a hard link")):
        with pytest.raises(BadArchiveError, match=rf"is {kind}; .*`tar --dereference --hard-dereference`"):
            tree_in(archive(*options))
    found = tree_in(archive("--dereference", "--hard-dereference"))
    assert found == dict.fromkeys(("model", "second", "third"), (b"content", False))


def test_archive_of_models_pack_build_is_read(tmp_path: Path) -> None:
    """An archive with one zstd frame for each chunk can also be read as an opaque archive."""
    directory = pack(tmp_path, {"a": b"1" * 5000, "b/c": b"", "d/": b""}, chunk_size=4096)
    found = tree_in((directory.path / "pack.tar.zst").read_bytes())
    assert found == {"a": (b"1" * 5000, False), "b": None, "b/c": (b"", False), "d": None}


@pytest.mark.parametrize(
    ("archive", "expected"),
    [
        pytest.param(END, {}, id="empty archive"),
        pytest.param(file(b"./", kind=b"5") + file(b"a", b"x") + END, {"a": (b"x", False)}, id="a top directory"),
        pytest.param(file(b"d/e/", kind=b"\0", magic=OLD) + END, {"d": None, "d/e": None}, id="an old directory"),
        pytest.param(file(b"d/a") + file(b"d/", kind=b"5") + END, {"d": None, "d/a": (b"", False)}, id="d after d/a"),
        pytest.param(
            pax({b"comment": b"0123"}, kind=b"g") + file(b"a", b"x") + END,
            {"a": (b"x", False)},
            id="git header",
        ),
        pytest.param(
            pax({b"SCHILY.xattr.user.x": b"\xff\n\0", b"mtime": b"1.5", b"size": b"1"}) + file(b"a", b"x") + END,
            {"a": (b"x", False)},
            id="attributes and times",
        ),
        pytest.param(
            pax({b"size": b"3"}) + block(b"a", 0) + padded(b"xyz") + END, {"a": (b"xyz", False)}, id="size only in pax"
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
            file(b"a", mode=0o6755) + file(b"b", mode=0o666) + END, {"a": (b"", True), "b": (b"", False)}, id="modes"
        ),
        pytest.param(file(b"a") + END + bytes(9 * BLOCK), {"a": (b"", False)}, id="padded record"),
        pytest.param(
            gzip.compress(file(b"a")[:200]) + gzip.compress(file(b"a")[200:] + END),
            {"a": (b"", False)},
            id="two members",
        ),
        pytest.param(
            zstandard.compress(file(b"a")[:200])
            + b"\x5a\x2a\x4d\x18\x03\0\0\0TOC"
            + zstandard.compress(file(b"a")[200:] + END),
            {"a": (b"", False)},
            id="a skippable frame",
        ),
    ],
)
def test_unusual_valid_archives_are_read(archive: bytes, expected: Tree) -> None:
    assert tree_in(archive) == expected
    assert tree_in(SlowReader(archive, 1)) == expected


@pytest.mark.parametrize("hostile", HOSTILE, ids=[hostile.name for hostile in HOSTILE])
def test_invalid_archives_are_rejected_with_reason(hostile: Hostile) -> None:
    """The size of the pieces does not change the message."""
    limits = limits_of(Archive("a.tar", len(hostile.archive), digest(1)), OpaqueArchive())
    with pytest.raises(BadArchiveError) as whole:
        tree_in(hostile.archive, limits)
    assert hostile.words in str(whole.value)
    if len(hostile.archive) < 1 << 16:
        with pytest.raises(BadArchiveError) as pieces:
            tree_in(SlowReader(hostile.archive, 1), limits)
        assert hostile.words in str(pieces.value)


def test_invalid_archives_have_distinct_messages() -> None:
    assert len(HOSTILE) >= 100
    assert len({hostile.name for hostile in HOSTILE}) == len(HOSTILE)
    assert len({hostile.words for hostile in HOSTILE}) > 60


@given(data=st.binary(max_size=2000), at=st.integers(0, 3000), suffix=st.sampled_from(list(SUFFIXES)))
def test_arbitrary_bytes_raise_only_bad_archive_error(data: bytes, at: int, suffix: str) -> None:
    """A valid archive with arbitrary bytes written over it is read or rejected."""
    good = SUFFIXES[suffix](file(b"a/b", b"x" * 700) + pax({b"path": b"c"}) + file(b"d", b"y") + END)
    spoiled = good[: at % len(good)] + data + good[at % len(good) + len(data) :]
    assert (_fault(spoiled) or "none").isprintable()


def _fault(archive: bytes) -> str:
    try:
        tree_in(archive)
    except BadArchiveError as error:
        return str(error)
    return ""


def test_unread_content_is_skipped() -> None:
    archive = file(b"a", b"x" * 3000) + file(b"b", b"y") + END
    assert [entry.path for entry in read(io.BytesIO(archive), _AMPLE)] == ["a", "b"]


@pytest.mark.parametrize(("size", "entries", "fits"), [(10, 4, True), (9, 4, False), (10, 3, False)])
def test_limits_are_exact(size: int, entries: int, *, fits: bool) -> None:
    """Implied directories count as entries."""
    archive = file(b"d/e/a", b"x" * 4) + file(b"b", b"x" * 6) + END
    if fits:
        assert len(tree_in(archive, Limits(size, entries))) == 4
    else:
        with pytest.raises(BadArchiveError, match="it exceeds the limit of"):
            tree_in(archive, Limits(size, entries))


def test_implied_directories_count_as_entries() -> None:
    archive = b"".join(long_name(b"%d/" % number + b"a/" * 400 + b"a") + file(b"a", magic=GNU) for number in range(10))
    with pytest.raises(BadArchiveError, match="it exceeds the limit of 3000 files and directories"):
        tree_in(archive + END, Limits(0, 3000))


def test_archive_of_many_global_headers_is_refused() -> None:
    """It has few bytes when compressed, and no file that another limit counts."""
    headers = block(b"pax_global_header", 0, kind=b"g") * (1 << 15)
    assert len(tree_in(zstandard.compress(headers + file(b"a") + END))) == 1
    with pytest.raises(BadArchiveError, match="its global pax headers have more than 16777216 bytes"):
        tree_in(zstandard.compress(headers + block(b"g", 0, kind=b"g") + file(b"a") + END))


@pytest.mark.parametrize(("options", "fits"), [(["-1"], True), (["-19"], True), (["--long=27"], False)])
def test_zstd_levels_and_windows(options: list[str], *, fits: bool) -> None:
    """`zstd -19` is accepted; a larger window is rejected with the remedy."""
    zstd, stream = require_tool("zstd"), file(b"a", bytes(9 << 20)) + END
    packing = subprocess.run([zstd, "-qc", *options], input=stream, capture_output=True, check=True)
    if fits:
        assert tree_in(packing.stdout) == {"a": (bytes(9 << 20), False)}
    else:
        with pytest.raises(BadArchiveError, match="compress it with at most `zstd -19`"):
            tree_in(packing.stdout)
