"""`--verify` names all that is not as it was published, and `--repair` puts it back for the least that it can cost."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.life.damages import HARMS
from tests.life.mending import DAMAGED, Bench, Flip, flip_bits, harm
from tests.life.scenarios import NEW
from tests.life.told import tell

if TYPE_CHECKING:
    from pathlib import Path

    from tests.life.shelf import Shelf
    from tests.life.warm import Pool

_FLIPS = 200


def test_each_flipped_bit_is_found_and_mended(pool: Pool, shelf: Shelf, memory: Path) -> None:
    """Of any bit: `--verify` names its file, `--repair` fetches its chunk alone, for all versions that share it."""
    seeds = range(4)
    benches = {seed: Bench(memory / str(seed), shelf) for seed in seeds}
    flips = [flip for part in pool.each(partial(_flips, benches), seeds) for flip in part]
    tell(f"bit flips: {len(flips)} found and mended, in {len({(flip.ref, flip.path) for flip in flips})} files")
    assert [flip for flip in flips if flip.fault] == []
    assert len(flips) == _FLIPS


@pytest.mark.parametrize("name", HARMS)
def test_harm_is_found_and_mended(name: str, pool: Pool, shelf: Shelf, memory: Path) -> None:
    """`--verify` names what is wrong (45); `--repair` mends it (0) and fetches the damaged chunks alone."""
    (code, damages), fetched = pool.do(harm, Bench(memory / "volume", shelf), name)
    assert (code, damages) == (DAMAGED, set(HARMS[name].named))
    assert fetched <= HARMS[name].damaged_bytes(shelf.manifest(ref) for ref in NEW)


def _flips(benches: dict[int, Bench], seed: int) -> list[Flip]:
    return flip_bits(benches[seed], seed, _FLIPS // len(benches))
