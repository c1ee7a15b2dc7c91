"""`models-pack build`: archive, manifest, reproducibility, and failures."""

from __future__ import annotations

import io
import os
import random
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from models_init.core.errors import LockedError, NoSpaceError, NotWritableError, UsageError
from models_init.core.events import NullObserver
from models_init.formats.manifest import MIB, placements
from models_init.formats.paths import check_path
from models_init.publish.pack import tar_stream
from models_init.publish.pack.build import BuildOptions, build
from models_init.publish.pack.drafts import draft
from models_init.publish.pack.pieces import FillerFrame
from models_init.publish.pack.slicing import FILLER_LIMIT, pieces
from models_init.publish.pack.source_tree import Directory, SourceFile, SourceTree, scan
from models_init.publish.pack.version_directory import ARCHIVE_NAME, VersionDirectory
from models_init.runtime.parallel import in_order, workers
from models_init.transfer import chunk_io
from tests import samples
from tests.publish.packs import KIB, REF, archive_of, built, pack, sha256, stream_of, write
from tests.services import require_root, require_tool

if TYPE_CHECKING:
    from collections.abc import Iterator

FILES = {
    "am/final.mdl": bytes(range(256)) * 40,
    "am/run.sh": b"#!/bin/sh\n",
    "conf/empty": b"",
    "conf/logs/": b"",
    "zero": b"\0" * 3000,
}


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def extracted_by_tar(directory: VersionDirectory, into: Path) -> Path:
    into.mkdir()
    subprocess.run([require_tool("tar"), "--zstd", "-xpf", archive_of(directory), "-C", into], check=True)
    return into


class InterruptingObserver(NullObserver):
    """Raises `KeyboardInterrupt` at the first progress."""

    def advance(self, count: int, _pack: str = "") -> None:
        """Raise."""
        raise KeyboardInterrupt(count)


# --- archive and manifest ---


def test_tar_restores_the_tree(tmp_path: Path) -> None:
    """Names, modes, content, empty directories."""
    require_tool("zstd")
    source = samples.write_tree(tmp_path / "source")
    directory = VersionDirectory(built(source, tmp_path / "out").directory)
    assert samples.same_tree(source, extracted_by_tar(directory, tmp_path / "again")) == []


def test_zstd_piped_to_tar_restores_the_tree(tmp_path: Path) -> None:
    source = samples.write_tree(tmp_path / "source", samples.Shape(texts=3, weights=(3 * MIB,), dense=()))
    archive = archive_of(VersionDirectory(built(source, tmp_path / "out").directory))
    (tmp_path / "again").mkdir()
    plain = subprocess.run([require_tool("zstd"), "-dc", archive], check=True, capture_output=True).stdout
    done = subprocess.run(
        [require_tool("tar"), "-xpf", "-", "-C", tmp_path / "again"], input=plain, check=True, capture_output=True
    )
    assert done.stderr == b""
    assert samples.same_tree(source, tmp_path / "again") == []


def test_each_chunk_is_one_independent_frame(tmp_path: Path) -> None:
    source = write(tmp_path / "source", FILES | {"large": random.Random(1).randbytes(100 * KIB)})
    directory = VersionDirectory(built(source, tmp_path / "out", chunk_size=16 * KIB).directory)
    archive = archive_of(directory).read_bytes()
    for file in directory.parsed().files:
        content = (source / file.path).read_bytes()
        for placement in placements(file):
            chunk = placement.chunk
            frame = memoryview(archive)[chunk.offset : chunk.offset + chunk.length]
            assert chunk_io.plain(frame, chunk) == content[placement.start : placement.start + chunk.size]
            assert zstandard.ZstdDecompressor().decompress(frame, allow_extra_data=False)
            assert zstandard.frame_content_size(frame) == chunk.size


def test_manifest_lists_files_and_empty_directories(tmp_path: Path) -> None:
    source = write(tmp_path / "source", FILES)
    (source / "am/run.sh").chmod(0o755)
    manifest = built(source, tmp_path / "out").manifest
    assert [(file.path, file.size, file.digest, file.executable) for file in manifest.files] == [
        (path, len(FILES[path]), sha256(FILES[path]), path == "am/run.sh")
        for path in ("am/final.mdl", "am/run.sh", "conf/empty", "zero")
    ]
    assert manifest.directories == ("conf/logs",)
    assert manifest.ref == REF


def test_manifest_has_size_and_digest_of_archive(tmp_path: Path) -> None:
    directory = pack(tmp_path, FILES)
    archive = archive_of(directory).read_bytes()
    described = directory.parsed().archive
    assert (described.file, described.size, described.digest) == (ARCHIVE_NAME, len(archive), sha256(archive))


