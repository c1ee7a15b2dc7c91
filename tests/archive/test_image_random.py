"""Random images: compare installed trees with the intended ones, and installs that reuse layers with fresh ones."""

from __future__ import annotations

import io
import random
from typing import TYPE_CHECKING

import pytest

from models_init.archive.image.layer_reuse import find_layers
from models_init.archive.image.scan import ImageArchive, scan_image
from models_init.archive.tree_writer import TreeWriter
from models_init.core.digests import digest_of
from models_init.formats.manifest import Archive, Manifest, OpaqueArchive, encode
from models_init.fs.page_cache import NoPageCachePolicy
from models_init.volume.layout import Volume
from tests.archive.images import described, directory, layer, regular, scanned, unpacked
from tests.publish.packs import REF

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from models_init.archive.scan import ScanResult
    from models_init.formats.ordinary_image import OrdinaryImage

TOP = "models/nl-nl"

Tree = dict[str, bytes | None]
"""Files by path, and directories with None."""


def _parents(path: str) -> Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path


def _below(tree: Tree, path: str) -> list[str]:
    return [name for name in tree if name.startswith(f"{path}/")]


def _changed(chance: random.Random, tree: Tree) -> Tree:
    """Return a tree with some entries added, removed and replaced by others."""
    new = dict(tree)
    for _ in range(chance.randrange(1, 10)):
        if new and chance.random() < 0.4:
            victim = chance.choice(sorted(new))
            for name in (victim, *_below(new, victim)):
                del new[name]
            continue
        path = "/".join(chance.choice("abc") for _ in range(chance.randrange(1, 4)))
        for name in (path, *_below(new, path)):
            new.pop(name, None)
        new.update(dict.fromkeys(_parents(path)))
        new[path] = chance.choice([None, chance.randbytes(8)])
    return new


def _layer_between(chance: random.Random, old: Tree, new: Tree) -> bytes:
    """Return the layer that turns `old` into `new`, with whiteouts at random places among its entries."""
    both = [path for path in new if new[path] is None and path in old and old[path] is None]
    opaque = {path for path in both if chance.random() < 0.2}
    hidden = {name for path in opaque for name in _below(old, path)}
    kept = {name: content for name, content in old.items() if name not in hidden}
    changed = {path for path in new if path not in kept or kept[path] != new[path]} | opaque
    removed = {
        path for path in kept if path not in new and all(new.get(parent, b"") is None for parent in _parents(path))
    }
    listed = changed.union(*map(_parents, changed | removed))
    entries = [
        directory(f"{TOP}/{path}") if new[path] is None else regular(f"{TOP}/{path}", new[path] or b"")
        for path in sorted(listed)
    ]
    for path in removed:
        parent, _, name = f"{TOP}/{path}".rpartition("/")
        entries.insert(chance.randrange(len(entries) + 1), regular(f"{parent}/.wh.{name}"))
    for path in opaque:
        entries.insert(chance.randrange(len(entries) + 1), regular(f"{TOP}/{path}/.wh..wh..opq"))
    return layer(directory("models"), directory(TOP), *entries)


def _random_image(chance: random.Random, count: int) -> tuple[list[bytes], Tree]:
    """Return the layers of an image, and its tree; one file of it is never changed."""
    streams, tree = [layer(regular(f"{TOP}/kept", b"k"))], Tree()
    for _ in range(count):
        new = _changed(chance, tree)
        streams.append(_layer_between(chance, tree, new))
        tree = new
    return streams, {"kept": b"k", **tree}


@pytest.mark.parametrize("seed", range(100))
def test_random_layers_give_the_intended_tree(tmp_path: Path, seed: int) -> None:
    streams, expected = _random_image(random.Random(seed), 6)
    assert unpacked(streams, tmp_path / "tree") == expected


def _derived(result: ScanResult, image: OrdinaryImage, archive: Archive) -> bytes:
    published = Manifest(1, *REF, archive, (), plain=OpaqueArchive(image=image))
    return encode(result.builder.derived(published, digest_of(b"published"), result.image))


def _install(volume: Volume, streams: Sequence[bytes], root: Path) -> None:
    """Install an image as the pack `REF`."""
    image, stream = described(streams)
    result = scanned(image, stream, root)
    volume.pack_path(REF).parent.mkdir(parents=True)
    volume.manifest_path(REF).parent.mkdir(parents=True)
    (root / "nl-nl").rename(volume.pack_path(REF))
    archive = Archive("image.layers", len(stream), digest_of(b"image"))
    volume.manifest_path(REF).write_bytes(_derived(result, image, archive))


def _contents(root: Path) -> Tree:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("seed", range(60))
def test_reused_layers_give_the_same_manifest_and_tree(tmp_path: Path, seed: int) -> None:
    """The new image has some of the layers of the installed one, in their order, and others between them."""
    chance = random.Random(seed)
    old, _ = _random_image(chance, 5)
    own = (layer(directory(TOP), regular(f"{TOP}/own-{number}", b"o")) for number in range(5))
    new = [old[0]]
    for stream in old[1:]:
        new += [stream] * (chance.random() < 0.8) + [next(own)] * (chance.random() < 0.3)
    volume = Volume(tmp_path / "volume")
    _install(volume, old, tmp_path / "old")
    image, stream = described(new)
    fresh = scanned(image, stream, tmp_path / "fresh")
    found = find_layers(volume, REF.name, image)
    assert 0 in found
    missing = b"".join(plain for number, plain in enumerate(new) if number not in found)
    archive = Archive("image.layers", len(stream), digest_of(b"image"))
    writer = TreeWriter(tmp_path / "reused", NoPageCachePolicy())
    reused = scan_image(io.BytesIO(missing), ImageArchive(archive, OpaqueArchive(), image, found), writer)
    assert _derived(reused, image, archive) == _derived(fresh, image, archive)
    assert _contents(tmp_path / "reused/nl-nl") == _contents(tmp_path / "fresh/nl-nl")
