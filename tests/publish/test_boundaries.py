"""Chunk boundaries: the same content gives the same chunks, and few chunks change with it."""

from __future__ import annotations

import hashlib
import random
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models_init.formats.manifest import CHUNK_LIMIT, MIB
from models_init.publish.pack.boundaries import chunk_sizes, size_limits
from models_init.publish.pack.boundary_hash import BEFORE, find
from tests.publish.packs import KIB, pack, sha256

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from models_init.publish.pack.boundary_hash import BoundaryCandidates

SMALL = 16 * KIB
"""An average chunk size with which a file of half a MiB has many chunks."""


def noise(seed: int, size: int) -> bytes:
    """Return random bytes."""
    return random.Random(seed).randbytes(size)


def candidates(data: bytes, block: int) -> Iterator[BoundaryCandidates]:
    """Yield the boundary candidates of a file that is searched in blocks of this size."""
    for start in range(0, len(data), block):
        before = min(BEFORE, start)
        yield find(data[start - before : start + block], start, before)


def chunks_of(data: bytes, average: int = SMALL, block: int = MIB) -> list[bytes]:
    """Return the chunks of a file."""
    ends = list(accumulate(chunk_sizes(len(data), average, candidates(data, block)), initial=0))
    return [data[start:end] for start, end in pairwise(ends)]


def changed_bytes(data: bytes, old: bytes, average: int = SMALL) -> int:
    """Return the number of bytes in chunks that the old file does not have."""
    had = set(chunks_of(old, average))
    return sum(len(chunk) for chunk in chunks_of(data, average) if chunk not in had)


# --- reproducibility ---


def test_boundaries_match_the_recorded_ones() -> None:
    """Every version of Python and numpy and every platform must find the same boundaries."""
    wanted = [103704, 25154, 119192, 396505, 633541, 1537339, 1156963, 786124, 682728, 1439150, 1244961, 263247]
    assert [len(chunk) for chunk in chunks_of(noise(1, 8 * MIB), MIB)] == wanted
    content = b"".join(f"{number}: {hashlib.md5(b'%d' % number).hexdigest()}\n".encode() for number in range(20_000))
    wanted = [2209, 6158, 8182, 28103, 32448, 95423, 21314, 107114, 31024, 112424, 18813, 39449, 94146, 50725, 102252]
    assert [len(chunk) for chunk in chunks_of(content, 64 * KIB)] == [*wanted, 39106]


@given(seed=st.integers(0, 1000), size=st.integers(0, 300_000), block=st.integers(1000, 400_000))
@settings(deadline=None)
def test_boundaries_do_not_depend_on_block_size(seed: int, size: int, block: int) -> None:
    data = noise(seed, size)
    assert chunks_of(data, block=block) == chunks_of(data)


# --- sizes ---


