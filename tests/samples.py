"""Generate trees of files like those of speech models from a seed, quickly and in little memory.

    python -m tests.samples DIRECTORY --size 1G [--seed TEXT]
    python -m tests.samples DIRECTORY --upgrade [--seed TEXT]

This module does not need pytest, because the demo and the benchmarks use it too.
"""

from __future__ import annotations

import argparse
import filecmp
import functools
import math
import os
import random
import stat
from bisect import bisect_left
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MIB = 1 << 20
_POOL = 4 * MIB
_DRAW = 64 << 10  # bytes per call for which random.randbytes is fastest
_STEP = 65_537  # odd, so that rotating the pool by it gives millions of different pieces
_SYLLABLES = (
    "be",
    "de",
    "een",
    "ge",
    "het",
    "in",
    "lijk",
    "om",
    "ont",
    "over",
    "re",
    "sche",
    "uit",
    "ver",
    "zaam",
    "ze",
)


@dataclass(frozen=True)
class Shape:
    """The number of small texts, and the sizes in bytes of large files of both kinds."""

    texts: int = 24
    weights: tuple[int, ...] = (6 * MIB + 13, MIB)
    dense: tuple[int, ...] = (2 * MIB + 1,)
    unusual: bool = True

    @classmethod
    def of_size(cls, size: int) -> Shape:
        """Return the shape of a language pack of `size` bytes: nearly all of it is in a few large files."""
        return cls(texts=200, weights=(size // 2, size // 4, size // 8), dense=(size // 8,))


DEFAULT = Shape()


def write_tree(directory: Path, shape: Shape = DEFAULT, seed: str = "nl-nl") -> Path:
    """Fill a new directory. Files have mode 0644 or 0755, directories 0755, independent of the umask."""
    for number in range(shape.texts):
        _write(directory / f"lexicon/{number % 7}/words-{number:05}.txt", [_text(seed, number)])
    for number, size in enumerate(shape.weights):
        _write(directory / f"am/final-{number}.weights", _weights(f"{seed}/weights/{number}", size))
    for number, size in enumerate(shape.dense):
        _write(directory / f"graph/HCLG-{number}.bin", _dense(f"{seed}/dense/{number}", size))
    if shape.unusual:
        _write_unusual_files(directory, seed)
    for subdirectory in (directory, *(path for path in directory.rglob("*") if path.is_dir())):
        subdirectory.chmod(0o755)
    return directory


def upgrade(directory: Path, seed: str = "upgrade") -> None:
    """Change a tree of `write_tree` like a new version: few changes, but of every kind."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    texts = [path for path in files if path.suffix == ".txt" and path.stat().st_size]
    _overwrite_middle(max(files, key=lambda path: path.stat().st_size), random.Random(seed).randbytes(1000))
    for path in texts[3::5]:
        _write(path, [path.read_bytes(), f"{seed}\n".encode()])
    texts[0].unlink()
    texts[1].rename(texts[1].with_name("renamed.txt"))
    texts[2].chmod(0o755)
    _write(directory / "conf/new.conf", [f"version = {seed}\n".encode()])


def same_tree(one: Path, other: Path) -> list[str]:
    """Compare names, types, permissions, link targets and bytes; return a line for each difference."""
    mine, theirs = _entries(one), _entries(other)
    unmatched = [f"only in {one}: {name}" for name in sorted(mine.keys() - theirs.keys())]
    unmatched += [f"only in {other}: {name}" for name in sorted(theirs.keys() - mine.keys())]
    shared = sorted(mine.keys() & theirs.keys())
    facts = [f"{name}: {mine[name]} and {theirs[name]}" for name in shared if mine[name] != theirs[name]]
    files = [name for name in shared if mine[name] == theirs[name] and mine[name].startswith("-")]
    filecmp.clear_cache()
    return unmatched + facts + [f"{name}: bytes differ" for name in files if not _same_bytes(one / name, other / name)]


def _entries(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): _facts(path) for path in root.rglob("*")}


def _facts(path: Path) -> str:
    facts = stat.filemode(path.lstat().st_mode)
    return f"{facts} -> {os.readlink(path)}" if path.is_symlink() else facts


def _same_bytes(one: Path, other: Path) -> bool:
    return filecmp.cmp(one, other, shallow=False)


def _write_unusual_files(directory: Path, seed: str) -> None:
    """Add names, modes and sizes that have broken other programs."""
    line = f"# {seed}\n".encode()
    _write(directory / "bin/decode", [b"#!/bin/sh\n", line], mode=0o755)
    _write(directory / "conf/empty.conf", [])
    _write(directory / "conf/two words.conf", [line])
    _write(directory / "conf/één naïef 語 🙂.conf", [line])
    _write(directory / "conf/-rf", [line])
    _write(directory / f"conf/{'n' * 255}", [line])
    _write(directory / "am.txt", [line])  # sorts before am/… by bytes and after it by parts
    _write(directory / f"{'deep/' * 20}file", [line])
    (directory / "speakers/none").mkdir(parents=True)


def _write(path: Path, pieces: Iterable[bytes | memoryview], mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        stream.writelines(pieces)
    path.chmod(mode)


def _overwrite_middle(path: Path, data: bytes) -> None:
    with path.open("r+b") as stream:
        stream.seek(path.stat().st_size // 2)
        stream.write(data)


def _text(seed: str, number: int) -> bytes:
    """Return a lexicon of 0.2 to 20 kB: on each line a word and its pronunciation."""
    words = _vocabulary(seed)
    chance = random.Random(f"{seed}/text/{number}")
    start = chance.randrange(len(words) // 2)
    return f"# {seed} {number}\n".encode() + words[start : start + int(200 * 100 ** chance.random())]


@functools.cache
def _vocabulary(seed: str) -> bytes:
    chance = random.Random(seed)
    words = ("".join(chance.choices(_SYLLABLES, k=chance.randint(1, 5))) for _ in range(5000))
    return "".join(f"{word} {' '.join(word).upper()}\n" for word in words).encode()


def _dense(seed: str, size: int) -> Iterator[memoryview]:
    """Yield incompressible bytes: one pool, rotated further for each piece."""
    pool = memoryview(_pool(seed, min(size, _POOL)))
    for number in range(math.ceil(size / _POOL)):
        rotation = number * _STEP % len(pool)
        left = size - number * _POOL
        yield pool[rotation:][:left]
        yield pool[:rotation][: max(0, left - (len(pool) - rotation))]


def _weights(seed: str, size: int) -> Iterator[memoryview]:
    """Yield 16-bit floats like trained ones: uniform mantissas, few exponents; zstd compresses them to 0.83."""
    piece = bytearray(min(size + 1, _POOL) & ~1)
    half = len(piece) // 2
    piece[1::2] = _pool(seed + "/exponents", half).translate(bell())
    mantissas = _pool(seed, half)
    for number in range(math.ceil(size / _POOL)):
        rotation = number * _STEP % half
        piece[0::2] = mantissas[rotation:] + mantissas[:rotation]
        yield memoryview(piece)[: size - number * _POOL]


def _pool(seed: str, size: int) -> bytes:
    chance = random.Random(seed)
    return b"".join(chance.randbytes(min(_DRAW, size - start)) for start in range(0, size, _DRAW))


@functools.cache
def bell() -> bytes:
    """Return a table that maps uniform bytes to a bell curve around the exponent 2⁻⁷."""
    heights = list(accumulate(math.exp(-(((value - 120) / 3) ** 2) / 2) for value in range(256)))
    return bytes(bisect_left(heights, (value + 0.5) / 256 * heights[-1]) for value in range(256))


def _bytes(text: str) -> int:
    """Read a size such as 300M or 1G."""
    unit = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(text[-1:].upper())
    return int(float(text[:-1]) * unit) if unit else int(text)


def main() -> None:
    """Write or upgrade a tree from the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.samples", description=__doc__.partition("\n")[0])
    parser.add_argument("directory", type=Path)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--size", type=_bytes, help="write a new tree of about this size, e.g. 300M")
    what.add_argument("--upgrade", action="store_true", help="change the tree as a next version would")
    parser.add_argument("--seed", default="nl-nl", help="seed of the content (%(default)s)")
    options = parser.parse_args()
    if options.upgrade:
        upgrade(options.directory, options.seed)
    else:
        write_tree(options.directory, Shape.of_size(options.size), options.seed)


if __name__ == "__main__":
    main()
