"""`models-pack check`: valid packs, and the faults of invalid ones."""

from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import zstandard

from models_init.core.digests import digest_of
from models_init.core.errors import ManifestError, UsageError, WrongBytesError
from models_init.core.events import NullObserver
from models_init.core.pack_ref import PackRef
from models_init.formats.manifest import MIB, encode
from models_init.publish.inspection.check_pack import CheckResult, check_packs
from models_init.publish.pack.version_directory import find
from tests import samples
from tests.publish.observers import CountingObserver
from tests.publish.packs import KIB, archive_of, built, describe, forge, pack, stream_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from models_init.publish.pack.version_directory import VersionDirectory

FILES = {"a.bin": bytes(range(256)) * 100, "b/c.txt": b"text\n", "b/d/": b"", "e": b""}


def check(directory: VersionDirectory) -> CheckResult:
    (result,) = check_packs([directory], NullObserver())
    return result


def faults(directory: VersionDirectory) -> tuple[str, ...]:
    result = check(directory)
    assert result.error is (WrongBytesError if result.faults else None)
    return result.faults


def repack(directory: VersionDirectory, change: Callable[[tarfile.TarInfo], tarfile.TarInfo | None]) -> None:
    """Replace the archive by one in which each member is changed or omitted."""
    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(stream_of(directory))) as old, tarfile.open(fileobj=out, mode="w") as new:
        for member in old:
            if changed := change(member):
                new.addfile(changed, old.extractfile(member) if changed.isreg() else None)
    forge(directory, out.getvalue())


def replace_frame(directory: VersionDirectory, change: Callable[[bytes], bytes]) -> None:
    """Change the frame of the only chunk of the only file, and update the manifest."""
    file = directory.parsed().files[0]
    (old,) = file.chunks
    data = archive_of(directory).read_bytes()
    frame = change(data[old.offset : old.offset + old.length])
    archive_of(directory).write_bytes(data[: old.offset] + frame + data[old.offset + old.length :])
    chunk = replace(old, length=len(frame))
    describe(directory, files=(replace(file, chunks=(chunk,)),))


def without_chunk_faults(found: tuple[str, ...]) -> list[str]:
    return [fault for fault in found if "the chunk of bytes" not in fault]


def test_built_pack_has_no_fault_and_progress_reaches_total(tmp_path: Path) -> None:
    source = samples.write_tree(tmp_path / "source")
    built(source, tmp_path / "out", chunk_size=64 * KIB)
    observer = CountingObserver()
    results = check_packs(find(tmp_path / "out"), observer)
    assert [result.faults for result in results] == [()]
    assert observer.done == observer.expected > MIB


def test_progress_of_several_packs_has_one_total(tmp_path: Path) -> None:
    for name in ("common", "nl-nl"):
        pack(tmp_path, FILES, PackRef(name, "1"))
    observer = CountingObserver()
    check_packs(find(tmp_path), observer)
    assert (observer.totals, observer.done) == (1, observer.expected)


def test_flipped_bit_is_located_in_its_chunk(tmp_path: Path) -> None:
    directory = pack(tmp_path, FILES, chunk_size=8 * KIB)
    chunk = directory.parsed().files[0].chunks[2]
    data = bytearray(archive_of(directory).read_bytes())
    data[chunk.offset + chunk.length - 1] ^= 1
    archive_of(directory).write_bytes(data)
    found = faults(directory)
    assert "the archive's SHA-256 differs" in found
    start = sum(before.size for before in directory.parsed().files[0].chunks[:2])
    message = f"a.bin: the chunk of bytes {start} to {start + chunk.size} is wrong: "
    assert any(fault.startswith(message) for fault in found)
    assert sum("the chunk of bytes" in fault for fault in found) == 1


