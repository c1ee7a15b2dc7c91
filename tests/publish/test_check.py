"""Which packs are judged sound, and how faults are told."""

from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import zstandard

from models_init.core.errors import ManifestError, UsageError, WrongBytesError
from models_init.core.events import NullObserver
from models_init.core.pack_ref import PackRef
from models_init.formats.manifest import MIB, encode
from models_init.publish.inspection.check_pack import check
from models_init.publish.pack.version_directory import find
from models_init.transfer.chunk_io import digest_of
from tests import samples
from tests.publish.packs import KIB, archive_of, built, describe, forge, pack, stream_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from models_init.publish.pack.version_directory import VersionDirectory

FILES = {"a.bin": bytes(range(256)) * 100, "b/c.txt": b"text\n", "b/d/": b"", "e": b""}


def faults(directory: VersionDirectory) -> tuple[str, ...]:
    verdict = check(directory, NullObserver())
    assert verdict.error is (WrongBytesError if verdict.faults else None)
    return verdict.faults


def remade(directory: VersionDirectory, change: Callable[[tarfile.TarInfo], tarfile.TarInfo | None]) -> None:
    """Forge the archive of a pack from its own members, each changed or dropped."""
    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(stream_of(directory))) as old, tarfile.open(fileobj=out, mode="w") as new:
        for member in old:
            if changed := change(member):
                new.addfile(changed, old.extractfile(member) if changed.isreg() else None)
    forge(directory, out.getvalue())


def replace_frame(directory: VersionDirectory, change: Callable[[bytes], bytes]) -> None:
    """Change the frame of the only chunk of the only file, and describe that."""
    file = directory.parsed().files[0]
    (old,) = file.chunks
    data = archive_of(directory).read_bytes()
    frame = change(data[old.offset : old.offset + old.length])
    archive_of(directory).write_bytes(data[: old.offset] + frame + data[old.offset + old.length :])
    chunk = replace(old, length=len(frame))
    describe(directory, files=(replace(file, chunks=(chunk,)),))


def without_chunk_faults(found: tuple[str, ...]) -> list[str]:
    return [fault for fault in found if "the chunk of bytes" not in fault]


class Counting(NullObserver):
    """Counts what is announced and what is done."""

    def __init__(self) -> None:
        self.expected = self.done = 0

    def expect(self, count: int) -> None:
        """Add to what is announced."""
        self.expected += count

    def advance(self, count: int) -> None:
        """Add to what is done."""
        self.done += count


def test_what_build_writes_is_sound(tmp_path: Path) -> None:
    """A freshly built pack of every kind of file has no fault, and every announced byte is done."""
    source = samples.write_tree(tmp_path / "source")
    built(source, tmp_path / "out", chunk_size=64 * KIB)
    observer = Counting()
    verdicts = [check(directory, observer) for directory in find(tmp_path / "out")]
    assert [verdict.faults for verdict in verdicts] == [()]
    assert observer.done == observer.expected > MIB


def test_a_flipped_bit_is_found_and_placed(tmp_path: Path) -> None:
    """One wrong bit: the archive's digest differs, and the chunk that has it is named."""
    directory = pack(tmp_path, FILES, chunk_size=8 * KIB)
    chunk = directory.parsed().files[0].chunks[2]
    data = bytearray(archive_of(directory).read_bytes())
    data[chunk.offset + chunk.length - 1] ^= 1
    archive_of(directory).write_bytes(data)
    found = faults(directory)
    assert "the archive's SHA-256 differs" in found
    start = sum(before.size for before in directory.parsed().files[0].chunks[:2])
    told = f"a.bin: the chunk of bytes {start} to {start + chunk.size} is wrong: "
    assert any(fault.startswith(told) for fault in found)
    assert sum("the chunk of bytes" in fault for fault in found) == 1


def test_a_truncated_archive_is_found(tmp_path: Path) -> None:
    """What is missing at the end is told as size, as chunks, as a stream that breaks off."""
    directory = pack(tmp_path, FILES)
    data = archive_of(directory).read_bytes()
    archive_of(directory).write_bytes(data[: directory.parsed().files[0].chunks[0].offset + 10])
    found = faults(directory)
    assert any(fault.startswith("the archive has ") for fault in found)
    assert "a.bin: the chunk of bytes 0 to 25600 is wrong: the archive ends before it does" in found
    assert "the archive is no tar stream (unexpected end of data)" in found


