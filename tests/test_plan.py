"""The plan contains every missing chunk once, groups neighboring chunks, and computes bytes and disk space."""

from __future__ import annotations

from dataclasses import replace
from itertools import count, pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_init.core.errors import IncompatibleError
from models_init.formats.manifest import FRAME_LIMIT, MIB, Manifest, Requirement, Resolved
from models_init.transfer.plan import BLOCK, PackSurvey, check_compatibility, make_plan
from models_init.transfer.ranges import BATCH_SIZE, GAP, SPAN_SIZE, batches, portions, spans
from models_init.transfer.reuse import ReuseSearch
from tests.manifests import manifest, manifests

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models_init.formats.manifest import Placement


@st.composite
def missing(draw: st.DrawFn) -> list[Placement]:
    """Draw some chunks of a manifest, in archive order."""
    placements = list(draw(manifests()).placements())
    wanted = draw(st.lists(st.booleans(), min_size=len(placements), max_size=len(placements)))
    return [placement for placement, want in zip(placements, wanted, strict=True) if want]


sizes = st.sampled_from([1, 1000, BATCH_SIZE, SPAN_SIZE])


def laid_out(*chunks: tuple[int, int]) -> list[Placement]:
    """Return chunks of the given lengths, each after the given gap."""
    found: list[Placement] = []
    end = 0
    for number, (gap, length) in enumerate(chunks):
        single = manifest({f"{number:03}": [(length, length)]}, gap=end + gap)
        found += single.placements()
        end += gap + length
    return found


@given(missing(), sizes)
def test_batches_contain_every_chunk_once(wanted: list[Placement], size: int) -> None:
    """Batches hold all chunks in order; their bounds are those of their chunks."""
    made = list(batches(wanted, size))
    assert [placement for batch in made for placement in batch.placements] == wanted
    for batch in made:
        first, last = batch.placements[0].chunk, batch.placements[-1].chunk
        assert (batch.start, batch.stop) == (first.offset, last.offset + last.length)


@given(missing(), sizes)
def test_batches_have_limited_size_and_gaps(wanted: list[Placement], size: int) -> None:
    """A batch is larger than `size` only if it is a single chunk, and contains no gap larger than GAP."""
    for batch in batches(wanted, size):
        assert batch.stop - batch.start <= size or len(batch.placements) == 1
        for before, after in pairwise(placement.chunk for placement in batch.placements):
            assert after.offset - (before.offset + before.length) <= GAP


@given(missing(), sizes)
def test_batches_are_as_few_as_possible(wanted: list[Placement], size: int) -> None:
    """No two neighboring batches could be merged."""
    for before, after in pairwise(batches(wanted, size)):
        first = after.placements[0].chunk
        too_long = first.offset + first.length - before.start > size
        assert too_long or first.offset - before.stop > GAP


@given(missing(), sizes)
def test_spans_contain_every_chunk_once(wanted: list[Placement], size: int) -> None:
    """Spans hold all chunks in order, never overlap, and begin and end with a wanted byte."""
    made = list(spans(wanted, size))
    assert [placement for span in made for batch in span.batches for placement in batch.placements] == wanted
    for span in made:
        assert (span.start, span.stop) == (span.batches[0].start, span.batches[-1].stop)
    assert all(before.stop <= after.start for before, after in pairwise(made))


@given(missing(), sizes)
def test_spans_have_limited_size(wanted: list[Placement], size: int) -> None:
    """A span is larger than `size` only if it is a single batch, so that the memory for a span is limited."""
    for span in spans(wanted, size):
        assert span.stop - span.start <= max(size, BATCH_SIZE) or len(span.batches) == 1
        assert span.stop - span.start <= max(size, BATCH_SIZE, FRAME_LIMIT)
        for before, after in pairwise(span.batches):
            assert after.start - before.stop <= GAP


@pytest.mark.parametrize(("gap", "pieces"), [(0, 1), (GAP, 1), (GAP + 1, 2)])
def test_large_gap_splits_span(gap: int, pieces: int) -> None:
    """Bytes between two wanted chunks are fetched and dropped up to GAP; beyond that they are skipped."""
    wanted = laid_out((0, 100), (gap, 100))
    assert len(list(batches(wanted))) == len(list(spans(wanted))) == pieces


def test_large_file_is_split_into_spans_of_usual_size() -> None:
    """A span contains two chunks of 4 MiB, or a hundred small ones."""
    large = manifest({"large": [(4 * MIB, 4 * MIB)] * 6})
    assert [span.stop - span.start for span in spans(large.placements())] == [8 * MIB] * 3
    small = manifest({f"{number:03}": [(100, 300)] for number in range(100)})
    assert [len(span.batches) for span in spans(small.placements())] == [1]


def test_spans_are_generated_lazily() -> None:
    """The first span is available before the last chunk is read."""
    endless = (placement for number in count() for placement in laid_out((number * 4 * MIB, 4 * MIB)))
    assert next(spans(endless)).stop == 8 * MIB


@given(missing(), sizes)
def test_portions_contain_every_chunk_once(wanted: list[Placement], size: int) -> None:
    """Portions hold all chunks in order; each but the last has just enough chunks for `size` decompressed bytes."""
    made = list(portions(wanted, size))
    assert [placement for portion in made for placement in portion] == wanted
    for portion in made:
        assert portion
        assert sum(placement.chunk.size for placement in portion[:-1]) < size
    for portion in made[:-1]:
        assert sum(placement.chunk.size for placement in portion) >= size


