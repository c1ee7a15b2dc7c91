"""Any bytes are a chunk's frame, whole and right, or refused; never more memory than the chunk's size.

The first three bytes say how many bytes the chunk has by its manifest; the rest is the frame.
"""

from __future__ import annotations

import random

import zstandard

from models_init.archive.errors import BadArchiveError
from models_init.archive.zstd_frames import FrameParser
from models_init.formats.manifest import CHUNK_LIMIT, Chunk
from models_init.transfer.chunk_io import WrongChunkError, digest_of, plain
from tests.fuzz import judge_complaint

LARGEST = 64 << 10
"""Bytes of an input, at most."""

_MAGIC = b"\x28\xb5\x2f\xfd"


def check(data: bytes) -> None:
    """Read it; fail where the reader breaks a promise."""
    size, frame = 1 + int.from_bytes(data[:3], "little") % CHUNK_LIMIT, data[3:]
    if not frame:
        return
    content, is_whole = _independently(frame, size), _is_whole(frame)
    chunk = Chunk(0, len(frame), size, digest_of(content))
    try:
        found = plain(memoryview(frame), chunk)
    except WrongChunkError as error:
        judge_complaint(error)
        assert frame != zstandard.compress(content) or len(content) != size, "an honest frame is taken"
        return
    assert is_whole, "a frame to its end, by its headers"
    assert len(found) == size, "no byte more or less than declared"
    assert bytes(found) == content, "no other bytes"


def _independently(frame: bytes, size: int) -> bytes:
    """Decompress the same in another way, and no further than one byte more than there ought to be."""
    reader = zstandard.ZstdDecompressor(max_window_size=2 * CHUNK_LIMIT).stream_reader(frame, read_across_frames=True)
    try:
        return reader.read(size + 1)
    except zstandard.ZstdError:
        return b""


def _is_whole(frame: bytes) -> bool:
    """Follow the headers of frames and blocks; that also leads the fuzzer, which sees nothing of the library."""
    walk = FrameParser()
    try:
        walk.feed(frame)
        walk.end()
    except BadArchiveError:
        return False
    return True


def mutate(data: bytes, seed: int) -> bytes | None:
    """Change the head of the frame, its blocks' headers, its end, or what the manifest says of it."""
    chance = random.Random(seed)
    if len(data) < 16:
        content = bytes(chance.randrange(4) for _ in range(chance.randrange(1, 400)))
        return (len(content) - 1).to_bytes(3, "little") + zstandard.compress(content, chance.choice((1, 3, 19)))
    changed = bytearray(data)
    match chance.randrange(7):
        case 0:  # the frame's descriptor
            changed[7] ^= 1 << chance.randrange(8)
        case 1:  # what follows it: window, dictionary, content's size
            changed[chance.randrange(8, 16)] = chance.randrange(256)
        case 2:
            return None
        case 3:
            changed += chance.choice((_MAGIC, b"\x50\x2a\x4d\x18\0\0\0\0", zstandard.compress(b""), b"\0"))
        case 4:
            del changed[-chance.randrange(1, 8) :]
        case 5:  # a block that repeats one byte
            at = chance.randrange(8, len(changed))
            changed[at:at] = (chance.randrange(1 << 17) << 3 | 2 | chance.randrange(2)).to_bytes(3, "little") + b"\0"
        case _:
            changed[chance.randrange(3)] ^= 1 << chance.randrange(8)
    return bytes(changed)
