"""What a built pack is, and what stays when building fails."""

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
from models_init.core.parallel import in_order, workers
from models_init.formats.manifest import MIB, check_path, placements
from models_init.publish.pack import tar_stream
from models_init.publish.pack.build import BuildOptions, build
from models_init.publish.pack.pieces import Filler
from models_init.publish.pack.slicing import FILLER_LIMIT, pieces
from models_init.publish.pack.source_tree import Directory, SourceFile, SourceTree, scan
from models_init.publish.pack.version_directory import ARCHIVE_NAME, VersionDirectory, draft
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


def everything(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def extracted_by_tar(directory: VersionDirectory, into: Path) -> Path:
    into.mkdir()
    subprocess.run([require_tool("tar"), "--zstd", "-xpf", archive_of(directory), "-C", into], check=True)
    return into


class Interrupting(NullObserver):
    """Interrupts the work as Ctrl-C would, when the first bytes are done."""

    def advance(self, count: int) -> None:
        """Do it."""
        raise KeyboardInterrupt(count)


# --- what the archive is ---


def test_tar_extracts_the_archive_as_it_is(tmp_path: Path) -> None:
    """`tar --zstd -xf` gives the tree back: names, modes, bytes, empty directories."""
    require_tool("zstd")
    source = samples.write_tree(tmp_path / "source")
    directory = VersionDirectory(built(source, tmp_path / "out").directory)
    assert samples.same_tree(source, extracted_by_tar(directory, tmp_path / "again")) == []


def test_zstd_and_tar_in_a_pipe_extract_the_archive(tmp_path: Path) -> None:
    """`zstd -dc pack.tar.zst | tar -x` gives the tree back."""
    source = samples.write_tree(tmp_path / "source", samples.Shape(texts=3, weights=(3 * MIB,), dense=()))
    archive = archive_of(VersionDirectory(built(source, tmp_path / "out").directory))
    (tmp_path / "again").mkdir()
    plain = subprocess.run([require_tool("zstd"), "-dc", archive], check=True, capture_output=True).stdout
    done = subprocess.run(
        [require_tool("tar"), "-xpf", "-", "-C", tmp_path / "again"], input=plain, check=True, capture_output=True
    )
    assert done.stderr == b""
    assert samples.same_tree(source, tmp_path / "again") == []


def test_each_chunk_is_one_frame_that_can_be_read_alone(tmp_path: Path) -> None:
    """A chunk's bytes in the archive are one whole zstd frame, with its content's size, of that piece of that file."""
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


def test_the_manifest_tells_everything_about_each_file(tmp_path: Path) -> None:
    """Path, size, digest and execute bit of each file; of the directories only the empty ones."""
    source = write(tmp_path / "source", FILES)
    (source / "am/run.sh").chmod(0o755)
    manifest = built(source, tmp_path / "out").manifest
    assert [(file.path, file.size, file.digest, file.executable) for file in manifest.files] == [
        (path, len(FILES[path]), sha256(FILES[path]), path == "am/run.sh")
        for path in ("am/final.mdl", "am/run.sh", "conf/empty", "zero")
    ]
    assert manifest.directories == ("conf/logs",)
    assert manifest.ref == REF


def test_the_manifest_names_the_archives_size_and_digest(tmp_path: Path) -> None:
    """What is written beside the archive is what the archive is, and parses."""
    directory = pack(tmp_path, FILES)
    archive = archive_of(directory).read_bytes()
    described = directory.parsed().archive
    assert (described.file, described.size, described.digest) == (ARCHIVE_NAME, len(archive), sha256(archive))


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    """Times, owners, umask, order of creation and number of threads leave no trace in archive or manifest."""
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
    assert everything(first.directory) == everything(second.directory)


def test_the_tar_stream_is_the_same_on_every_machine(tmp_path: Path) -> None:
    """The plain stream does not depend on Python's version: this digest was written down."""
    stream = stream_of(pack(tmp_path, FILES | {"é" * 60: b"long", "n" * 200: b"longer"}))
    assert sha256(stream) == "sha256:1b070c6454de2d6bcdb3daac554a7046c3e734380a28a5a6320724a1c5caa881"


def test_headers_hold_no_trace_of_this_machine(tmp_path: Path) -> None:
    """Owner 0, no names, time 0, modes 0755 and 0644 whatever the files have."""
    source = write(tmp_path / "source", {"sub/tool": b"", "data": b""})
    (source / "sub").chmod(0o2700)
    (source / "sub/tool").chmod(0o4711)
    (source / "data").chmod(0o600)
    stream = stream_of(VersionDirectory(built(source, tmp_path / "out").directory))
    with tarfile.open(fileobj=io.BytesIO(stream)) as tar:
        members = tar.getmembers()
    assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in members} == {(0, 0, "", "", 0)}
    assert {m.name: m.mode for m in members} == {"data": 0o644, "sub": 0o755, "sub/tool": 0o755}