def test_an_archive_without_its_last_frame_is_found(tmp_path: Path) -> None:
    """An archive whose tar stream has no end is faulty, although `tar` may extract it."""
    directory = pack(tmp_path, {"a": b"x" * 512})
    chunk = directory.parsed().files[0].chunks[0]
    archive_of(directory).write_bytes(archive_of(directory).read_bytes()[: chunk.offset + chunk.length])
    describe(directory)
    assert faults(directory) == ("the tar stream breaks off before its end",)


def test_bytes_after_the_end_of_the_stream_are_found(tmp_path: Path) -> None:
    """Nothing may hide behind the blocks that end a tar stream."""
    directory = pack(tmp_path, FILES)
    archive_of(directory).write_bytes(archive_of(directory).read_bytes() + zstandard.compress(b"hidden"))
    describe(directory)
    assert faults(directory) == ("something follows the end of the tar stream",)


def test_an_archive_that_is_no_zstd_is_found(tmp_path: Path) -> None:
    """Bytes that are no archive at all are told as such."""
    directory = pack(tmp_path, FILES)
    archive_of(directory).write_bytes(b"<html>" * 100)
    assert any("the archive cannot be decompressed" in fault for fault in faults(directory))


def test_a_missing_archive_is_found(tmp_path: Path) -> None:
    """A manifest alone is no pack."""
    directory = pack(tmp_path, FILES)
    archive_of(directory).unlink()
    assert faults(directory) == ("the archive pack.tar.zst cannot be read: No such file or directory",)


_NOT_ONE = "a: the chunk of bytes 0 to 500 is wrong: it is not exactly one whole zstd frame: "


@pytest.mark.parametrize("rest", [zstandard.compress(b"more"), zstandard.compress(b"")], ids=["of more", "of none"])
def test_a_chunk_of_two_frames_is_found(tmp_path: Path, rest: bytes) -> None:
    """A chunk is exactly one frame, even if the next frame would add nothing to its content."""
    directory = pack(tmp_path, {"a": b"first" * 100})
    replace_frame(directory, lambda frame: frame + rest)
    assert any(_NOT_ONE in fault and "unused data" in fault for fault in faults(directory))


def test_a_chunk_that_does_not_tell_its_size_is_found(tmp_path: Path) -> None:
    """A frame without a content size is faulty: a reader could not know what to allocate."""
    content = b"first" * 100
    directory = pack(tmp_path, {"a": content})
    replace_frame(directory, lambda _: zstandard.ZstdCompressor(write_content_size=False).compress(content))
    assert faults(directory) == ("a: the chunk of bytes 0 to 500 is wrong: its frame does not tell the content's size",)


def test_a_frame_that_lacks_its_last_block_is_found(tmp_path: Path) -> None:
    """A frame is whole, even if what it lacks would add nothing to its content."""
    content = b"first" * 100
    directory = pack(tmp_path, {"a": content})

    def in_two_blocks(_: bytes) -> bytes:
        stream = zstandard.ZstdCompressor().compressobj(size=len(content))
        begun = stream.compress(content) + stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
        assert len(stream.flush()) == 3
        return begun

    replace_frame(directory, in_two_blocks)
    assert any(_NOT_ONE in fault and "full frame" in fault for fault in faults(directory))


def test_frames_with_checksums_and_repeated_bytes_are_measured_rightly(tmp_path: Path) -> None:
    """A pack of another builder is sound, too: frames with a zstd checksum, with blocks that repeat one byte."""
    content = bytes(300 * KIB) + bytes(range(256)) * 600
    directory = pack(tmp_path, {"a": content})
    replace_frame(directory, lambda _: zstandard.ZstdCompressor(write_checksum=True).compress(content))
    assert faults(directory) == ()


