"""Build two versions of a pack of ten large files, of which one differs; as a program, print what an upgrade costs.

python -m tests.upgrades [DIRECTORY]     1 GiB in DIRECTORY; scripts/measure-upgrade calls it
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from models_init.core.units import human_size
from models_init.formats.manifest import MIB, Manifest
from models_init.fs.files import FreedSpaceCounter
from tests.publish.packs import write
from tests.site import COMMON, DUTCH, NEWER, Packs, Site, build_packs

if TYPE_CHECKING:
    from models_init.core.pack_ref import PackRef

CHANGED = "weights/3.bin"


def build(directory: Path, size: int) -> Packs:
    """Build `COMMON`, and two versions of a pack of ten files with `size` bytes each."""
    trees = {
        COMMON: write(directory / "common", {"phones.txt": b"a b c\n"}),
        DUTCH: write_weights(directory / "old", size, {}),
        NEWER: write_weights(directory / "new", size, {3: "changed"}),
    }
    return build_packs(directory, trees, level=1)


def write_weights(directory: Path, size: int, seeds: dict[int, str]) -> Path:
    """Write ten files of random bytes; the content of a file depends on its seed, by default "same"."""
    (directory / "weights").mkdir(parents=True)
    for number in range(10):
        source = random.Random(f"{number} {seeds.get(number, 'same')}")
        with (directory / "weights" / f"{number}.bin").open("wb") as file:
            for start in range(0, size, MIB):
                file.write(source.randbytes(min(MIB, size - start)))
    for path in (directory, *directory.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return directory


def newer(site: Site) -> Site:
    """Return the site with settings that name the newer version."""
    return site.but(REALTIME_LANGUAGE_VERSION=NEWER.version)


def ideal(manifest: Manifest, path: str) -> int:
    """Return the number of bytes that this file takes in the archive."""
    return sum(chunk.length for file in manifest.files if file.path == path for chunk in file.chunks)


def on_disk(volume: Path) -> int:
    """Return the bytes that the removal of the volume would free; hard links count once."""
    return FreedSpaceCounter().remove(volume)


def shares_inode(site: Site, old: PackRef, new: PackRef, path: str) -> bool:
    """Return True if a file of two versions is the same inode."""
    one, other = (os.stat(site.volume / "packs" / ref.name / ref.version / path) for ref in (old, new))
    return one.st_ino == other.st_ino


def main() -> None:
    """Measure an upgrade of 1 GiB."""
    with tempfile.TemporaryDirectory(prefix="measure-", dir=sys.argv[1] if len(sys.argv) > 1 else None) as directory:
        packs = build(Path(directory), 103 * MIB)
        site = Site(Path(directory, "models"), packs.environment)
        first = site.run("--json").json
        before = on_disk(site.volume)
        upgrade = newer(site).run("--json").json
        wanted = ideal(packs.manifest(NEWER), CHANGED)
        grown = on_disk(site.volume) - before
        shared = sum(shares_inode(site, DUTCH, NEWER, f"weights/{number}.bin") for number in range(10))
        sys.stdout.write(
            f"first install  {human_size(first['bytes_fetched'])} fetched in {first['seconds']:.1f} s\n"
            f"upgrade        {human_size(upgrade['bytes_fetched'])} fetched in {upgrade['seconds']:.1f} s: "
            f"{upgrade['bytes_fetched'] / wanted:.4f} of the changed file's chunks\n"
            f"disk           {human_size(grown)} more: {grown / wanted:.4f} of these\n"
            f"same inode     {shared} of 10 files\n"
        )


if __name__ == "__main__":
    main()