def test_a_header_can_tell_any_size() -> None:
    """Sizes above tar's old limit of 8 GiB come back as they are."""
    header = tar_stream.header(SourceFile("large", "/large", 9 << 30, 0, executable=False))
    assert tarfile.TarInfo.frombuf(header, "utf-8", "strict").size == 9 << 30


def test_frames_between_files_stay_small() -> None:
    """A run of ten thousand directories and empty files is cut into frames of about a MiB."""
    tree = SourceTree(tuple(Directory(f"d{number:05}") for number in range(10_000)))
    sizes = [piece.size for piece in pieces(tree, MIB, iter(())) if isinstance(piece, Filler)]
    assert sum(sizes) == 10_000 * 512 + 1024
    assert max(sizes) < FILLER_LIMIT + 4 * KIB


def _is_fine(name: str) -> bool:
    try:
        check_path(name)
    except ValueError:
        return False
    return "/" not in name


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60).filter(_is_fine)


def _holds_file(tree: dict[str, Any]) -> bool:
    return any(isinstance(node, bytes) or _holds_file(node) for node in tree.values())


DIRECTORIES: st.SearchStrategy[dict[str, Any]] = st.recursive(
    st.dictionaries(NAMES, st.binary(max_size=9000), max_size=4),
    lambda inner: st.dictionaries(NAMES, inner | st.binary(max_size=20), max_size=4),
    max_leaves=12,
)
TREES = DIRECTORIES.filter(_holds_file)


def _plant(directory: Path, tree: dict[str, Any]) -> None:
    directory.mkdir(mode=0o755)
    for name, node in tree.items():
        if isinstance(node, bytes):
            (directory / name).write_bytes(node)
            (directory / name).chmod(0o755 if len(node) % 2 else 0o644)
        else:
            _plant(directory / name, node)


