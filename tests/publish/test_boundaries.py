"""Where files are cut: the same bytes in the same way, and soon so again behind whatever changed."""

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
"""A size of chunks that lets a file of half a MiB have many."""


def noise(seed: int, size: int) -> bytes:
    """Bytes without any pattern."""
    return random.Random(seed).randbytes(size)


def marked(data: bytes, block: int) -> Iterator[BoundaryCandidates]:
    """The marks of a file that is looked through in blocks of that size."""
    for start in range(0, len(data), block):
        before = min(BEFORE, start)
        yield find(data[start - before : start + block], start, before)


def cut(data: bytes, average: int = SMALL, block: int = MIB) -> list[bytes]:
    """The chunks of a file."""
    ends = list(accumulate(chunk_sizes(len(data), average, marked(data, block)), initial=0))
    return [data[start:end] for start, end in pairwise(ends)]


def new_in(data: bytes, old: bytes, average: int = SMALL) -> int:
    """Bytes in chunks that the old file does not have."""
    had = set(cut(old, average))
    return sum(len(chunk) for chunk in cut(data, average) if chunk not in had)


# --- the promise that the same files give the same bytes ---


def test_the_borders_are_the_same_on_every_machine() -> None:
    """These were written down: another Python, numpy, platform or version of this program must find the same ones."""
    wanted = [103704, 25154, 119192, 396505, 633541, 1537339, 1156963, 786124, 682728, 1439150, 1244961, 263247]
    assert [len(chunk) for chunk in cut(noise(1, 8 * MIB), MIB)] == wanted
    content = b"".join(f"{number}: {hashlib.md5(b'%d' % number).hexdigest()}\n".encode() for number in range(20_000))
    wanted = [2209, 6158, 8182, 28103, 32448, 95423, 21314, 107114, 31024, 112424, 18813, 39449, 94146, 50725, 102252]
    assert [len(chunk) for chunk in cut(content, 64 * KIB)] == [*wanted, 39106]


@given(seed=st.integers(0, 1000), size=st.integers(0, 300_000), block=st.integers(1000, 400_000))
@settings(deadline=None)
def test_the_pieces_in_which_a_file_is_read_do_not_matter(seed: int, size: int, block: int) -> None:
    """Whatever is looked through at once, the chunks are the same."""
    data = noise(seed, size)
    assert cut(data, block=block) == cut(data)


# --- sizes ---


@given(
    data=st.builds(noise, st.integers(0, 1000), st.integers(0, 200_000))
    | st.binary(min_size=1).map(lambda b: b * 5000),
    average=st.integers(4 * KIB, 64 * KIB),
)
@settings(deadline=None)
def test_chunks_are_the_file_and_keep_their_bounds(data: bytes, average: int) -> None:
    """In order they are the file, whatever is in it; each but the last has at least a quarter, at most 7/4."""
    chunks = cut(data, average)
    assert b"".join(chunks) == data
    assert all(chunks)
    for number, chunk in enumerate(chunks[:-1]):
        least, most = size_limits(number, average)
        assert least <= len(chunk) <= most <= average * 7 // 4
    assert all(len(chunk) <= average * 7 // 4 for chunk in chunks)


@pytest.mark.parametrize("size", [4 * KIB, 4 * KIB + 1, MIB, CHUNK_LIMIT])
def test_no_chunk_of_a_pack_is_larger_than_allowed(tmp_path: Path, size: int) -> None:
    """What is asked for is an average; 4 MiB are never passed, not even where nothing marks a border."""
    directory = pack(tmp_path, {"zeros": bytes(9 * MIB + 5), "noise": noise(2, 9 * MIB + 5)}, chunk_size=size, level=1)
    for file in directory.parsed().files:
        chunks = [chunk.size for chunk in file.chunks]
        assert sum(chunks) == 9 * MIB + 5
        assert max(chunks) <= min(size * 7 // 4, CHUNK_LIMIT)


def test_chunks_behind_the_front_have_the_wanted_size() -> None:
    """On average about what was asked for, so that the manifest has as many as one would reckon."""
    chunks = cut(noise(3, 4 * MIB))
    assert 0.9 * SMALL < 4 * MIB / len(chunks) < 1.2 * SMALL


def test_chunks_at_the_front_are_small_and_grow() -> None:
    """The first has about a 16th of what was asked for: headers lie there, and change most."""
    chunks = cut(noise(4, 8 * MIB), MIB)
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
def test_a_small_file_is_one_chunk(size: int) -> None:
    """What is no larger than a chunk is not cut."""
    assert [len(chunk) for chunk in cut(noise(5, size))] == [size]


@pytest.mark.parametrize("pattern", [b"\0", b"\xff", b"\x00\x00\x80\x3f", b"0.000 ", bytes(range(256))])
def test_a_run_of_one_pattern_is_cut_at_the_largest_size(pattern: bytes) -> None:
    """Where every place is as good as the next there are few chunks, and the same ones again."""
    chunks = cut(pattern * (2 * MIB // len(pattern)))
    assert [len(chunk) for chunk in chunks[8:-1]] == [SMALL * 7 // 4] * (len(chunks) - 9)


# --- what a change costs ---


@given(seed=st.integers(0, 10_000), count=st.integers(1, 200))
@settings(deadline=None)
def test_an_insertion_at_the_front_costs_small_chunks(seed: int, count: int) -> None:
    """Of 3000 insertions the mean cost a quarter of a chunk (where the front has quarters), the worst four."""
    old = noise(seed, 40 * SMALL)
    assert new_in(noise(seed + 1, count) + old, old) <= count + 10 * SMALL


@given(
    seed=st.integers(0, 10_000), at=st.integers(0, 60 * SMALL), count=st.integers(0, 5000), cut_out=st.integers(0, 5000)
)
@settings(deadline=None)
def test_a_change_anywhere_costs_a_few_chunks(seed: int, at: int, count: int, cut_out: int) -> None:
    """Bytes put in, taken out or replaced: of 3000 such changes the mean cost 1.4 chunks, the worst seven."""
    old = noise(seed, 60 * SMALL)
    new = old[:at] + noise(seed + 1, count) + old[at + cut_out :]
    assert new_in(new, old) <= count + 16 * SMALL


@given(seed=st.integers(0, 10_000), size=st.integers(0, 10 * SMALL), count=st.integers(1, 5000))
@settings(deadline=None)
def test_what_is_appended_costs_the_end(seed: int, size: int, count: int) -> None:
    """All chunks but those that end in the last one and three quarters stay."""
    old = noise(seed, size)
    assert new_in(old + noise(seed + 1, count), old) <= count + SMALL * 7 // 4


def test_on_average_a_change_costs_little_more_than_its_chunk() -> None:
    """Of a hundred changes of one byte, all together cost no more than 1.6 chunks each."""
    old, chance = noise(6, 100 * SMALL), random.Random(6)
    cost = 0
    for _ in range(100):
        new = bytearray(old)
        new[chance.randrange(len(old))] ^= 1
        cost += new_in(bytes(new), old)
    assert cost <= 160 * SMALL


def test_the_same_bytes_in_another_file_are_found(tmp_path: Path) -> None:
    """Half of a file that became a file of its own shares the chunks behind its own front."""
    content = noise(7, 6 * MIB)
    directory = pack(tmp_path, {"a": content, "b": content[3 * MIB + 5 :]}, level=1, chunk_size=64 * KIB)
    one, other = ({chunk.digest: chunk.size for chunk in file.chunks} for file in directory.parsed().files)
    assert sum(other[digest] for digest in one.keys() & other.keys()) > 2.5 * MIB
    assert directory.parsed().files[0].digest == sha256(content)