def test_same_files_give_same_bytes(tmp_path: Path) -> None:
    """Times, owners, umask, order of creation and number of threads do not matter."""
    files = FILES | {"large": random.Random(3).randbytes(5 * MIB), "large too": random.Random(4).randbytes(3 * MIB)}
    one = write(tmp_path / "one", files)
    before = os.umask(0o077)
    try:
        other = write(tmp_path / "other", dict(reversed(files.items())))
        first = built(one, tmp_path / "a", threads=1)
    finally:
        os.umask(before)
    for number, path in enumerate(sorted(other.rglob("*"))):
        os.utime(path, (number, number * 1_000_003))
        if os.geteuid() == 0:
            os.chown(path, 1000 + number, 2000)
    second = built(other, tmp_path / "b", threads=7)
    assert contents(first.directory) == contents(second.directory)


def test_tar_stream_matches_the_recorded_one(tmp_path: Path) -> None:
    """The tar stream does not depend on the version of Python."""
    stream = stream_of(pack(tmp_path, FILES | {"é" * 60: b"long", "n" * 200: b"longer"}))
    assert sha256(stream) == "sha256:1b070c6454de2d6bcdb3daac554a7046c3e734380a28a5a6320724a1c5caa881"


def test_headers_have_no_owner_time_or_local_mode(tmp_path: Path) -> None:
    source = write(tmp_path / "source", {"sub/tool": b"", "data": b""})
    (source / "sub").chmod(0o2700)
    (source / "sub/tool").chmod(0o4711)
    (source / "data").chmod(0o600)
    stream = stream_of(VersionDirectory(built(source, tmp_path / "out").directory))
    with tarfile.open(fileobj=io.BytesIO(stream)) as tar:
        members = tar.getmembers()
    assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in members} == {(0, 0, "", "", 0)}
    assert {m.name: m.mode for m in members} == {"data": 0o644, "sub": 0o755, "sub/tool": 0o755}


def test_tar_header_holds_size_above_8_gib() -> None:
    header = tar_stream.header(SourceFile("large", "/large", 9 << 30, 0, executable=False))
    assert tarfile.TarInfo.frombuf(header, "utf-8", "strict").size == 9 << 30


def test_headers_are_divided_into_small_frames() -> None:
    tree = SourceTree(tuple(Directory(f"d{number:05}") for number in range(10_000)))
    sizes = [piece.size for piece in pieces(tree, MIB, iter(())) if isinstance(piece, FillerFrame)]
    assert sum(sizes) == 10_000 * 512 + 1024
    assert max(sizes) < FILLER_LIMIT + 4 * KIB


def _is_valid(name: str) -> bool:
    try:
        check_path(name)
    except ValueError:
        return False
    return "/" not in name


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60).filter(_is_valid)


def _has_file(tree: dict[str, Any]) -> bool:
    return any(isinstance(node, bytes) or _has_file(node) for node in tree.values())


DIRECTORIES: st.SearchStrategy[dict[str, Any]] = st.recursive(
    st.dictionaries(NAMES, st.binary(max_size=9000), max_size=4),
    lambda inner: st.dictionaries(NAMES, inner | st.binary(max_size=20), max_size=4),
    max_leaves=12,
)
TREES = DIRECTORIES.filter(_has_file)


def _write_tree(directory: Path, tree: dict[str, Any]) -> None:
    directory.mkdir(mode=0o755)
    for name, node in tree.items():
        if isinstance(node, bytes):
            (directory / name).write_bytes(node)
            (directory / name).chmod(0o755 if len(node) % 2 else 0o644)
        else:
            _write_tree(directory / name, node)


