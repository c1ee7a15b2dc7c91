"""Fuzz the archive reader: any bytes are read as tarfile reads them, or are rejected, within the limits."""

from __future__ import annotations

import gzip
import io
import random
import tarfile
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING

import zstandard

from models_init.archive.decompress import opened
from models_init.archive.errors import BadArchiveError
from models_init.archive.tar_reader import Limits, read
from models_init.formats.paths import check_path
from tests.fuzz import check_message

if TYPE_CHECKING:
    from collections.abc import Callable

LARGEST = 32 << 10
"""Maximum size of an input in bytes."""

_LIMITS = Limits(size=1 << 20, entries=200)
_STREAM_LIMIT = 8 << 20  # bytes of a tar stream: 200 entries, their padding, extended headers, zeros at the end
_BLOCK = 512
_SUM = slice(148, 156)

Entries = list[tuple[str, bytes | None]]


def check(data: bytes) -> None:
    """Read the input; fail if the reader breaks one of its guarantees."""
    try:
        found = _entries(data)
    except BadArchiveError as error:
        check_message(error)
        return
    theirs = _independently(_stream(data))
    assert found[: len(theirs)] == theirs, "the standard library reads other entries"


def _entries(data: bytes) -> Entries:
    found: Entries = []
    total = 0
    for entry in read(io.BytesIO(data), _LIMITS):
        check_path(entry.path)
        content = b"".join(entry.content)
        total += len(content)
        assert len(content) == entry.size, "the content has another size than announced"
        assert total <= _LIMITS.size, "the limit is exceeded"
        assert not (entry.is_directory and content)
        found.append((entry.path, None if entry.is_directory else content))
    assert len({path for path, _ in found}) == len(found) <= _LIMITS.entries, "a path occurs twice"
    return found


def _stream(data: bytes) -> bytes:
    source, stream = opened(io.BytesIO(data)), b""
    while piece := source.read(1 << 20):
        stream += piece
        assert len(stream) <= _STREAM_LIMIT, "an accepted stream exceeds the limit"
    return stream


def _independently(stream: bytes) -> Entries:
    """Return the entries that tarfile reads; it ends at an entry whose owner is not a number."""
    found: Entries = []
    with (
        suppress(tarfile.ReadError),
        tarfile.open(fileobj=io.BytesIO(stream), mode="r:", encoding="utf-8", errors="surrogateescape") as tar,
    ):
        for member in tar:
            content = tar.extractfile(member)
            assert member.isdir() or content, "an entry is neither file nor directory"
            path = member.name.removeprefix("./")
            if path != ".":
                found.append((path, content.read() if content else None))
    return found


def mutate(data: bytes, seed: int) -> bytes | None:
    """Change the tar stream inside its compression; header checksums are usually corrected."""
    chance = random.Random(seed)
    stream, pack = _unpacked(data)
    if stream is None or len(stream) < _BLOCK:
        return None
    changed = bytearray(stream)
    for _ in range(chance.randint(1, 4)):
        _change(changed, chance)
    if chance.random() < 0.95:
        _correct_checksums(changed)
    return pack(bytes(changed))


def _unpacked(data: bytes) -> tuple[bytes | None, Callable[[bytes], bytes]]:
    """Return the tar stream or None, and the function that compresses it again."""
    try:
        if data[:2] == b"\x1f\x8b":
            return gzip.decompress(data)[: 4 * LARGEST], gzip.compress
        if data[:4] == b"\x28\xb5\x2f\xfd":
            reader = zstandard.ZstdDecompressor(max_window_size=1 << 20).stream_reader(data, read_across_frames=True)
            return reader.read(4 * LARGEST), zstandard.compress
    except (OSError, EOFError, ValueError, zlib.error, zstandard.ZstdError):
        return None, bytes
    return data, bytes


_FIELDS = ((0, 100), (100, 8), (124, 12), (156, 1), (257, 8), (345, 155))  # name, mode, size, kind, magic, prefix
_BITS: tuple[bytes, ...] = (
    b"../",
    b"/",
    b"./",
    b"a/",
    b"\0",
    b"..",
    b"\xff",
    b"00000000777",
    b"\x80\0\0\0\0\0\0\0\0\0\2\0",
    b"ustar\x0000",
)
_BITS += (b"ustar  \0", b"12 path=a/b\n", b"10 size=1\n", b"25 GNU.sparse.realsize=9\n", b"14 linkpath=a\n")


def _change(stream: bytearray, chance: random.Random) -> None:
    block = chance.randrange(max(1, len(stream) // _BLOCK)) * _BLOCK
    match chance.randrange(7):
        case 0:  # duplicate a block
            stream[block:block] = stream[block : block + _BLOCK]
        case 1:
            del stream[block : block + _BLOCK]
        case 2:  # change the type of an entry
            stream[block + 156 : block + 157] = bytes([chance.choice(b"0057LxgK1234SDVNX\0")])
        case 3:
            start, length = chance.choice(_FIELDS)
            part = chance.choice(_BITS)[:length]
            stream[block + start : block + start + len(part)] = part
        case 4:
            stream[block + 124 : block + 136] = b"%011o\0" % chance.choice((0, 1, 511, 512, 513, 1 << 20, 1 << 33))
        case 5:  # change the content of extended headers
            part = chance.choice(_BITS)
            stream[block : block + len(part)] = part
        case _:
            if stream:
                stream[chance.randrange(len(stream))] = chance.randrange(256)


def _correct_checksums(stream: bytearray) -> None:
    for start in range(0, len(stream) - _BLOCK + 1, _BLOCK):
        block = stream[start : start + _BLOCK]
        if block[257:262] == b"ustar":
            block[_SUM] = b" " * 8
            stream[start + 148 : start + 156] = b"%06o\0 " % sum(block)
