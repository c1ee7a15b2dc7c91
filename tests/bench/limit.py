"""Measure the necessary work: SHA-256, decompression and writing of a pack, each on one thread; print CPU seconds.

python -m tests.bench.limit ARCHIVE MANIFEST DIRECTORY

The frames are read into memory before the time is measured.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from time import thread_time
from typing import TYPE_CHECKING

import zstandard
from pydantic import TypeAdapter

from models_init.formats.manifest import Manifest

if TYPE_CHECKING:
    from models_init.formats.manifest import File


def main() -> None:
    """Measure."""
    archive, document, directory = map(Path, sys.argv[1:])
    manifest = TypeAdapter(Manifest).validate_json(document.read_bytes())
    spent = {"sha256": 0.0, "zstd": 0.0, "write": 0.0}
    decompressor = zstandard.ZstdDecompressor()
    with archive.open("rb") as source:
        for inner in manifest.all_directories():
            (directory / inner).mkdir(parents=True, exist_ok=True)
        for file in manifest.files:
            frames = [os.pread(source.fileno(), chunk.length, chunk.offset) for chunk in file.chunks]
            _one(directory / file.path, file, frames, decompressor, spent)
    sys.stdout.write(json.dumps(spent))


def _one(
    path: Path, file: File, frames: list[bytes], decompressor: zstandard.ZstdDecompressor, spent: dict[str, float]
) -> None:
    """Process one file in the three steps, chunk by chunk."""
    began = thread_time()
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY, 0o644)
    if len(frames) > 1:
        os.posix_fallocate(descriptor, 0, file.size)
    spent["write"] += thread_time() - began
    place = 0
    for frame in frames:
        times = [thread_time()]
        plain = decompressor.decompress(frame)
        times.append(thread_time())
        hashlib.sha256(plain).digest()
        times.append(thread_time())
        place += os.pwrite(descriptor, plain, place)
        times.append(thread_time())
        for step, begin, end in zip(("zstd", "sha256", "write"), times, times[1:], strict=False):
            spent[step] += end - begin
    began = thread_time()
    os.close(descriptor)
    spent["write"] += thread_time() - began


if __name__ == "__main__":
    main()