@given(tree=TREES, seed=st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_any_tree_comes_back_and_any_times_give_the_same_bytes(tree: dict[str, Any], seed: int) -> None:
    """Whatever the names, sizes and nesting: `tar` gives the tree back, and other times change nothing."""
    require_tool("zstd")
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        _plant(directory / "source", tree)
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
        assert everything(first.directory) == everything(
            built(directory / "source", directory / "b", chunk_size=4 * KIB).directory
        )


# --- what stays and what is refused ---


def test_building_the_same_again_changes_nothing(tmp_path: Path) -> None:
    """An identical version that stands there is fine, and is called unchanged."""
    source = write(tmp_path / "source", FILES)
    first = built(source, tmp_path / "out")
    before = everything(tmp_path / "out")
    again = built(source, tmp_path / "out")
    assert (first.fresh, again.fresh) == (True, False)
    assert everything(tmp_path / "out") == before


def test_building_the_same_again_heals_a_damaged_archive(tmp_path: Path) -> None:
    """Where the manifest is the same, the archive is written anew."""
    directory = pack(tmp_path, FILES)
    good = archive_of(directory).read_bytes()
    archive_of(directory).write_bytes(b"damaged")
    built(tmp_path / f"source-{REF.name}-{REF.version}", tmp_path / "out")
    assert archive_of(directory).read_bytes() == good


def test_another_pack_under_the_same_version_is_refused(tmp_path: Path) -> None:
    """A version that stands there with other content is an error, and stays as it is."""
    built(write(tmp_path / "one", FILES), tmp_path / "out")
    before = everything(tmp_path / "out")
    with pytest.raises(UsageError, match="a version never changes"):
        built(write(tmp_path / "other", FILES | {"zero": b"one"}), tmp_path / "out")
    assert everything(tmp_path / "out") == before


@pytest.mark.parametrize("change", [b"longer", b"", b"same!"], ids=["longer", "shorter", "as long"])
def test_a_file_that_changes_while_it_is_read_is_an_error(tmp_path: Path, change: bytes) -> None:
    """Such a file is named, and nothing stands under the version's name, not even its directories."""
    source = write(tmp_path / "source", FILES | {"busy": b"bytes"})
    tree = scan(source)
    os.utime(source / "busy", ns=(1, 1))
    (source / "busy").write_bytes(change)
    with pytest.raises(UsageError, match="busy changed while it was read"):
        build(tree, BuildOptions(REF), tmp_path / "out", NullObserver())
    assert not (tmp_path / "out").exists()


def test_a_file_that_vanishes_or_becomes_a_link_is_an_error(tmp_path: Path) -> None:
    """What is exchanged after it was judged is not followed."""
    source = write(tmp_path / "source", FILES | {"busy": b"bytes"})
    tree = scan(source)
    (source / "busy").unlink()
    with pytest.raises(UsageError, match="busy cannot be read: No such file"):
        build(tree, BuildOptions(REF), tmp_path / "out", NullObserver())
    (source / "busy").symlink_to("zero")
    with pytest.raises(UsageError, match="busy cannot be read: Too many levels of symbolic links"):
        build(tree, BuildOptions(REF), tmp_path / "out", NullObserver())


def test_an_interrupt_leaves_nothing(tmp_path: Path) -> None:
    """After Ctrl-C neither a draft nor an empty directory remains, but what stood there before does."""
    source = write(tmp_path / "source", FILES)
    (tmp_path / "out").mkdir()
    with pytest.raises(KeyboardInterrupt):
        build(scan(source), BuildOptions(REF), tmp_path / "out", Interrupting())
    assert list((tmp_path / "out").iterdir()) == []


def test_the_draft_of_a_killed_run_is_taken_over(tmp_path: Path) -> None:
    """A leftover `.part` neither hinders nor gets into the next archive, and does not pile up."""
    directory = VersionDirectory(tmp_path / "out" / REF.name / REF.version)
    write(directory.path, {f"{ARCHIVE_NAME}.part": b"left over" * 1000, "manifest.json.part": b"{"})
    pack(tmp_path, FILES)
    assert sorted(path.name for path in directory.path.iterdir()) == ["manifest.json", ARCHIVE_NAME]
    assert directory.parsed().archive.digest == sha256(archive_of(directory).read_bytes())


def test_two_builds_of_a_version_do_not_mix(tmp_path: Path) -> None:
    """While one run writes a version, another is told so."""
    directory = VersionDirectory(tmp_path / "out" / REF.name / REF.version)
    directory.path.mkdir(parents=True)
    with draft(archive_of(directory)), pytest.raises(LockedError, match="another run"):
        pack(tmp_path, FILES)


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    """On a disk that is too small: one clear error, and the disk is empty again."""
    require_root()
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run([require_tool("mount"), "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=True)
    try:
        with pytest.raises(NoSpaceError, match="No space left on device; make room"):
            built(write(tmp_path / "source", {"noise": random.Random(2).randbytes(3 * MIB)}), disk)
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run([require_tool("umount"), disk], check=True)


def test_an_out_that_is_no_directory_is_told(tmp_path: Path) -> None:
    """Where no directory can be made, the path and the reason are told."""
    (tmp_path / "out").write_bytes(b"a file")
    with pytest.raises(NotWritableError, match="cannot be written: Not a directory; choose another directory"):
        pack(tmp_path, FILES)


# --- how it works ---


def test_results_come_in_order_and_work_never_runs_ahead() -> None:
    """At most a window of jobs is begun beyond what was taken."""
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


def test_memory_stays_bounded_whatever_the_size(tmp_path: Path) -> None:
    """400 MiB are packed in less than 150 MiB of memory."""
    source = tmp_path / "source"
    source.mkdir()
    with (source / "large").open("wb") as file:
        file.truncate(400 * MIB)
    code = (
        "import sys; from models_init.publish.cli.main import main; code = main(sys.argv[1:]);"
        # Not ru_maxrss, which a process inherits from the one that forked it.
        "print(open('/proc/self/status').read().partition('VmHWM:')[2].split()[0]); sys.exit(code)"
    )
    arguments = ["build", str(source), "--name=x", "--version=1", "--out", str(tmp_path / "out"), "--level=1"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True, text=True)
    assert int(done.stdout.split()[-1]) < 150 * KIB  # both in KiB
