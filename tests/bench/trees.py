"""Trees of files without repeated content, so that deduplication finds only intended matches.

Next to each is a list of all files with size, mode and SHA-256, with which every result is compared.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import TYPE_CHECKING

from tests.samples import MIB, bell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Fill = Callable[[random.Random, int], bytes]

Listing = dict[str, tuple[int, bool, str]]
"""Size, execute bit and SHA-256 of each file, by path."""

_PIECE = 4 * MIB
_RUN = 64 << 10  # bytes of one change in place
_INSERTED = 1000  # bytes inserted at the front


@dataclass(frozen=True)
class Small:
    """Files of `low` to `high` bytes until there are `size` bytes, or `count` files: most are at the small end."""

    size: int = 0
    low: int = 4 << 10
    high: int = 256 << 10
    count: int = 0

    def write(self, directory: Path, seed: str) -> None:
        """Write the files: half are text, half are floats."""
        chance, total, number = random.Random(seed), 0, 0
        while number < self.count or total < self.size:
            size = int(self.low * (self.high / self.low) ** chance.random())
            name = directory / f"{number % 64:02}" / f"{number:06}"
            name.parent.mkdir(parents=True, exist_ok=True)
            name.write_bytes((text, floats)[number % 2](chance, size))
            total, number = total + size, number + 1


@dataclass(frozen=True)
class Large:
    """Files of these sizes, of sixteen-bit floats, or of incompressible noise."""

    sizes: tuple[int, ...]
    dense: bool = False

    def write(self, directory: Path, seed: str) -> None:
        """Write the files, each with its own seed."""
        for number, size in enumerate(self.sizes):
            write(directory / "weights" / f"{number}.bin", f"{seed}/{number}", size, noise if self.dense else floats)


def noise(chance: random.Random, size: int) -> bytes:
    """Return random bytes."""
    return chance.randbytes(size)


def text(chance: random.Random, size: int) -> bytes:
    """Return letters with the frequencies of a language in random order: zstd halves their size."""
    return chance.randbytes(size).translate(_letters())


def floats(chance: random.Random, size: int) -> bytes:
    """Return sixteen-bit floats like trained weights: uniform mantissas and few exponents; zstd saves 17 %."""
    half = size // 2 + 1
    piece = bytearray(2 * half)
    piece[0::2] = chance.randbytes(half)
    piece[1::2] = chance.randbytes(half).translate(bell())
    return bytes(memoryview(piece)[:size])


@cache
def _letters() -> bytes:
    weights = list(accumulate(1 / (1 + rank) for rank in range(28)))
    letters = b" enatirodslgvhkmubpwjzcf\n,.x"
    return bytes(
        letters[next(rank for rank, weight in enumerate(weights) if (value + 0.5) / 256 <= weight / weights[-1])]
        for value in range(256)
    )


def write(path: Path, seed: str, size: int, fill: Fill) -> None:
    """Write a file whose content depends on its seed."""
    chance = random.Random(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for start in range(0, size, _PIECE):
            file.write(fill(chance, min(_PIECE, size - start)))


def one_changed(directory: Path) -> None:
    """Replace the content of one file in ten."""
    for path in sorted(_files(directory))[3::10]:
        write(path, f"changed {path.name}", path.stat().st_size, floats)


def places_changed(directory: Path) -> None:
    """Change one percent of every large file, in places of 64 KiB."""
    for path in sorted(_files(directory)):
        chance, size = random.Random(path.name), path.stat().st_size
        with path.open("r+b") as file:
            for start in chance.sample(range(0, size - _RUN, _RUN), max(1, size // 100 // _RUN)):
                file.seek(start)
                file.write(floats(chance, _RUN))


def front_grown(directory: Path) -> None:
    """Insert a few bytes at the beginning of every large file."""
    for path in sorted(_files(directory)):
        whole = path.with_suffix(".new")
        with path.open("rb") as old, whole.open("wb") as new:
            new.write(noise(random.Random(path.name), _INSERTED))
            shutil.copyfileobj(old, new, _PIECE)
        whole.rename(path)


def listing(directory: Path) -> Listing:
    """Return the listing of a tree."""
    paths = sorted(_files(directory))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return {
            str(path.relative_to(directory)): facts for path, facts in zip(paths, pool.map(_facts, paths), strict=True)
        }


def differences(directory: Path, wanted: Listing) -> list[str]:
    """Compare a tree with a listing; return a line for each difference."""
    found = listing(directory)
    return [
        f"{path}: {found.get(path, 'missing')} instead of {wanted.get(path, 'nothing')}"
        for path in sorted(found.keys() | wanted.keys())
        if found.get(path) != wanted.get(path)
    ]


def save(content: Listing, path: Path) -> None:
    """Write a listing."""
    path.write_text(json.dumps(content))


def load(path: Path) -> Listing:
    """Read what `save` wrote."""
    return {name: (facts[0], facts[1], facts[2]) for name, facts in json.loads(path.read_text()).items()}


def settle(directory: Path) -> None:
    """Set the modes that packs have."""
    for path in (directory, *directory.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


def _files(directory: Path) -> Iterator[Path]:
    return (path for path in directory.rglob("*") if path.is_file() and not path.is_symlink())


def _facts(path: Path) -> tuple[int, bool, str]:
    status = path.stat()
    with path.open("rb") as file:
        return status.st_size, bool(status.st_mode & 0o111), hashlib.file_digest(file, "sha256").hexdigest()