def test_truncated_archive_is_a_fault(tmp_path: Path) -> None:
    directory = pack(tmp_path, FILES)
    data = archive_of(directory).read_bytes()
    archive_of(directory).write_bytes(data[: directory.parsed().files[0].chunks[0].offset + 10])
    found = faults(directory)
    assert any(fault.startswith("the archive has ") for fault in found)
    assert "a.bin: the chunk of bytes 0 to 25600 is wrong: the archive ends before the chunk does" in found
    assert "the archive is not a tar stream (unexpected end of data)" in found


def test_tar_stream_without_end_is_a_fault(tmp_path: Path) -> None:
    """It is a fault although `tar` extracts the stream."""
    directory = pack(tmp_path, {"a": b"x" * 512})
    chunk = directory.parsed().files[0].chunks[0]
    archive_of(directory).write_bytes(archive_of(directory).read_bytes()[: chunk.offset + chunk.length])
    describe(directory)
    assert faults(directory) == ("the tar stream ends early",)


def test_data_after_end_of_tar_stream_is_a_fault(tmp_path: Path) -> None:
    directory = pack(tmp_path, FILES)
    archive_of(directory).write_bytes(archive_of(directory).read_bytes() + zstandard.compress(b"hidden"))
    describe(directory)
    assert faults(directory) == ("there is data after the end of the tar stream",)


def test_archive_that_is_not_zstd_is_a_fault(tmp_path: Path) -> None:
    directory = pack(tmp_path, FILES)
    archive_of(directory).write_bytes(b"<html>" * 100)
    assert any("the archive cannot be decompressed" in fault for fault in faults(directory))


def test_missing_archive_is_a_fault(tmp_path: Path) -> None:
    directory = pack(tmp_path, FILES)
    archive_of(directory).unlink()
    assert faults(directory) == ("the archive pack.tar.zst cannot be read: No such file or directory",)


_NOT_ONE = "a: the chunk of bytes 0 to 500 is wrong: it is not exactly one whole zstd frame: "


@pytest.mark.parametrize("rest", [zstandard.compress(b"more"), zstandard.compress(b"")], ids=["of more", "of none"])
def test_chunk_of_two_frames_is_a_fault(tmp_path: Path, rest: bytes) -> None:
    """It is a fault even if the second frame is empty."""
    directory = pack(tmp_path, {"a": b"first" * 100})
    replace_frame(directory, lambda frame: frame + rest)
    assert any(_NOT_ONE in fault and "unused data" in fault for fault in faults(directory))


def test_frame_without_content_size_is_a_fault(tmp_path: Path) -> None:
    """Readers need it to allocate memory."""
    content = b"first" * 100
    directory = pack(tmp_path, {"a": content})
    replace_frame(directory, lambda _: zstandard.ZstdCompressor(write_content_size=False).compress(content))
    assert faults(directory) == (
        "a: the chunk of bytes 0 to 500 is wrong: its frame does not declare the size of its content",
    )


def test_frame_without_last_block_is_a_fault(tmp_path: Path) -> None:
    """It is a fault even if that block is empty."""
    content = b"first" * 100
    directory = pack(tmp_path, {"a": content})

    def in_two_blocks(_: bytes) -> bytes:
        stream = zstandard.ZstdCompressor().compressobj(size=len(content))
        begun = stream.compress(content) + stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
        assert len(stream.flush()) == 3
        return begun

    replace_frame(directory, in_two_blocks)
    assert any(_NOT_ONE in fault and "full frame" in fault for fault in faults(directory))


def test_frame_with_checksum_and_repeated_bytes_is_valid(tmp_path: Path) -> None:
    """Another program may have built the pack."""
    content = bytes(300 * KIB) + bytes(range(256)) * 600
    directory = pack(tmp_path, {"a": content})
    replace_frame(directory, lambda _: zstandard.ZstdCompressor(write_checksum=True).compress(content))
    assert faults(directory) == ()


