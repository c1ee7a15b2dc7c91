"""Check that an archive, read as an ordinary tar stream, contains exactly the entries of its manifest."""

from __future__ import annotations

import hashlib
import tarfile
from typing import IO, TYPE_CHECKING, Protocol, cast

import zstandard

from models_init.core.digests import digest_text
from models_init.core.file_modes import DIRECTORY_MODE
from models_init.formats.manifest import MIB
from models_init.publish.pack.tar_stream import END, padded
from models_init.transfer.chunk_io import mode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from models_init.formats.manifest import File, Manifest

_KINDS = {
    tarfile.SYMTYPE: "a link",
    tarfile.LNKTYPE: "a hard link",
    tarfile.FIFOTYPE: "a fifo",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
}


def faults(archive: Path, manifest: Manifest) -> Iterator[str]:
    """Read the whole stream and yield every difference from the manifest.

    Raises `OSError`: the archive cannot be read.
    """
    with archive.open("rb") as file:
        reader = zstandard.ZstdDecompressor().stream_reader(file, read_size=MIB, read_across_frames=True)
        try:
            yield from _differences(_CountingStream(reader), manifest)
        except zstandard.ZstdError as error:
            yield f"the archive cannot be decompressed ({error})"
        except tarfile.TarError as error:
            yield f"the archive is not a tar stream ({error})"


def _differences(stream: _CountingStream, manifest: Manifest) -> Iterator[str]:
    wanted: dict[str, File | None] = {file.path: file for file in manifest.files}
    wanted.update(dict.fromkeys(manifest.all_directories()))
    end = 0
    with tarfile.open(fileobj=cast("IO[bytes]", stream), mode="r|", bufsize=MIB, encoding="utf-8") as tar:
        for member in tar:
            end = member.offset_data + padded(member.size if member.isreg() else 0)
            if member.name not in wanted:
                yield f"{member.name!r} is in the archive, but not in the manifest (or only once)"
            elif fault := _member_fault(tar, member, wanted.pop(member.name)):
                yield f"{member.name}: {fault}"
    yield from (f"{path}: not in the archive" for path in wanted)
    yield from stream.end_faults(end)


def _member_fault(tar: tarfile.TarFile, member: tarfile.TarInfo, file: File | None) -> str | None:
    kinds = (tarfile.DIRTYPE,) if file is None else (tarfile.REGTYPE, tarfile.AREGTYPE)
    if member.type not in kinds:
        found = _KINDS.get(member.type, "a file" if member.isreg() else "a directory")
        return f"the archive has {found} there, the manifest a {'directory' if file is None else 'file'}"
    wanted_mode = DIRECTORY_MODE if file is None else mode(file)
    if member.mode != wanted_mode:
        return f"its mode is {member.mode:04o} in the archive, {wanted_mode:04o} by the manifest"
    return _content_fault(tar, member, file) if file else None


def _content_fault(tar: tarfile.TarFile, member: tarfile.TarInfo, file: File) -> str | None:
    if member.size != file.size:
        return f"it has {member.size} bytes in the archive, {file.size} by the manifest"
    content = tar.extractfile(member)
    digest = hashlib.sha256()
    while content and (data := content.read(MIB)):
        digest.update(data)
    return None if digest_text(digest) == file.digest else "its SHA-256 in the archive differs"


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _CountingStream:
    """Count the bytes read and keep the last ones, because `tarfile` does not check how a stream ends."""

    def __init__(self, reader: _Readable) -> None:
        self._reader = reader
        self._total = 0
        self._tail = b""

    def read(self, size: int) -> bytes:
        data = self._reader.read(size)
        self._total += len(data)
        self._tail = (self._tail + data[-tarfile.RECORDSIZE :])[-tarfile.RECORDSIZE :]
        return data

    def end_faults(self, end: int) -> Iterator[str]:
        """Yield a fault unless only the end of a tar stream follows `end`, the end of the last entry."""
        while self.read(MIB):
            pass
        rest = self._total - end
        if rest < len(END):
            yield "the tar stream ends early"
        elif rest > tarfile.RECORDSIZE or any(self._tail[-rest:]):
            yield "there is data after the end of the tar stream"
