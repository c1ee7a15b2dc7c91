"""Tiny packs with every kind of entry, and the trees that they must become on a volume."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import random
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from models_init.archive.scan import limits_of, scan
from models_init.core.pack_ref import PackRef
from models_init.formats.manifest import MANIFEST_NAME, Manifest, OpaqueArchive, encode
from models_init.formats.manifest import parse as parse_manifest
from tests.archive.archives import packed
from tests.archive.archives import publish as publish_archive
from tests.publish.packs import built, write

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

CHUNK = 4 << 10
COMMON, ONE, TWO, THREE = PackRef("common", "1"), PackRef("nl-nl", "1"), PackRef("nl-nl", "2"), PackRef("nl-nl", "3")
PLAIN = PackRef("nl-nl", "4")
"""The content of TWO as an opaque archive."""

Entry = tuple[str, int, str]
Tree = dict[str, Entry]
"""Kind, permission bits, and digest or link target of each path; the root is "."."""


@dataclass(frozen=True)
class SamplePacks:
    """Built packs in a directory, and the tree of each."""

    directory: Path
    trees: Mapping[PackRef, Tree]
    derived: Mapping[PackRef, bytes] = field(default_factory=dict)

    def manifest(self, ref: PackRef) -> Manifest:
        """Return the manifest of the pack."""
        return parse_manifest(self.document(ref), ref)

    def document(self, ref: PackRef) -> bytes:
        """Return the manifest on a volume: the published one, or the derived one of an opaque archive."""
        return self.derived.get(ref) or (self.directory / ref.name / ref.version / MANIFEST_NAME).read_bytes()

    def environment(self, volume: Path, *refs: PackRef, **variables: str) -> dict[str, str]:
        """Return the environment that names these packs, which include `common`."""
        versions = dict(refs)
        languages = [f"{name}@{version}" for name, version in versions.items() if name != COMMON.name]
        return {
            "MODELS_DIR": str(volume),
            "MODELS_URL": self.directory.as_uri(),
            "REALTIME_LANGUAGES": ",".join(languages),
            "REALTIME_COMMON_VERSION": versions[COMMON.name],
            "MODELS_KEEP_LOGS": "no",  # a thread writes them, in no fixed order relative to other changes
            **variables,
        }


def stock(directory: Path) -> SamplePacks:
    """Build one version of `common` and three of `nl-nl`, each slightly different from the previous one."""
    contents = {COMMON: _common(), ONE: _first(), TWO: _second(), THREE: _third()}
    trees = {ref: publish(directory, ref, files) for ref, files in contents.items()}
    derived = publish_plain(directory, PLAIN, directory / f"{TWO.name}-{TWO.version}")
    return SamplePacks(directory / "packs", {**trees, PLAIN: trees[TWO]}, {PLAIN: derived})


def publish_plain(directory: Path, ref: PackRef, source: Path) -> bytes:
    """Publish a directory as an opaque archive below `directory/packs`; return the derived manifest."""
    archive = gzip.compress(packed(source), mtime=0)
    manifest = publish_archive(directory / "packs", archive, ref, "model.tar.gz")
    outcome = scan(io.BytesIO(archive), limits_of(manifest.archive, OpaqueArchive()), OpaqueArchive())
    return encode(outcome.builder.derived(manifest, f"sha256:{hashlib.sha256(encode(manifest)).hexdigest()}"))


def publish(
    directory: Path, ref: PackRef, files: Mapping[str, bytes], executable: Iterable[str] = ("bin/decode",)
) -> Tree:
    """Build a pack below `directory/packs`; return its tree."""
    source = write(directory / f"{ref.name}-{ref.version}", files)
    for path in (source, *source.rglob("*")):
        path.chmod(0o755 if path.is_dir() or str(path.relative_to(source)) in executable else 0o644)
    built(source, directory / "packs", ref, chunk_size=CHUNK, level=1)
    return tree_of(source)


def tree_of(root: Path) -> Tree:
    """Return all entries of the tree, and `root` itself."""
    found = {".": _entry(str(root))}
    for parent, directories, names in os.walk(root):
        for name in (*directories, *names):
            path = f"{parent}/{name}"
            found[os.path.relpath(path, root)] = _entry(path)
    return found


def _entry(path: str) -> Entry:
    mode = os.lstat(path).st_mode
    if stat.S_ISREG(mode):
        with open(path, "rb") as file:
            return "file", stat.S_IMODE(mode), hashlib.sha256(file.read()).hexdigest()
    if stat.S_ISLNK(mode):
        return "link", 0, os.readlink(path)
    return "directory" if stat.S_ISDIR(mode) else "other", stat.S_IMODE(mode), ""


def noise(size: int, seed: str) -> bytes:
    """Return incompressible bytes from a seed."""
    return random.Random(seed).randbytes(size)


def _common() -> dict[str, bytes]:
    return {"phones.txt": b"a b c\n", "dict/words.bin": noise(CHUNK + 500, "words")}


def _first() -> dict[str, bytes]:
    return {
        "am/final.mdl": noise(2 * CHUNK + 100, "model"),
        "bin/decode": b"#!/bin/sh\n",
        "conf/empty.conf": b"",
        "lexicon.txt": b"huis h ui s\n" * 20,
        "graph/HCLG.fst": noise(CHUNK, "graph"),
        "spare/": b"",
    }


def _second() -> dict[str, bytes]:
    """Return the first version with one changed chunk, one moved file and one new file."""
    files = _first()
    model = files["am/final.mdl"]
    changed = model[:CHUNK] + noise(CHUNK, "better") + model[2 * CHUNK :]
    return files | {
        "am/final.mdl": changed,
        "text/lexicon.txt": files.pop("lexicon.txt"),
        "conf/new.conf": b"beam=13\n",
    }


def _third() -> dict[str, bytes]:
    return _second() | {"graph/HCLG.fst": noise(2 * CHUNK, "larger graph")}
