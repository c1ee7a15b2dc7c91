"""Archives that differ from their manifest."""

from __future__ import annotations

import gzip
import os
import struct
from typing import TYPE_CHECKING

import zstandard

from tests.hostile.case import ARCHIVE, FILES, HostileCase, HostileSetup, digest, honest, publish, put

if TYPE_CHECKING:
    from collections.abc import Callable

_PLAIN = b"aap noot mies\n" * 1000
_FRAME = zstandard.compress(_PLAIN)
_MAGIC = b"\x28\xb5\x2f\xfd"
_SKIPPABLE = b"\x50\x2a\x4d\x18" + struct.pack("<I", 4) + b"abcd"
_SINGLE_SEGMENT, _SIZE_OF_4, _DICTIONARY_OF_4 = 0x20, 0x80, 0x03
_RLE = 1
_BLOCK = 128 << 10


def _holding(frame: bytes, plain: bytes = _PLAIN) -> Callable[[HostileSetup], None]:
    """Add a file with this frame; the manifest describes everything correctly except the content of the frame."""

    def prepare(setup: HostileSetup) -> None:
        document, archive = honest()
        chunk = {"offset": len(archive), "length": len(frame), "size": len(plain), "digest": digest(plain)}
        document["files"].append({"path": "z", "size": len(plain), "digest": digest(plain), "chunks": [chunk]})
        archive += frame
        document["archive"] |= {"size": len(archive), "digest": digest(archive)}
        publish(setup.pack, document, archive)

    return prepare


def _head(size: int, *, window: int | None = None, dictionary: int | None = None) -> bytes:
    """Return a frame header that declares `size` bytes; see RFC 8878, 3.1.1.1."""
    flags = _SIZE_OF_4 | (0 if window is not None else _SINGLE_SEGMENT) | (_DICTIONARY_OF_4 if dictionary else 0)
    head = _MAGIC + bytes([flags])
    if window is not None:
        head += bytes([(window.bit_length() - 11) << 3])
    return head + (struct.pack("<I", dictionary) if dictionary else b"") + struct.pack("<I", size)


def _repeated(size: int, *, last: bool = True) -> bytes:
    """Return blocks that repeat a zero: four bytes for 128 KiB."""
    whole, rest = divmod(size, _BLOCK)
    sizes = [_BLOCK] * whole + [rest] * (rest > 0)
    blocks = [_block(_RLE, length, last=last and at == len(sizes) - 1) for at, length in enumerate(sizes)]
    return b"".join(block + b"\0" for block in blocks)


def _block(kind: int, size: int, *, last: bool) -> bytes:
    return ((size << 3) | (kind << 1) | last).to_bytes(3, "little")


def _checksummed(frame: bytes) -> bytes:
    return frame[:-1] + bytes([frame[-1] ^ 1])


def _cut(size: int) -> Callable[[HostileSetup], None]:
    return lambda setup: os.truncate(setup.pack / ARCHIVE, size)


def _archive_is(place: str) -> Callable[[HostileSetup], None]:
    def prepare(setup: HostileSetup) -> None:
        path = setup.pack / ARCHIVE
        path.unlink()
        put(path, place)

    return prepare


def _zeros(setup: HostileSetup) -> None:
    path = setup.pack / ARCHIVE
    path.write_bytes(bytes(path.stat().st_size))


def _another_archive(setup: HostileSetup) -> None:
    """Replace the bytes of every chunk."""
    document, _ = honest()
    other, archive = honest({path: [bytes(len(chunk)) for chunk in chunks] for path, chunks in FILES.items()})
    for file, its in zip(document["files"], other["files"], strict=True):
        for chunk, its_chunk in zip(file["chunks"], its["chunks"], strict=True):
            chunk |= {"offset": its_chunk["offset"], "length": its_chunk["length"]}
    publish(setup.pack, document, archive)


_NOT_ONE = "it is not exactly one whole zstd frame: "


def _frame(name: str, words: str, frame: bytes, plain: bytes = _PLAIN) -> HostileCase:
    return HostileCase(name, words, _holding(frame, plain), code=30)


CASES = [
    _frame(
        "a gibibyte in a frame that says so",
        "its frame has 1073741824 bytes, not 14000",
        _head(1 << 30) + _repeated(1 << 30),
    ),
    _frame(
        "a gibibyte in a frame that denies it",
        _NOT_ONE + "decompression error: Destination buffer",
        _head(14_000) + _repeated(1 << 30),
    ),
    _frame("less than the frame says", "Data corruption", _head(14_000) + _repeated(13_000)),
    _frame(
        "a frame that does not tell its size",
        "does not declare the size of its content",
        zstandard.ZstdCompressor(write_content_size=False).compress(_PLAIN),
    ),
    _frame(
        "a window of two gibibytes",
        "requires a window of 2147483648 bytes",
        _head(14_000, window=1 << 31) + _repeated(14_000),
    ),
    _frame("a dictionary", "requires the dictionary 666", _head(14_000, dictionary=666) + _repeated(14_000)),
    _frame("a frame that is to be skipped", "does not begin with a zstd frame", _SKIPPABLE + _FRAME),
    _frame("a frame that is to be skipped behind the chunk's", "of unused data", _FRAME + _SKIPPABLE),
    _frame("two frames for one chunk", "of unused data", zstandard.compress(_PLAIN) + zstandard.compress(b"more")),
    _frame("something behind the frame", "of unused data", _FRAME + b"\0\0\0"),
    _frame("a frame without its end", "did not decompress full frame", _FRAME[:-1]),
    _frame(
        "a frame whose last block is missing",
        "did not decompress full frame",
        _head(14_000) + _repeated(14_000, last=False),
    ),
    _frame("a block of a kind that is none", "Data corruption", _head(14_000) + _block(3, 10, last=True) + bytes(10)),
    _frame("a head and nothing else", "did not decompress full frame", _head(14_000)),
    _frame("four bytes", "its frame header cannot be read", _MAGIC),
    _frame("another chunk's bytes", "its SHA-256 differs", zstandard.compress(_PLAIN[::-1])),
    _frame(
        "a checksum that does not fit",
        "doesn't match checksum",
        _checksummed(zstandard.ZstdCompressor(write_checksum=True).compress(_PLAIN)),
    ),
    _frame("gzip inside", "does not begin with a zstd frame", gzip.compress(_PLAIN)),
    _frame("a frame of an old zstd", "does not begin with a zstd frame", b"\x27\xb5\x2f\xfd" + _FRAME[4:]),
    _frame("plain bytes", "does not begin with a zstd frame", _PLAIN),
    HostileCase("an archive of zeros", "does not begin with a zstd frame", _zeros, code=30),
    HostileCase("an archive with other bytes throughout", "its SHA-256 differs", _another_archive, code=30),
    HostileCase("an archive of 100 bytes", "has 100 bytes,", _cut(100), code=20),
    HostileCase("an empty archive", "has 0 bytes,", _cut(0), code=20),
    HostileCase("no archive", "pack.tar.zst does not exist", _archive_is("nothing"), code=21),
    HostileCase("an archive that nobody writes", "is not a regular file", _archive_is("fifo"), code=20),
    HostileCase("an archive without end", "is not a regular file", _archive_is("endless"), code=20),
]