@given(tree=TREES, seed=st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_any_tree_is_restored_by_tar_and_times_do_not_matter(tree: dict[str, Any], seed: int) -> None:
    require_tool("zstd")
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        _write_tree(directory / "source", tree)
        first = built(directory / "source", directory / "a", chunk_size=4 * KIB)
        assert (
            samples.same_tree(
                directory / "source", extracted_by_tar(VersionDirectory(first.directory), directory / "x")
            )
            == []
        )
        chance = random.Random(seed)
        for path in (directory / "source").rglob("*"):
            os.utime(path, ns=(chance.randrange(2**60), chance.randrange(2**60)))
        assert contents(first.directory) == contents(
            built(directory / "source", directory / "b", chunk_size=4 * KIB).directory
        )


# --- existing versions and failures ---


def test_identical_build_is_unchanged(tmp_path: Path) -> None:
    source = write(tmp_path / "source", FILES)
    first = built(source, tmp_path / "out")
    before = contents(tmp_path / "out")
    again = built(source, tmp_path / "out")
    assert (first.fresh, again.fresh) == (True, False)
    assert contents(tmp_path / "out") == before


def test_identical_build_replaces_damaged_archive(tmp_path: Path) -> None:
    directory = pack(tmp_path, FILES)
    good = archive_of(directory).read_bytes()
    archive_of(directory).write_bytes(b"damaged")
    built(tmp_path / f"source-{REF.name}-{REF.version}", tmp_path / "out")
    assert archive_of(directory).read_bytes() == good


def test_different_content_for_existing_version_is_refused(tmp_path: Path) -> None:
    built(write(tmp_path / "one", FILES), tmp_path / "out")
    before = contents(tmp_path / "out")
    with pytest.raises(UsageError, match="a version never changes"):
        built(write(tmp_path / "other", FILES | {"zero": b"one"}), tmp_path / "out")
    assert contents(tmp_path / "out") == before


@pytest.mark.parametrize("change", [b"longer", b"", b"same!"], ids=["longer", "shorter", "as long"])
def test_file_changed_during_build_is_an_error(tmp_path: Path, change: bytes) -> None:
    """The error names the file; nothing is written, not even the directories of the version."""
    source = write(tmp_path / "source", FILES | {"busy": b"bytes"})
    tree = scan(source)
    os.utime(source / "busy", ns=(1, 1))
    (source / "busy").write_bytes(change)
    with pytest.raises(UsageError, match="busy changed while it was read"):
        build(tree, BuildOptions(REF), tmp_path / "out", NullObserver())
    assert not (tmp_path / "out").exists()


def test_file_removed_or_replaced_by_link_during_build_is_an_error(tmp_path: Path) -> None:
    source = write(tmp_path / "source", FILES | {"busy": b"bytes"})
    tree = scan(source)
    (source / "busy").unlink()
    with pytest.raises(UsageError, match="busy cannot be read: No such file"):
        build(tree, BuildOptions(REF), tmp_path / "out", NullObserver())
    (source / "busy").symlink_to("zero")
    with pytest.raises(UsageError, match="busy cannot be read: Too many levels of symbolic links"):
        build(tree, BuildOptions(REF), tmp_path / "out", NullObserver())


def test_interrupt_leaves_no_files(tmp_path: Path) -> None:
    source = write(tmp_path / "source", FILES)
    (tmp_path / "out").mkdir()
    with pytest.raises(KeyboardInterrupt):
        build(scan(source), BuildOptions(REF), tmp_path / "out", InterruptingObserver())
    assert list((tmp_path / "out").iterdir()) == []


def test_draft_of_killed_run_is_replaced(tmp_path: Path) -> None:
    directory = VersionDirectory(tmp_path / "out" / REF.name / REF.version)
    write(directory.path, {f"{ARCHIVE_NAME}.part": b"left over" * 1000, "manifest.json.part": b"{"})
    pack(tmp_path, FILES)
    assert sorted(path.name for path in directory.path.iterdir()) == ["manifest.json", ARCHIVE_NAME]
    assert directory.parsed().archive.digest == sha256(archive_of(directory).read_bytes())


def test_second_concurrent_build_is_refused(tmp_path: Path) -> None:
    directory = VersionDirectory(tmp_path / "out" / REF.name / REF.version)
    directory.path.mkdir(parents=True)
    with draft(archive_of(directory)), pytest.raises(LockedError, match="another run"):
        pack(tmp_path, FILES)


def test_full_disk_is_reported_and_nothing_remains(tmp_path: Path) -> None:
    require_root()
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run([require_tool("mount"), "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=True)
    try:
        with pytest.raises(NoSpaceError, match="No space left on device; free some space"):
            built(write(tmp_path / "source", {"noise": random.Random(2).randbytes(3 * MIB)}), disk)
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run([require_tool("umount"), disk], check=True)


def test_output_path_that_is_a_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"a file")
    with pytest.raises(NotWritableError, match="cannot be written: Not a directory; choose another directory"):
        pack(tmp_path, FILES)


# --- concurrency and memory ---


def test_in_order_limits_pending_jobs() -> None:
    begun: list[int] = []
    taken = 0

    def numbers() -> Iterator[int]:
        for number in range(100):
            begun.append(number)
            assert len(begun) - taken <= 5
            yield number

    with workers(3) as pool:
        for taken, result in enumerate(in_order(pool, lambda number: number * 2, numbers(), 5), start=1):
            assert result == (taken - 1) * 2
    assert taken == 100


def test_build_of_400_mib_uses_less_than_150_mib(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    with (source / "large").open("wb") as file:
        file.truncate(400 * MIB)
    code = (
        "import sys; from models_init.publish.cli.main import main; code = main(sys.argv[1:]);"
        # Not ru_maxrss, which a process inherits from its parent.
        "print(open('/proc/self/status').read().partition('VmHWM:')[2].split()[0]); sys.exit(code)"
    )
    arguments = ["build", str(source), "--name=x", "--version=1", "--out", str(tmp_path / "out"), "--level=1"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True, text=True)
    assert int(done.stdout.split()[-1]) < 150 * KIB  # both in KiB
