"""Kinds of damage to an installed release, and what `--verify` must report for each."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models_init.formats.manifest import placements
from tests.lifecycle import volume_oracle
from tests.lifecycle.sample_packs import CHUNK
from tests.lifecycle.scenarios import NEW

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from models_init.formats.manifest import Manifest

_PACK, _OTHER = "packs/nl-nl/2", "packs/common/1"
_MODEL, _GRAPH, _DECODER = f"{_PACK}/am/final.mdl", f"{_PACK}/graph/HCLG.fst", f"{_PACK}/bin/decode"
_NEW, _EMPTY = f"{_PACK}/conf/new.conf", f"{_PACK}/conf/empty.conf"
_MANIFEST, _LINK = "manifests/nl-nl/2.json", "current/nl-nl"
_NOTHING = range(0)
_ALL_MISSING = ((".", "missing"), ("dict", "missing"), ("dict/words.bin", "missing"), ("phones.txt", "missing"))


@dataclass(frozen=True)
class Corruption:
    """A change to a volume; `named` lists the path and kind of each damage that must be reported.

    `damaged` are the wrong bytes of a single file that is damaged in place; None if whole files are damaged.
    """

    do: Callable[[Path], object]
    named: tuple[tuple[str, str], ...]
    damaged: range | None = None
    leaves: str = ""  # a path that the test removes: it does not belong to the release

    def damaged_bytes(self, manifests: Iterable[Manifest]) -> int:
        """Return the bytes of the archives from the first to the last damaged chunk."""
        return sum(self._damaged_bytes(manifest) for manifest in manifests)

    def _damaged_bytes(self, manifest: Manifest) -> int:
        paths = {path for path, _ in self.named}
        chunks = [
            chunk
            for file in manifest.files
            if file.path in paths
            for _, chunk, start in placements(file)
            if self.damaged is None or (start < self.damaged.stop and start + chunk.size > self.damaged.start)
        ]
        return chunks[-1].offset + chunks[-1].length - chunks[0].offset if chunks else 0


def _write(path: Path, data: bytes, at: int = 0) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def _append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def _replace_by_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def _replace_by_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "inside").write_bytes(b"?")


def _replace_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _replace_by_file(path: Path) -> None:
    shutil.rmtree(path)
    path.write_bytes(b"?")


def _replace_by_copy(path: Path) -> None:
    content = path.resolve()
    path.unlink()
    shutil.copytree(content, path)


def _add_directory(path: Path) -> None:
    path.mkdir()
    (path / "inside").write_bytes(b"?")


def _relink(path: Path, target: str) -> None:
    path.unlink()
    path.symlink_to(target)


def _record(volume: Path) -> Path:
    return volume / "releases" / volume_oracle.release_of(volume, NEW) / "release.json"


CORRUPTIONS = {
    "a file is deleted": Corruption(lambda v: (v / _GRAPH).unlink(), (("graph/HCLG.fst", "missing"),)),
    "a file without other copies is deleted": Corruption(
        lambda v: (v / _NEW).unlink(), (("conf/new.conf", "missing"),)
    ),
    "an empty file is deleted": Corruption(lambda v: (v / _EMPTY).unlink(), (("conf/empty.conf", "missing"),)),
    "an executable is deleted": Corruption(lambda v: (v / _DECODER).unlink(), (("bin/decode", "missing"),)),
    "a file is truncated": Corruption(
        lambda v: os.truncate(v / _MODEL, CHUNK + 5),
        (("am/final.mdl", "size"), ("am/final.mdl", "bytes")),
        range(CHUNK + 5, 1 << 40),
    ),
    "a file is emptied": Corruption(
        lambda v: os.truncate(v / _GRAPH, 0), (("graph/HCLG.fst", "size"), ("graph/HCLG.fst", "bytes"))
    ),
    "a file is longer": Corruption(lambda v: _append(v / _MODEL, b"?"), (("am/final.mdl", "size"),), _NOTHING),
    "a shared file is longer": Corruption(
        lambda v: _append(v / _GRAPH, b"?" * 9000), (("graph/HCLG.fst", "size"),), _NOTHING
    ),
    "an empty file is not empty": Corruption(lambda v: _append(v / _EMPTY, b"?"), (("conf/empty.conf", "size"),)),
    "a chunk is zeroed": Corruption(
        lambda v: _write(v / _MODEL, b"\0" * CHUNK, CHUNK), (("am/final.mdl", "bytes"),), range(CHUNK, 2 * CHUNK)
    ),
    "a file is added": Corruption(lambda v: (v / f"{_PACK}/am/mine").write_bytes(b"?"), (("am/mine", "extra"),)),
    "a directory is added": Corruption(
        lambda v: _add_directory(v / f"{_PACK}/mine"), (("mine", "extra"), ("mine/inside", "extra"))
    ),
    "a link is added": Corruption(lambda v: (v / f"{_PACK}/mine").symlink_to("am"), (("mine", "extra"),)),
    "a file is not readable": Corruption(lambda v: (v / _MODEL).chmod(0), (("am/final.mdl", "mode"),), _NOTHING),
    "an executable is not executable": Corruption(
        lambda v: (v / _DECODER).chmod(0o644), (("bin/decode", "mode"),), _NOTHING
    ),
    "a file is executable": Corruption(lambda v: (v / _GRAPH).chmod(0o755), (("graph/HCLG.fst", "mode"),), _NOTHING),
    "a directory cannot be entered": Corruption(lambda v: (v / f"{_PACK}/am").chmod(0o600), (("am", "mode"),)),
    "the pack cannot be entered": Corruption(lambda v: (v / _PACK).chmod(0o700), ((".", "mode"),)),
    "a file is a link to its copy": Corruption(
        lambda v: _replace_by_link(v / _MODEL), (("am/final.mdl", "type"), ("am/elsewhere", "extra"))
    ),
    "a file is a directory": Corruption(
        lambda v: _replace_by_directory(v / _MODEL), (("am/final.mdl", "type"), ("am/final.mdl/inside", "extra"))
    ),
    "a file is a pipe": Corruption(lambda v: _replace_by_pipe(v / _GRAPH), (("graph/HCLG.fst", "type"),)),
    "a directory is a file": Corruption(
        lambda v: _replace_by_file(v / f"{_PACK}/am"), (("am", "type"), ("am/final.mdl", "missing"))
    ),
    "a directory is a link to its copy": Corruption(
        lambda v: _replace_by_link(v / f"{_PACK}/am"),
        (("am", "type"), ("am/final.mdl", "missing"), ("elsewhere", "extra"), ("elsewhere/final.mdl", "extra")),
    ),
    "an empty directory is missing": Corruption(lambda v: (v / f"{_PACK}/spare").rmdir(), (("spare", "missing"),)),
    "a directory with files is missing": Corruption(
        lambda v: shutil.rmtree(v / f"{_PACK}/am"), (("am", "missing"), ("am/final.mdl", "missing"))
    ),
    "a pack is missing": Corruption(lambda v: shutil.rmtree(v / _OTHER), _ALL_MISSING),
    "a pack is a link to its copy": Corruption(
        lambda v: _replace_by_link(v / _OTHER), ((".", "type"), *_ALL_MISSING[1:]), leaves="packs/common/elsewhere"
    ),
    "a manifest is missing": Corruption(lambda v: (v / _MANIFEST).unlink(), (("", "manifest"),)),
    "a manifest is truncated": Corruption(lambda v: os.truncate(v / _MANIFEST, 100), (("", "manifest"),)),
    "a manifest is of another version": Corruption(
        lambda v: shutil.copy(v / "manifests/nl-nl/1.json", v / _MANIFEST), (("", "manifest"),)
    ),
    "a pack's link is missing": Corruption(lambda v: (v / _LINK).unlink(), (("nl-nl", "link"),)),
    "a pack's link has another target": Corruption(
        lambda v: _relink(v / _LINK, "../../packs/nl-nl/1"), (("nl-nl", "link"),)
    ),
    "a pack's link is a copy": Corruption(lambda v: _replace_by_copy(v / _LINK), (("nl-nl", "link"),)),
    "a link is added to the release": Corruption(
        lambda v: (v / "current/en-us").symlink_to("../../packs/nl-nl/1"), (("en-us", "extra"),)
    ),
    "the release's record is missing": Corruption(lambda v: _record(v).unlink(), (("release.json", "record"),)),
    "the release's record is truncated": Corruption(
        lambda v: os.truncate(_record(v), 40), (("release.json", "record"),)
    ),
}
