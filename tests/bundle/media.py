"""Write bundles from objects in memory, and flip bits of files."""

from __future__ import annotations

import hashlib
import random
from dataclasses import replace
from typing import TYPE_CHECKING

from models_init.formats import bundle_index
from models_init.formats.bundle_index import Contents
from models_init.publish.bundle.layout import PlannedMember, lay_out
from models_init.publish.bundle.part_files import part_paths

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def write(out: Path, objects: Mapping[str, bytes], part_size: int = 0) -> Path:
    """Write a bundle with these objects; return its file, or its first part."""
    entries = [PlannedMember(key, len(data), _digest(data), key) for key, data in objects.items()]
    layout = lay_out(Contents(bundle_index.SCHEMA, "memory:", {}, {}, 1 << 40, ()), entries, part_size)
    whole = bytearray(layout.contents.size)

    def put(offset: int, data: bytes) -> None:
        whole[offset : offset + len(data)] = data

    for filler in layout.fillers():
        put(filler.offset, filler.data)
    for member in layout.contents.members:
        put(member.offset, objects[member.key])
    paths, sizes = part_paths(out, layout.contents), layout.contents.part_sizes()
    bounds = [(sum(sizes[:number]), sum(sizes[: number + 1])) for number in range(len(sizes))]
    prints = bundle_index.fingerprints(layout.contents, bounds, lambda at, size: bytes(whole[at : at + size]))
    text = layout.text(replace(layout.contents, parts=tuple(prints)))
    put(bundle_index.CONTENTS_START, text)
    put(layout.copy_offset, text)
    for path, (start, stop) in zip(paths, bounds, strict=True):
        path.write_bytes(whole[start:stop])
    return paths[0]


def flip(path: Path, bit: int) -> int:
    """Flip one bit of a file; return the offset of its byte."""
    with path.open("r+b") as file:
        file.seek(bit // 8)
        (byte,) = file.read(1)
        file.seek(bit // 8)
        file.write(bytes([byte ^ 1 << bit % 8]))
    return bit // 8


def some_bits(path: Path, count: int, seed: str) -> list[int]:
    """Choose bits of a file at random, the same ones for the same seed and size."""
    return random.Random(seed).sample(range(8 * path.stat().st_size), count)


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
