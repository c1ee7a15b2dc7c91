"""Archives for tests: packed by Python's own tools, or block by block as nobody's tool would."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from typing import TYPE_CHECKING

import zstandard

from models_init.formats.manifest import SCHEMA, Archive, Manifest, OpaqueArchive, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from models_init.core.pack_ref import PackRef

BLOCK = 512
END = bytes(2 * BLOCK)
GNU, POSIX, OLD = b"ustar  \0", b"ustar\x0000", bytes(8)

SILENT = OpaqueArchive()
"""What a publisher says who does not say how much is in it."""

SUFFIXES: dict[str, Callable[[bytes], bytes]] = {
    "tar": lambda stream: stream,
    "tar.gz": lambda stream: gzip.compress(stream, 1, mtime=0),
    "tar.zst": zstandard.compress,
}
"""How a tar stream becomes an archive, by the suffix of its name."""


def block(name: bytes, size: bytes | int = 0, kind: bytes = b"0", mode: int = 0o644, magic: bytes = POSIX) -> bytes:
    """A header block with a right checksum; a size as bytes stands there as it is."""
    field = b"%011o\0" % size if isinstance(size, int) else size
    head = bytearray(name.ljust(100, b"\0")[:100] + b"%07o\0" % mode + bytes(16) + field.ljust(12, b"\0") + bytes(12))
    head += b" " * 8 + kind + bytes(100) + magic
    head += bytes(BLOCK - len(head))
    return summed(head)


def summed(head: bytearray | bytes) -> bytes:
    """The block with the checksum that it ought to have."""
    fresh = bytearray(head)
    fresh[148:156] = b" " * 8
    fresh[148:156] = b"%06o\0 " % sum(fresh)
    return bytes(fresh)


def padded(data: bytes) -> bytes:
    """A content filled up to whole blocks."""
    return data + bytes(-len(data) % BLOCK)


def file(name: bytes, data: bytes = b"", **fields: object) -> bytes:
    """A regular file, or what claims to be one."""
    return block(name, **{"size": len(data), **fields}) + padded(data)  # type: ignore[arg-type]  # fields of `block`


def pax(records: Mapping[bytes, bytes], kind: bytes = b"x") -> bytes:
    """A pax header."""
    return file(b"PaxHeaders/x", b"".join(record(key, value) for key, value in records.items()), kind=kind)


def record(key: bytes, value: bytes) -> bytes:
    """One record of it: its own length stands before it."""
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest)
    while len(b"%d" % length) + len(rest) != length:
        length = len(b"%d" % length) + len(rest)
    return b"%d" % length + rest


def long_name(name: bytes) -> bytes:
    """A GNU long name."""
    return file(b"././@LongLink", name + b"\0", kind=b"L", magic=GNU)


def packed(directory: Path, form: int = tarfile.GNU_FORMAT, top: str = ".") -> bytes:
    """The tar stream of a directory, as `tar -C directory -c .` makes it."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as tar:
        tar.add(directory, top)
    return stream.getvalue()


def described(archive: bytes, name: str, ref: PackRef, plain: OpaqueArchive) -> Manifest:
    """The manifest that a publisher writes."""
    digest = f"sha256:{hashlib.sha256(archive).hexdigest()}"
    return Manifest(SCHEMA, *ref, Archive(name, len(archive), digest), (), plain=plain)


def publish(
    directory: Path, archive: bytes, ref: PackRef, name: str = "pack.tar.zst", plain: OpaqueArchive = SILENT
) -> Manifest:
    """Lay archive and manifest where a source has them."""
    manifest = described(archive, name, ref, plain)
    place = directory / ref.name / ref.version
    place.mkdir(parents=True, exist_ok=True)
    (place / name).write_bytes(archive)
    (place / "manifest.json").write_bytes(encode(manifest))
    return manifest