def test_every_difference_from_manifest_is_listed(tmp_path: Path) -> None:
    directory = pack(tmp_path, {name: name.encode() * 10 for name in ("content", "gone", "mode", "same", "size")})
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content in {"content": b"CONTENT" * 10, "mode": b"mode" * 10, "more": b"", "size": b"s"}.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o600 if name == "mode" else 0o644
            tar.addfile(member, io.BytesIO(content))
    forge(directory, stream.getvalue())
    assert sorted(without_chunk_faults(faults(directory))) == [
        "'more' is in the archive, but not in the manifest (or only once)",
        "content: its SHA-256 in the archive differs",
        "gone: not in the archive",
        "mode: its mode is 0600 in the archive, 0644 by the manifest",
        "same: not in the archive",
        "size: it has 1 bytes in the archive, 40 by the manifest",
    ]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (tarfile.SYMTYPE, "a link"),
        (tarfile.LNKTYPE, "a hard link"),
        (tarfile.FIFOTYPE, "a fifo"),
        (tarfile.CHRTYPE, "a device"),
        (tarfile.DIRTYPE, "a directory"),
    ],
)
def test_entry_of_another_type_is_a_fault(tmp_path: Path, kind: bytes, message: str) -> None:
    directory = pack(tmp_path, FILES)

    def change(member: tarfile.TarInfo) -> tarfile.TarInfo:
        if member.name == "b/c.txt":
            member.type, member.linkname, member.size = kind, "a.bin", 0
        return member

    repack(directory, change)
    fault = f"b/c.txt: the archive has {message} there, the manifest a file"
    assert fault in without_chunk_faults(faults(directory))


def test_missing_directory_entry_is_a_fault(tmp_path: Path) -> None:
    directory = pack(tmp_path, FILES)
    repack(directory, lambda member: None if member.name == "b" else member)
    assert without_chunk_faults(faults(directory)) == ["b: not in the archive"]


def test_pack_in_directory_of_another_name_is_a_manifest_fault(tmp_path: Path) -> None:
    directory = pack(tmp_path, FILES)
    (tmp_path / "out/nl-be").mkdir()
    directory.path.rename(tmp_path / "out/nl-be/2026.04")
    (other,) = find(tmp_path / "out")
    result = check(other)
    assert result.error is ManifestError
    assert "the manifest of nl-be 2026.04 is that of nl-nl 2026.04" in result.faults[0]


@pytest.mark.parametrize("content", [b"", b"{}", b'{"schema": 99}', b"\xff"])
def test_invalid_manifest_is_one_manifest_fault(tmp_path: Path, content: bytes) -> None:
    directory = pack(tmp_path, FILES)
    directory.manifest.write_bytes(content)
    result = check(directory)
    assert (result.error, len(result.faults)) == (ManifestError, 1)


def test_archive_without_manifest_is_a_manifest_fault(tmp_path: Path) -> None:
    pack(tmp_path, FILES).manifest.unlink()
    (directory,) = find(tmp_path / "out")
    assert check(directory).error is ManifestError


def test_packs_are_found_from_version_directory_or_above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = pack(tmp_path, FILES)
    pack(tmp_path, FILES, PackRef("common", "1"))
    assert [found.path for found in find(directory.path)] == [directory.path]
    assert [str(found.ref()) for found in find(tmp_path)] == ["common 1", "nl-nl 2026.04"]
    monkeypatch.chdir(directory.path)
    (here,) = find(type(tmp_path)())
    assert str(here.ref()) == "nl-nl 2026.04"


def test_directory_without_packs_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"contains no manifest\.json"):
        find(tmp_path)
    with pytest.raises(UsageError, match="is not a directory"):
        find(tmp_path / "missing")


def test_wrong_digest_of_file_is_a_fault(tmp_path: Path) -> None:
    directory = pack(tmp_path, {"a": bytes(20 * KIB)}, chunk_size=8 * KIB)
    manifest = directory.parsed()
    changed = replace(manifest.files[0], digest=digest_of(b"other"))
    directory.manifest.write_bytes(encode(replace(manifest, files=(changed,))))
    assert faults(directory) == ("a: its SHA-256 in the archive differs",)
