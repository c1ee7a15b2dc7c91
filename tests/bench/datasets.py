"""A pack in some versions, in every format that a peer takes; made once and kept for the next time.

`site-…/models/` is what a container is; `foreign/` holds what is shown beside it; `trees/` are the files.
"""

from __future__ import annotations

import ast
import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from models_init import publish
from models_init.core.events import NullObserver
from models_init.core.pack_ref import PackRef
from models_init.formats.manifest import MANIFEST_NAME
from models_init.formats.manifest import parse as parse_manifest
from models_init.publish.pack.build import BuildOptions, build
from models_init.publish.pack.source_tree import scan
from models_init.publish.pack.version_directory import ARCHIVE_NAME
from tests.bench import tools, trees

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from models_init.formats.manifest import Manifest
    from tests.bench.trees import Large, Small

PACK = "nl-nl"
COMMON = PackRef("common", "1")
FIRST, SECOND = "1", "2"
_LEVEL = 3
_DAY = 86_400
_COMMON_BYTES = b"a b c\n"


@dataclass(frozen=True)
class Ware:
    """One pack: how its first version's tree is made, and how each further one's is made of that."""

    name: str
    tree: Small | Large
    changes: Mapping[str, Callable[[Path], None]] = field(default_factory=dict)
    pack: str = PACK

    def stocked(self, shelf: Path, *, foreign: bool) -> DatasetFiles:
        """Make what is not there yet; with `foreign` the peers' own formats, too, as far as their tools are here."""
        stock = DatasetFiles(shelf / f"{self.name}-{_recipe(self)}", self.pack)
        _once(stock.directory / "trees" / FIRST, self._write)
        for version, change in self.changes.items():
            _once(stock.directory / "trees" / version, partial(_changed, stock, change))
        for version in (FIRST, *self.changes):
            _list(stock, version)
            _pack(stock, version)
            if foreign:
                _zchunk(stock, version)
                _casync(stock, version)
        return stock

    def _write(self, directory: Path) -> None:
        directory.mkdir()
        self.tree.write(directory, self.name)
        trees.settle(directory)


@dataclass(frozen=True)
class DatasetFiles:
    """Where everything of a ware lies."""

    directory: Path
    pack: str = PACK

    @property
    def site(self) -> Path:
        """What a server shows, with the directory `foreign` beside it."""
        return self.directory / f"site-{_builder()}"

    def tree(self, version: str = FIRST) -> Path:
        """The files."""
        return self.directory / "trees" / version

    def listing(self, version: str = FIRST) -> trees.Listing:
        """What a result must be."""
        return trees.load(self.directory / f"{version}.json")

    def archive(self, version: str = FIRST) -> Path:
        """The archive that everybody installs from, but those with a format of their own."""
        return self.site / "models" / self.pack / version / ARCHIVE_NAME

    def manifest(self, version: str = FIRST) -> Manifest:
        """What the program knows of it."""
        document = (self.archive(version).parent / MANIFEST_NAME).read_bytes()
        return parse_manifest(document, PackRef(self.pack, version))

    def digest(self, version: str = FIRST) -> str:
        """The archive's SHA-256."""
        return self.manifest(version).archive.digest.removeprefix("sha256:")

    def zck(self, version: str = FIRST) -> Path:
        """The same files for zchunk."""
        return self.directory / "foreign" / "zck" / f"{version}.tar.zck"

    def casync(self, version: str = FIRST) -> Path:
        """The same files for casync; the chunks lie in `store` beside it."""
        return self.directory / "foreign" / "casync" / f"{version}.caidx"


def _recipe(ware: Ware) -> str:
    """Whatever the trees depend on."""
    program = ast.dump(ast.parse(Path(trees.__file__).read_bytes()))
    return hashlib.sha256(f"{ware.tree} {sorted(ware.changes)} {program}".encode()).hexdigest()[:8]


def _builder() -> str:
    """Whatever a pack depends on beside its tree."""
    names = ("borders", "build", "cut", "frames", "marks", "tarstream")
    sources = [Path(publish.__file__).parent / f"{name}.py" for name in names]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources if path.exists())).hexdigest()[:8]


def _once(path: Path, make: Callable[[Path], None]) -> None:
    """Make it aside, so that what is there is whole."""
    if path.exists():
        return
    aside = path.with_name(f"{path.name}.part")
    if aside.is_dir():
        shutil.rmtree(aside)
    path.parent.mkdir(parents=True, exist_ok=True)
    make(aside)
    aside.rename(path)


def _changed(stock: DatasetFiles, change: Callable[[Path], None], directory: Path) -> None:
    shutil.copytree(stock.tree(), directory)
    change(directory)
    trees.settle(directory)
    for path in sorted(directory.rglob("*")):  # what changed is a day younger: rsync believes times, to the second
        old = stock.tree() / path.relative_to(directory)
        if path.is_file() and path.stat().st_mtime_ns != old.stat().st_mtime_ns:
            os.utime(path, (path.stat().st_atime, old.stat().st_mtime + _DAY))


def _list(stock: DatasetFiles, version: str) -> None:
    path = stock.directory / f"{version}.json"
    _once(path, lambda aside: trees.save(trees.listing(stock.tree(version)), aside))


def _pack(stock: DatasetFiles, version: str) -> None:
    common = stock.directory / "trees" / "common"
    _once(common, _write_common)
    for tree, ref in ((stock.tree(version), PackRef(stock.pack, version)), (common, COMMON)):
        out = stock.site / "models" / ref.name / ref.version
        _once(out, partial(_build, tree, ref))


def _write_common(directory: Path) -> None:
    directory.mkdir()
    (directory / "phones.txt").write_bytes(_COMMON_BYTES)
    trees.settle(directory)


def _build(tree: Path, ref: PackRef, directory: Path) -> None:
    out = directory.with_name(f"{directory.name}-out")
    if out.exists():
        shutil.rmtree(out)
    build(scan(tree), BuildOptions(ref, level=_LEVEL), out, NullObserver())
    (out / ref.name / ref.version).rename(directory)
    shutil.rmtree(out)


def _zchunk(stock: DatasetFiles, version: str) -> None:
    if not tools.absent(["zck", "tar"]):
        _once(stock.zck(version), lambda aside: _make_zck(stock, version, aside))


def _make_zck(stock: DatasetFiles, version: str, path: Path) -> None:
    archive = path.with_suffix(".tar")
    subprocess.run(["tar", "-C", stock.tree(version), "--sort=name", "-cf", archive, "."], check=True)
    subprocess.run(["zck", "-o", path, archive], check=True)
    archive.unlink()


def _casync(stock: DatasetFiles, version: str) -> None:
    if not tools.absent(["casync"]):
        _once(stock.casync(version), lambda aside: _make_casync(stock, version, aside))


def _make_casync(stock: DatasetFiles, version: str, path: Path) -> None:
    index, store = path.with_name(f"part-{version}.caidx"), path.parent / "store"
    options = ["--without=privileged", "--compression=zstd", f"--store={store}"]
    subprocess.run(["casync", "make", *options, index, stock.tree(version)], check=True, stdout=subprocess.DEVNULL)
    index.rename(path)
