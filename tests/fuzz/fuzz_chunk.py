"""Fuzz the chunk reader: any bytes are a complete, correct frame or are rejected, in bounded memory.

The first three bytes of an input are the chunk's size in the manifest; the rest is the frame.
"""

from __future__ import annotations

import random

import zstandard

from models_init.archive.errors import BadArchiveError
from models_init.archive.zstd_frames import FrameParser
from models_init.core.digests import digest_of
from models_init.formats.manifest import CHUNK_LIMIT, Chunk
from models_init.transfer.chunk_io import WrongChunkError, plain
from tests.fuzz import check_message

LARGEST = 64 << 10
"""Maximum size of an input in bytes."""

_MAGIC = b"\x28\xb5\x2f\xfd"


def check(data: bytes) -> None:
    """Read the input; fail if the reader breaks one of its guarantees."""
    size, frame = 1 + int.from_bytes(data[:3], "little") % CHUNK_LIMIT, data[3:]
    if not frame:
        return
    content, is_whole = _independently(frame, size), _is_whole(frame)
    chunk = Chunk(0, len(frame), size, digest_of(content))
    try:
        found = plain(memoryview(frame), chunk)
    except WrongChunkError as error:
        check_message(error)
        assert frame != zstandard.compress(content) or len(content) != size, "a correct frame is rejected"
        return
    assert is_whole, "an incomplete frame is accepted"
    assert len(found) == size, "the content has another size than declared"
    assert bytes(found) == content, "the content differs"


def _independently(frame: bytes, size: int) -> bytes:
    """Decompress the frame in another way, at most one byte more than `size`."""
    reader = zstandard.ZstdDecompressor(max_window_size=2 * CHUNK_LIMIT).stream_reader(frame, read_across_frames=True)
    try:
        return reader.read(size + 1)
    except zstandard.ZstdError:
        return b""


def _is_whole(frame: bytes) -> bool:
    """Parse the headers of frames and blocks; this also guides the fuzzer, which cannot see into the C library."""
    parser = FrameParser()
    try:
        parser.feed(frame)
        parser.end()
    except BadArchiveError:
        return False
    return True


def mutate(data: bytes, seed: int) -> bytes | None:
    """Change the frame header, block headers, the end of the frame, or the size in the manifest."""
    chance = random.Random(seed)
    if len(data) < 16:
        content = bytes(chance.randrange(4) for _ in range(chance.randrange(1, 400)))
        return (len(content) - 1).to_bytes(3, "little") + zstandard.compress(content, chance.choice((1, 3, 19)))
    changed = bytearray(data)
    match chance.randrange(7):
        case 0:  # change the frame descriptor
            changed[7] ^= 1 << chance.randrange(8)
        case 1:  # change window, dictionary or content size
            changed[chance.randrange(8, 16)] = chance.randrange(256)
        case 2:
            return None
        case 3:
            changed += chance.choice((_MAGIC, b"\x50\x2a\x4d\x18\0\0\0\0", zstandard.compress(b""), b"\0"))
        case 4:
            del changed[-chance.randrange(1, 8) :]
        case 5:  # insert a block that repeats one byte
            at = chance.randrange(8, len(changed))
            changed[at:at] = (chance.randrange(1 << 17) << 3 | 2 | chance.randrange(2)).to_bytes(3, "little") + b"\0"
        case _:
            changed[chance.randrange(3)] ^= 1 << chance.randrange(8)
    return bytes(changed)