def test_every_difference_between_stream_and_manifest_is_told(tmp_path: Path) -> None:
    """Files that differ in mode, size or content, lack, or are too many: all are named."""
    directory = pack(tmp_path, {name: name.encode() * 10 for name in ("content", "gone", "mode", "same", "size")})
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content in {"content": b"CONTENT" * 10, "mode": b"mode" * 10, "more": b"", "size": b"s"}.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o600 if name == "mode" else 0o644
            tar.addfile(member, io.BytesIO(content))
    forge(directory, stream.getvalue())
    assert sorted(without_chunk_faults(faults(directory))) == [
        "'more' stands in the archive, and not (or only once) in the manifest",
        "content: its SHA-256 in the archive differs",
        "gone: not in the archive",
        "mode: its mode is 0600 in the archive, 0644 by the manifest",
        "same: not in the archive",
        "size: it has 1 bytes in the archive, 40 by the manifest",
    ]


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (tarfile.SYMTYPE, "a link"),
        (tarfile.LNKTYPE, "a hard link"),
        (tarfile.FIFOTYPE, "a fifo"),
        (tarfile.CHRTYPE, "a device"),
        (tarfile.DIRTYPE, "a directory"),
    ],
)
def test_only_regular_files_and_directories_pass(tmp_path: Path, kind: bytes, told: str) -> None:
    """An archive that has anything else where the manifest has a file is faulty."""
    directory = pack(tmp_path, FILES)

    def change(member: tarfile.TarInfo) -> tarfile.TarInfo:
        if member.name == "b/c.txt":
            member.type, member.linkname, member.size = kind, "a.bin", 0
        return member

    remade(directory, change)
    fault = f"b/c.txt: the archive has {told} there, the manifest a file"
    assert fault in without_chunk_faults(faults(directory))


def test_every_directory_stands_in_the_archive(tmp_path: Path) -> None:
    """Also those that the manifest does not list because they hold something."""
    directory = pack(tmp_path, FILES)
    remade(directory, lambda member: None if member.name == "b" else member)
    assert without_chunk_faults(faults(directory)) == ["b: not in the archive"]


def test_a_pack_under_another_name_is_a_manifest_fault(tmp_path: Path) -> None:
    """The directories' names are what a site asks for, so they must be the manifest's."""
    directory = pack(tmp_path, FILES)
    (tmp_path / "out/nl-be").mkdir()
    directory.path.rename(tmp_path / "out/nl-be/2026.04")
    (other,) = find(tmp_path / "out")
    verdict = check(other, NullObserver())
    assert verdict.error is ManifestError
    assert "the manifest of nl-be 2026.04 is that of nl-nl 2026.04" in verdict.faults[0]


@pytest.mark.parametrize("content", [b"", b"{}", b'{"schema": 99}', b"\xff"])
def test_a_manifest_that_cannot_be_used_is_told(tmp_path: Path, content: bytes) -> None:
    """Whatever a manifest file holds, it is one fault of the class that exits with 10."""
    directory = pack(tmp_path, FILES)
    directory.manifest.write_bytes(content)
    verdict = check(directory, NullObserver())
    assert (verdict.error, len(verdict.faults)) == (ManifestError, 1)


def test_an_archive_without_manifest_is_a_manifest_fault(tmp_path: Path) -> None:
    """A version directory that only has an archive is not overlooked."""
    pack(tmp_path, FILES).manifest.unlink()
    (directory,) = find(tmp_path / "out")
    assert check(directory, NullObserver()).error is ManifestError


def test_the_directory_itself_and_directories_above_it_can_be_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version directory is found from itself, from `.` in it, and from any directory above."""
    directory = pack(tmp_path, FILES)
    pack(tmp_path, FILES, PackRef("common", "1"))
    assert [found.path for found in find(directory.path)] == [directory.path]
    assert [str(found.ref()) for found in find(tmp_path)] == ["common 1", "nl-nl 2026.04"]
    monkeypatch.chdir(directory.path)
    (here,) = find(type(tmp_path)())
    assert str(here.ref()) == "nl-nl 2026.04"


def test_a_directory_without_packs_is_told(tmp_path: Path) -> None:
    """Where there is nothing to judge, nothing is called sound."""
    with pytest.raises(UsageError, match=r"holds no manifest\.json"):
        find(tmp_path)
    with pytest.raises(UsageError, match="is no directory"):
        find(tmp_path / "missing")


def test_a_manifest_with_another_digest_for_a_file_is_found(tmp_path: Path) -> None:
    """The file's digest is compared with the stream's, not only the chunks'."""
    directory = pack(tmp_path, {"a": bytes(20 * KIB)}, chunk_size=8 * KIB)
    manifest = directory.parsed()
    changed = replace(manifest.files[0], digest=digest_of(b"other"))
    directory.manifest.write_bytes(encode(replace(manifest, files=(changed,))))
    assert faults(directory) == ("a: its SHA-256 in the archive differs",)