_PACK = manifest({"a": [(10, 20), (30, BLOCK)], "b/c": [(5, 6)], "b/empty": []}, directories=["none"])
_OTHER = manifest({"x": [(100, 200)]}, pack="common", version="2026.01")


def resolved(about: Manifest) -> Resolved:
    return Resolved(about, f"sha256:{about.pack}")


def facts(about: Manifest, sound: Sequence[Placement] = (), **known: int) -> PackSurvey:
    """Return the survey of a pack with these chunks in staging and nothing installed."""
    return PackSurvey(resolved(about), installed=False, reuse=ReuseSearch(about, sound).found(), **known)


def test_new_pack_needs_all_chunks() -> None:
    """With nothing on the volume all chunks are missing, and every file and directory is new."""
    plan = make_plan([facts(_PACK)])
    (pack,) = plan.packs
    assert pack.missing == tuple(_PACK.placements())
    assert (plan.fetch_bytes, plan.write_bytes, plan.reused_bytes) == (45, _PACK.size, 0)
    assert plan.disk_bytes == 3 * BLOCK
    assert plan.disk_inodes == 3 + 2 + 1


def test_installed_pack_needs_nothing() -> None:
    """An installed pack needs neither bytes nor disk space."""
    plan = make_plan([PackSurvey(resolved(_PACK), installed=True)])
    assert plan.packs[0].missing == ()
    assert (plan.fetch_bytes, plan.write_bytes, plan.reused_bytes) == (0, 0, _PACK.size)
    assert (plan.disk_bytes, plan.disk_inodes) == (0, 0)


def test_staged_chunks_reduce_plan() -> None:
    """Valid chunks, found in any order, are not fetched again, and their disk space is not counted twice."""
    sound = list(_PACK.placements())[:2]
    plan = make_plan([facts(_PACK, sound[::-1], staged_bytes=2 * BLOCK, staged_inodes=3)])
    assert [placement.file.path for placement in plan.packs[0].missing] == ["b/c"]
    assert (plan.fetch_bytes, plan.write_bytes, plan.reused_bytes) == (5, 6, _PACK.size - 6)
    assert (plan.disk_bytes, plan.disk_inodes) == (BLOCK, 3)


def test_needed_space_is_never_negative() -> None:
    """Staging that is larger than the pack does not reduce the space needed by other packs."""
    plan = make_plan([facts(_PACK, staged_bytes=MIB, staged_inodes=99)])
    assert (plan.disk_bytes, plan.disk_inodes) == (0, 0)


def test_plan_sums_up_all_packs() -> None:
    """Packs are sorted by name, and the figures of a plan are the sums of those of its packs."""
    plan = make_plan([facts(_PACK), facts(_OTHER)])
    assert [pack.manifest.pack for pack in plan.packs] == ["common", "nl-nl"]
    assert [pack.digest for pack in plan.packs] == ["sha256:common", "sha256:nl-nl"]
    assert (plan.fetch_bytes, plan.write_bytes) == (145, _PACK.size + 200)
    assert (plan.disk_bytes, plan.disk_inodes) == (4 * BLOCK, 6 + 2)
    assert make_plan([]).packs == ()


def test_largest_batch_is_computed() -> None:
    """A worker holds one batch in memory: the usual size, or the largest chunk if that is more."""
    large = manifest({"a": [(3 * MIB, 4 * MIB)]})
    assert make_plan([facts(large)]).largest_batch == 3 * MIB
    assert make_plan([facts(_PACK)]).largest_batch == BATCH_SIZE
    assert make_plan([]).largest_batch == BATCH_SIZE


@given(manifests(), st.data())
def test_staged_and_missing_chunks_form_the_pack(drawn: Manifest, data: st.DataObject) -> None:
    """Every chunk is either valid or missing, and no batch of the plan is larger than `largest_batch`."""
    everything = list(drawn.placements())
    sound = data.draw(st.lists(st.sampled_from(everything), unique=True)) if everything else []
    plan = make_plan([facts(drawn, sound)])
    lacking = plan.packs[0].missing
    assert [placement for placement in everything if placement not in sound] == list(lacking)
    assert plan.write_bytes + plan.reused_bytes == drawn.size
    assert all(batch.stop - batch.start <= plan.largest_batch for batch in batches(lacking))


_NEEDY = replace(_PACK, requires=(Requirement("common", ("2025.12", "2026.01")),))


def test_compatible_versions_are_accepted() -> None:
    """A pack that requires one of several versions of another pack is compatible with each of them."""
    check_compatibility([_NEEDY, _OTHER])
    check_compatibility([replace(_OTHER, version="2025.12"), _NEEDY])
    check_compatibility([])


def test_incompatible_versions_are_reported() -> None:
    """A pack with an unmet requirement is refused; the message names the required and the requested versions."""
    for others, named in [([], "none"), ([replace(_OTHER, version="2026.02")], r"2026\.02")]:
        with pytest.raises(
            IncompatibleError, match=rf"nl-nl 2026\.04 works with common 2025\.12 or .*asks for {named};"
        ):
            check_compatibility([_NEEDY, *others])
