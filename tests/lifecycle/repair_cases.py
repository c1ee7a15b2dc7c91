"""Damage an installed release, verify it, repair it and verify it again; runs in worker processes."""

from __future__ import annotations

import random
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models_init.formats.manifest import placements
from tests.lifecycle import volume_oracle
from tests.lifecycle.corruptions import CORRUPTIONS
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
    """A volume at NEW, upgraded from OLD, with which it shares unchanged files."""

    volume: Path
    samples: SamplePacks

    @property
    def program(self) -> Program:
        """Return the program for this volume."""
        return Program(self.samples.environment(self.volume, *sorted(NEW)))

    def prepare(self) -> None:
        """Install both versions."""
        install(self.volume, self.samples, OLD)
        install(self.volume, self.samples, NEW)

    def found(self) -> tuple[int, set[tuple[str, str, str]]]:
        """Return the exit code of `--verify`, and place, path and kind of each damage."""
        done = self.program.run("--verify", "--json")
        damages = done.json["damages"]
        return done.code, {(damage["where"], damage["path"], damage["kind"]) for damage in damages}

    def repair(self) -> int:
        """Repair the volume, check both versions, and return the number of fetched bytes."""
        done = self.program.run("--repair", "--json")
        assert done.code == 0, str(done)
        assert self.found() == (0, set()), str(self.found())
        active = volume_oracle.active(self.volume, self.samples)
        assert active == NEW, f"{active} is current"
        volume_oracle.assert_public_is_complete(self.volume, self.samples)
        return int(done.json["bytes_fetched"])


@dataclass(frozen=True)
class Flip:
    """A flipped bit, and the error in finding or repairing it."""

    ref: PackRef
    path: str
    bit: int
    fault: str


def flip_bits(upgraded: UpgradedVolume, seed: int, count: int) -> list[Flip]:
    """Flip bits one by one and repair each."""
    upgraded.prepare()
    chance = random.Random(seed)
    return [_flip_one(upgraded, chance) for _ in range(count)]


def _flip_one(upgraded: UpgradedVolume, chance: random.Random) -> Flip:
    ref = chance.choice([COMMON, TWO])
    file = chance.choice([file for file in upgraded.samples.manifest(ref).files if file.size])
    bit = chance.randrange(file.size * 8)
    place = next(place for place in placements(file) if bit // 8 < place.start + place.chunk.size)
    expected = {0, place.chunk.length} if _elsewhere(upgraded, ref, place) else {place.chunk.length}
    with (upgraded.volume / "packs" / ref.name / ref.version / file.path).open("r+b") as stream:
        stream.seek(bit // 8)
        byte = stream.read(1)[0]
        stream.seek(bit // 8)
        stream.write(bytes([byte ^ 1 << bit % 8]))
    try:
        found, fetched = upgraded.found(), upgraded.repair()
        assert found == (DAMAGED, {(str(ref), file.path, "bytes")}), str(found)
        assert fetched in expected, f"{fetched} bytes were fetched, {expected} are damaged"
    except AssertionError as error:
        return Flip(ref, file.path, bit, str(error))
    return Flip(ref, file.path, bit, "")


def _elsewhere(upgraded: UpgradedVolume, ref: PackRef, damaged: Placement) -> bool:
    """Return True if the volume also has the chunk in another inode."""
    own = upgraded.volume / "packs" / ref.name / ref.version / damaged.file.path
    return any(not own.samefile(path) for path in _holders(upgraded, damaged.chunk.digest))


def _holders(upgraded: UpgradedVolume, digest: str) -> Iterator[Path]:
    for ref in (COMMON, ONE, TWO):
        for place in upgraded.samples.manifest(ref).placements():
            if place.chunk.digest == digest:
                yield upgraded.volume / "packs" / ref.name / ref.version / place.file.path


def corruption(upgraded: UpgradedVolume, name: str) -> tuple[tuple[int, set[tuple[str, str]]], int]:
    """Apply one corruption and repair it; return the exit code and damages found, and the number of fetched bytes."""
    upgraded.prepare()
    CORRUPTIONS[name].do(upgraded.volume)
    code, damages = upgraded.found()
    if CORRUPTIONS[name].leaves:
        shutil.rmtree(upgraded.volume / CORRUPTIONS[name].leaves)
    return (code, {(path, kind) for _, path, kind in damages}), upgraded.repair()
