"""Build archives for tests with `tarfile`, or block by block if no tool writes such an archive."""

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
"""The field of a manifest that states neither the size nor the number of entries."""

SUFFIXES: dict[str, Callable[[bytes], bytes]] = {
    "tar": lambda stream: stream,
    "tar.gz": lambda stream: gzip.compress(stream, 1, mtime=0),
    "tar.zst": zstandard.compress,
}
"""Functions that compress a tar stream, by the suffix of the archive's name."""


def block(name: bytes, size: bytes | int = 0, kind: bytes = b"0", mode: int = 0o644, magic: bytes = POSIX) -> bytes:
    """Return a header block with a valid checksum; a `size` in bytes is used as the raw field."""
    field = b"%011o\0" % size if isinstance(size, int) else size
    head = bytearray(name.ljust(100, b"\0")[:100] + b"%07o\0" % mode + bytes(16) + field.ljust(12, b"\0") + bytes(12))
    head += b" " * 8 + kind + bytes(100) + magic
    head += bytes(BLOCK - len(head))
    return summed(head)


def summed(head: bytearray | bytes) -> bytes:
    """Return the block with a valid checksum."""
    fresh = bytearray(head)
    fresh[148:156] = b" " * 8
    fresh[148:156] = b"%06o\0 " % sum(fresh)
    return bytes(fresh)


def padded(data: bytes) -> bytes:
    """Return the content padded to whole blocks."""
    return data + bytes(-len(data) % BLOCK)


def file(name: bytes, data: bytes = b"", **fields: object) -> bytes:
    """Return an entry with content; a regular file unless `fields` say otherwise."""
    return block(name, **{"size": len(data), **fields}) + padded(data)  # type: ignore[arg-type]  # fields of `block`


def pax(records: Mapping[bytes, bytes], kind: bytes = b"x") -> bytes:
    """Return a pax header."""
    return file(b"PaxHeaders/x", b"".join(record(key, value) for key, value in records.items()), kind=kind)


def record(key: bytes, value: bytes) -> bytes:
    """Return a pax record, which begins with its own length."""
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest)
    while len(b"%d" % length) + len(rest) != length:
        length = len(b"%d" % length) + len(rest)
    return b"%d" % length + rest


def long_name(name: bytes) -> bytes:
    """Return a GNU long name."""
    return file(b"././@LongLink", name + b"\0", kind=b"L", magic=GNU)


def packed(directory: Path, form: int = tarfile.GNU_FORMAT, top: str = ".") -> bytes:
    """Return the tar stream of a directory, as `tar -C directory -c .` writes it."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as tar:
        tar.add(directory, top)
    return stream.getvalue()


def described(archive: bytes, name: str, ref: PackRef, plain: OpaqueArchive) -> Manifest:
    """Return the published manifest of an archive."""
    digest = f"sha256:{hashlib.sha256(archive).hexdigest()}"
    return Manifest(SCHEMA, *ref, Archive(name, len(archive), digest), (), plain=plain)


def publish(
    directory: Path, archive: bytes, ref: PackRef, name: str = "pack.tar.zst", plain: OpaqueArchive = SILENT
) -> Manifest:
    """Write archive and manifest to their places in a source; return the manifest."""
    manifest = described(archive, name, ref, plain)
    place = directory / ref.name / ref.version
    place.mkdir(parents=True, exist_ok=True)
    (place / name).write_bytes(archive)
    (place / "manifest.json").write_bytes(encode(manifest))
    return manifest