@given(
    data=st.builds(noise, st.integers(0, 1000), st.integers(0, 200_000))
    | st.binary(min_size=1).map(lambda b: b * 5000),
    average=st.integers(4 * KIB, 64 * KIB),
)
@settings(deadline=None)
def test_chunks_cover_file_and_respect_size_limits(data: bytes, average: int) -> None:
    chunks = chunks_of(data, average)
    assert b"".join(chunks) == data
    assert all(chunks)
    for number, chunk in enumerate(chunks[:-1]):
        least, most = size_limits(number, average)
        assert least <= len(chunk) <= most <= average * 7 // 4
    assert all(len(chunk) <= average * 7 // 4 for chunk in chunks)


@pytest.mark.parametrize("size", [4 * KIB, 4 * KIB + 1, MIB, CHUNK_LIMIT])
def test_no_chunk_exceeds_limit_of_format(tmp_path: Path, size: int) -> None:
    """The limit applies even if no position is a candidate."""
    directory = pack(tmp_path, {"zeros": bytes(9 * MIB + 5), "noise": noise(2, 9 * MIB + 5)}, chunk_size=size, level=1)
    for file in directory.parsed().files:
        chunks = [chunk.size for chunk in file.chunks]
        assert sum(chunks) == 9 * MIB + 5
        assert max(chunks) <= min(size * 7 // 4, CHUNK_LIMIT)


def test_average_chunk_size_is_as_requested() -> None:
    chunks = chunks_of(noise(3, 4 * MIB))
    assert 0.9 * SMALL < 4 * MIB / len(chunks) < 1.2 * SMALL


def test_chunk_sizes_grow_from_front() -> None:
    """Headers are at the front and change most often."""
    chunks = chunks_of(noise(4, 8 * MIB), MIB)
    assert len(chunks[0]) <= 112 * KIB
    assert size_limits(0, MIB) == (16 * KIB, 112 * KIB)
    assert [size_limits(number, MIB)[1] // (28 * KIB) for number in (1, 2, 3, 4, 5, 6, 99)] == [
        4,
        8,
        16,
        32,
        64,
        64,
        64,
    ]


@pytest.mark.parametrize("size", [1, 4 * KIB, SMALL])
def test_file_up_to_average_size_is_one_chunk(size: int) -> None:
    assert [len(chunk) for chunk in chunks_of(noise(5, size))] == [size]


@pytest.mark.parametrize("pattern", [b"\0", b"\xff", b"\x00\x00\x80\x3f", b"0.000 ", bytes(range(256))])
def test_repeated_pattern_gives_chunks_of_maximum_size(pattern: bytes) -> None:
    """No position is better than another, so there are few chunks, which repeat."""
    chunks = chunks_of(pattern * (2 * MIB // len(pattern)))
    assert [len(chunk) for chunk in chunks[8:-1]] == [SMALL * 7 // 4] * (len(chunks) - 9)


# --- changes ---


@given(seed=st.integers(0, 10_000), count=st.integers(1, 200))
@settings(deadline=None)
def test_insertion_at_front_affects_small_chunks(seed: int, count: int) -> None:
    """In 3000 insertions, the mean was a quarter of a chunk and the maximum four chunks."""
    old = noise(seed, 40 * SMALL)
    assert changed_bytes(noise(seed + 1, count) + old, old) <= count + 10 * SMALL


@given(
    seed=st.integers(0, 10_000), at=st.integers(0, 60 * SMALL), count=st.integers(0, 5000), removed=st.integers(0, 5000)
)
@settings(deadline=None)
def test_change_anywhere_affects_few_chunks(seed: int, at: int, count: int, removed: int) -> None:
    """In 3000 random changes, the mean was 1.4 chunks and the maximum seven."""
    old = noise(seed, 60 * SMALL)
    new = old[:at] + noise(seed + 1, count) + old[at + removed :]
    assert changed_bytes(new, old) <= count + 16 * SMALL


@given(seed=st.integers(0, 10_000), size=st.integers(0, 10 * SMALL), count=st.integers(1, 5000))
@settings(deadline=None)
def test_appending_affects_only_end_of_file(seed: int, size: int, count: int) -> None:
    old = noise(seed, size)
    assert changed_bytes(old + noise(seed + 1, count), old) <= count + SMALL * 7 // 4


def test_single_byte_changes_affect_at_most_1_6_chunks_on_average() -> None:
    old, chance = noise(6, 100 * SMALL), random.Random(6)
    cost = 0
    for _ in range(100):
        new = bytearray(old)
        new[chance.randrange(len(old))] ^= 1
        cost += changed_bytes(bytes(new), old)
    assert cost <= 160 * SMALL


def test_files_with_same_content_share_chunks(tmp_path: Path) -> None:
    content = noise(7, 6 * MIB)
    directory = pack(tmp_path, {"a": content, "b": content[3 * MIB + 5 :]}, level=1, chunk_size=64 * KIB)
    one, other = ({chunk.digest: chunk.size for chunk in file.chunks} for file in directory.parsed().files)
    assert sum(other[digest] for digest in one.keys() & other.keys()) > 2.5 * MIB
    assert directory.parsed().files[0].digest == sha256(content)
