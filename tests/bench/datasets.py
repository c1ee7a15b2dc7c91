"""A pack in several versions and in the format of each peer, created once and kept between runs.

`site-…/models/` has the content of a container, `foreign/` the formats of the peers, `trees/` the files.
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

from models_init.core.events import NullObserver
from models_init.core.pack_ref import PackRef
from models_init.formats.manifest import MANIFEST_NAME
from models_init.formats.manifest import parse as parse_manifest
from models_init.publish import pack
from models_init.publish.pack.build import CHUNK_SIZE, BuildOptions, build
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
class Dataset:
    """A dataset: how the tree of its first version is made, and how each later version changes it."""

    name: str
    tree: Small | Large
    changes: Mapping[str, Callable[[Path], None]] = field(default_factory=dict)
    pack: str = PACK
    chunk_size: int = CHUNK_SIZE

    def stocked(self, work: Path, *, foreign: bool) -> DatasetFiles:
        """Make missing files; with `foreign` also the formats of peers whose tools are installed."""
        files = DatasetFiles(work / f"{self.name}-{_recipe(self)}", self.pack, self.chunk_size)
        _once(files.directory / "trees" / FIRST, self._write)
        for version, change in self.changes.items():
            _once(files.directory / "trees" / version, partial(_changed, files, change))
        for version in (FIRST, *self.changes):
            _list(files, version)
            _pack(files, version)
            if foreign:
                _zchunk(files, version)
                _casync(files, version)
        return files

    def published(self, work: Path) -> DatasetFiles:
        """Make the first version and remove its tree, for datasets that are large compared with the disk."""
        files = self.stocked(work, foreign=False)
        shutil.rmtree(files.tree())
        return files

    def _write(self, directory: Path) -> None:
        directory.mkdir()
        self.tree.write(directory, self.name)
        trees.settle(directory)


@dataclass(frozen=True)
class DatasetFiles:
    """The files of a dataset."""

    directory: Path
    pack: str = PACK
    chunk_size: int = CHUNK_SIZE

    @property
    def site(self) -> Path:
        """The directory that a server serves, with the directory `foreign` next to it."""
        return self.directory / f"site-{_builder()}{'' if self.chunk_size == CHUNK_SIZE else f'-{self.chunk_size}'}"

    def tree(self, version: str = FIRST) -> Path:
        """The tree of a version."""
        return self.directory / "trees" / version

    def listing(self, version: str = FIRST) -> trees.Listing:
        """The expected result."""
        return trees.load(self.directory / f"{version}.json")

    def archive(self, version: str = FIRST) -> Path:
        """The archive, which all programs without their own format use."""
        return self.site / "models" / self.pack / version / ARCHIVE_NAME

    def manifest(self, version: str = FIRST) -> Manifest:
        """The manifest."""
        document = (self.archive(version).parent / MANIFEST_NAME).read_bytes()
        return parse_manifest(document, PackRef(self.pack, version))

    def digest(self, version: str = FIRST) -> str:
        """The SHA-256 of the archive."""
        return self.manifest(version).archive.digest.removeprefix("sha256:")

    def zck(self, version: str = FIRST) -> Path:
        """The same files for zchunk."""
        return self.directory / "foreign" / "zck" / f"{version}.tar.zck"

    def casync(self, version: str = FIRST) -> Path:
        """The same files for casync; the chunks are in `store` next to it."""
        return self.directory / "foreign" / "casync" / f"{version}.caidx"


def _recipe(dataset: Dataset) -> str:
    """Return everything on which the trees depend."""
    program = ast.dump(ast.parse(Path(trees.__file__).read_bytes()))
    return hashlib.sha256(f"{dataset.tree} {sorted(dataset.changes)} {program}".encode()).hexdigest()[:8]


def _builder() -> str:
    """Return everything on which a pack depends in addition to its tree and the size of its chunks."""
    sources = sorted(Path(pack.__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:8]


def _once(path: Path, make: Callable[[Path], None]) -> None:
    """Make a file under a temporary name, so that existing files are complete."""
    if path.exists():
        return
    aside = path.with_name(f"{path.name}.part")
    if aside.is_dir():
        shutil.rmtree(aside)
    path.parent.mkdir(parents=True, exist_ok=True)
    make(aside)
    aside.rename(path)


def _changed(files: DatasetFiles, change: Callable[[Path], None], directory: Path) -> None:
    shutil.copytree(files.tree(), directory)
    change(directory)
    trees.settle(directory)
    for path in sorted(directory.rglob("*")):  # changed files are a day newer, because rsync compares whole seconds
        old = files.tree() / path.relative_to(directory)
        if path.is_file() and path.stat().st_mtime_ns != old.stat().st_mtime_ns:
            os.utime(path, (path.stat().st_atime, old.stat().st_mtime + _DAY))


def _list(files: DatasetFiles, version: str) -> None:
    path = files.directory / f"{version}.json"
    _once(path, lambda aside: trees.save(trees.listing(files.tree(version)), aside))


def _pack(files: DatasetFiles, version: str) -> None:
    common = files.directory / "trees" / "common"
    _once(common, _write_common)
    for tree, ref in ((files.tree(version), PackRef(files.pack, version)), (common, COMMON)):
        out = files.site / "models" / ref.name / ref.version
        _once(out, partial(_build, tree, BuildOptions(ref, _LEVEL, files.chunk_size)))


def _write_common(directory: Path) -> None:
    directory.mkdir()
    (directory / "phones.txt").write_bytes(_COMMON_BYTES)
    trees.settle(directory)


def _build(tree: Path, options: BuildOptions, directory: Path) -> None:
    out = directory.with_name(f"{directory.name}-out")
    if out.exists():
        shutil.rmtree(out)
    build(scan(tree), options, out, NullObserver())
    (out / options.ref.name / options.ref.version).rename(directory)
    shutil.rmtree(out)


def _zchunk(files: DatasetFiles, version: str) -> None:
    if not tools.absent(["zck", "tar"]):
        _once(files.zck(version), lambda aside: _make_zck(files, version, aside))


def _make_zck(files: DatasetFiles, version: str, path: Path) -> None:
    archive = path.with_suffix(".tar")
    subprocess.run(["tar", "-C", files.tree(version), "--sort=name", "-cf", archive, "."], check=True)
    subprocess.run(["zck", "-o", path, archive], check=True)
    archive.unlink()


def _casync(files: DatasetFiles, version: str) -> None:
    if not tools.absent(["casync"]):
        _once(files.casync(version), lambda aside: _make_casync(files, version, aside))


def _make_casync(files: DatasetFiles, version: str, path: Path) -> None:
    index, store = path.with_name(f"part-{version}.caidx"), path.parent / "store"
    options = ["--without=privileged", "--compression=zstd", f"--store={store}"]
    subprocess.run(["casync", "make", *options, index, files.tree(version)], check=True, stdout=subprocess.DEVNULL)
    index.rename(path)
