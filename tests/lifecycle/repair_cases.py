"""Damage an installed release, look what `--verify` says, mend it, look again; for the worker processes."""

from __future__ import annotations

import random
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models_init.formats.manifest import placements
from tests.lifecycle import volume_oracle
from tests.lifecycle.corruptions import HARMS
from tests.lifecycle.fork_server import Program
from tests.lifecycle.sample_packs import COMMON, ONE, TWO
from tests.lifecycle.scenarios import NEW, OLD, install

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from models_init.core.pack_ref import PackRef
    from models_init.formats.manifest import Placement
    from tests.lifecycle.sample_packs import SamplePacks

DAMAGED = 45


@dataclass(frozen=True)
class UpgradedVolume:
    """A volume at NEW, upgraded from OLD, whose unchanged files are shared."""

    volume: Path
    samples: SamplePacks

    @property
    def program(self) -> Program:
        """The program, for this volume."""
        return Program(self.samples.environment(self.volume, *sorted(NEW)))

    def prepare(self) -> None:
        """Install both."""
        install(self.volume, self.samples, OLD)
        install(self.volume, self.samples, NEW)

    def found(self) -> tuple[int, set[tuple[str, str, str]]]:
        """What `--verify` says: exit code; where, path and kind of each damage."""
        done = self.program.run("--verify", "--json")
        damages = done.json["damages"]
        return done.code, {(damage["where"], damage["path"], damage["kind"]) for damage in damages}

    def mend(self) -> int:
        """Repair it, and see that both versions are whole then; return the bytes that were fetched."""
        done = self.program.run("--repair", "--json")
        assert done.code == 0, str(done)
        assert self.found() == (0, set()), str(self.found())
        active = volume_oracle.active(self.volume, self.samples)
        assert active == NEW, f"{active} is current"
        volume_oracle.assert_public_is_whole(self.volume, self.samples)
        return int(done.json["bytes_fetched"])


@dataclass(frozen=True)
class Flip:
    """A bit, and what was wrong with how it was found or mended."""

    ref: PackRef
    path: str
    bit: int
    fault: str


def flip_bits(bench: UpgradedVolume, seed: int, count: int) -> list[Flip]:
    """Flip one bit after the other, and mend each."""
    bench.prepare()
    chance = random.Random(seed)
    return [_flip_one(bench, chance) for _ in range(count)]


def _flip_one(bench: UpgradedVolume, chance: random.Random) -> Flip:
    ref = chance.choice([COMMON, TWO])
    file = chance.choice([file for file in bench.samples.manifest(ref).files if file.size])
    bit = chance.randrange(file.size * 8)
    place = next(place for place in placements(file) if bit // 8 < place.start + place.chunk.size)
    expected = {0, place.chunk.length} if _elsewhere(bench, ref, place) else {place.chunk.length}
    with (bench.volume / "packs" / ref.name / ref.version / file.path).open("r+b") as stream:
        stream.seek(bit // 8)
        byte = stream.read(1)[0]
        stream.seek(bit // 8)
        stream.write(bytes([byte ^ 1 << bit % 8]))
    try:
        found, fetched = bench.found(), bench.mend()
        assert found == (DAMAGED, {(str(ref), file.path, "bytes")}), str(found)
        assert fetched in expected, f"{fetched} bytes were fetched, {expected} are damaged"
    except AssertionError as error:
        return Flip(ref, file.path, bit, str(error))
    return Flip(ref, file.path, bit, "")


def _elsewhere(bench: UpgradedVolume, ref: PackRef, damaged: Placement) -> bool:
    """Tell whether the chunk lies on the volume under another inode, too."""
    own = bench.volume / "packs" / ref.name / ref.version / damaged.file.path
    return any(not own.samefile(path) for path in _holders(bench, damaged.chunk.digest))


def _holders(bench: UpgradedVolume, digest: str) -> Iterator[Path]:
    for ref in (COMMON, ONE, TWO):
        for place in bench.samples.manifest(ref).placements():
            if place.chunk.digest == digest:
                yield bench.volume / "packs" / ref.name / ref.version / place.file.path


def harm(bench: UpgradedVolume, name: str) -> tuple[tuple[int, set[tuple[str, str]]], int]:
    """Do one kind of harm and mend it; return what was found (path and kind), and the bytes that were fetched."""
    bench.prepare()
    HARMS[name].do(bench.volume)
    code, damages = bench.found()
    if HARMS[name].leaves:
        shutil.rmtree(bench.volume / HARMS[name].leaves)
    return (code, {(path, kind) for _, path, kind in damages}), bench.mend()
