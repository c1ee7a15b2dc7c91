"""Damaged and incomplete bundles: each fault is located, and only the affected data is lost."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from models_init.cli.commands.install import install
from models_init.cli.settings import load
from models_init.core.errors import ModelsInitError, SourceError, WrongBytesError
from models_init.core.events import NullObserver
from models_init.formats import bundle_index
from models_init.publish.bundle.layout import layout_of
from models_init.publish.inspection.inspect_bundle import inspect
from models_init.runtime.workers import Workers
from models_init.sources.bundle import Bundle
from tests.bundle import media, vendor
from tests.bundle.test_install import untouched
from tests.samples import Shape, same_tree, write_tree
from tests.site import COMMON, DUTCH, Packs, Site, build_packs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from models_init.publish.inspection.inspect_bundle import BundleDamage

_FLIPS = 100
_KIB = 1 << 10


@dataclass(frozen=True)
class BundleCopy:
    """A small bundle, and a copy that tests damage."""

    packs: Packs
    good: Path
    copy: Path

    def environment(self, volume: Path, source: Path) -> dict[str, str]:
        """Return the settings of an install from `source`."""
        return {**self.packs.environment, "MODELS_URL": str(source), "MODELS_DIR": str(volume)}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Packs:
    """Packs of about 300 KiB, in chunks of about 16 KiB, at most 28."""
    directory = tmp_path_factory.mktemp("small")
    shapes = {COMMON: Shape(texts=5, weights=(), dense=()), DUTCH: Shape(4, (150 * _KIB,), (90 * _KIB + 1,))}
    trees = {ref: write_tree(directory / ref.name, shape, ref.name) for ref, shape in shapes.items()}
    return build_packs(directory, trees, level=1, chunk_size=16 * _KIB)


@pytest.fixture(scope="module")
def bundle_copy(small: Packs, tmp_path_factory: pytest.TempPathFactory) -> BundleCopy:
    """The bundle, and the path for a copy."""
    directory = tmp_path_factory.mktemp("bundle_copy")
    vendor.bundled("--out", directory / "good.tar", **small.environment)
    return BundleCopy(small, directory / "good.tar", directory / "site.tar")


@pytest.fixture
def damaged(bundle_copy: BundleCopy) -> BundleCopy:
    """A new, undamaged copy."""
    shutil.copy(bundle_copy.good, bundle_copy.copy)
    return bundle_copy


def _install(environment: dict[str, str]) -> dict[str, object]:
    return asyncio.run(install(load(environment, with_packs=True), NullObserver())).content


def _inspected(path: Path) -> tuple[BundleDamage, ...]:
    workers = Workers()
    try:
        return asyncio.run(inspect(path, workers, NullObserver())).damages
    finally:
        workers.close()


@pytest.mark.parametrize("number", range(_FLIPS))
def test_flipped_bit_is_located_and_only_its_chunk_is_lost(damaged: BundleCopy, tmp_path: Path, number: int) -> None:
    """The other chunks stay in staging, and the good copy supplies the missing one."""
    (bit,) = media.some_bits(damaged.copy, 1, f"flip {number}")
    byte = media.flip(damaged.copy, bit)
    (damage,) = _inspected(damaged.copy)
    assert damage.path == str(damaged.copy)
    assert damage.offset <= byte
    volume = tmp_path / "models"
    if message := _wrong_bytes_message(damaged.environment(volume, damaged.copy)):
        assert damage.what.startswith("the chunk of ")
        assert byte < damage.offset + 30 * _KIB
        assert f"byte {damage.offset} of {damaged.copy}" in message
        assert "use another copy of the bundle, or set MODELS_URL to a container" in message
        assert not (volume / "current").exists()
        fetched = _install(damaged.environment(volume, damaged.good))["bytes_fetched"]
        assert isinstance(fetched, int)
        assert 0 < fetched < 30 * _KIB
    else:
        assert not damage.what.startswith("the chunk of ")
    assert damaged.packs.differences(Site(volume), COMMON, DUTCH) == []


def _wrong_bytes_message(environment: dict[str, str]) -> str:
    """Install, and return the message about wrong bytes, or an empty string."""
    try:
        _install(environment)
    except WrongBytesError as error:
        return str(error)
    return ""


def _table(contents: bundle_index.Contents, name: str, at: int) -> int:
    layout = layout_of(contents)
    return {"head": bundle_index.CONTENTS_START, "copy": layout.copy_offset}[name] + at


_PLACES: dict[str, Callable[[bundle_index.Contents], int]] = {
    "the table's first line": lambda contents: _table(contents, "head", 14),
    "the table": lambda contents: _table(contents, "head", 200),
    "the table's header": lambda _: 130,
    "the copy of the table": lambda contents: _table(contents, "copy", 200),
    "the copy's last line": lambda contents: _table(contents, "copy", layout_of(contents).length - 20),
    "the end": lambda contents: contents.size - 1,
    "a member's header": lambda contents: contents.members[4].offset - 512 + 124,
    "padding": lambda contents: contents.members[0].offset + contents.members[0].size,
    "instructions": lambda contents: contents.members[0].offset,
    "a manifest": lambda contents: _member(contents, "common/2026.04/manifest.json"),
    "its copy": lambda contents: _member(contents, "copies/common/2026.04/manifest.json"),
    "between chunks": lambda contents: _member(contents, "common/2026.04/pack.tar.zst"),
}


def _member(contents: bundle_index.Contents, name: str) -> int:
    return next(member.offset for member in contents.members if member.name == name)


@pytest.mark.parametrize("place", _PLACES)
def test_damage_outside_chunks_is_located_and_install_succeeds(damaged: BundleCopy, tmp_path: Path, place: str) -> None:
    """Tables and manifests exist twice, and headers are not needed."""
    opened = Bundle.open(damaged.copy)
    opened.files.close()
    byte = media.flip(damaged.copy, 8 * _PLACES[place](opened.contents) + 3)
    (damage,) = _inspected(damaged.copy)
    assert damage.offset <= byte
    _install(damaged.environment(tmp_path / "models", damaged.copy))
    assert damaged.packs.differences(Site(tmp_path / "models"), COMMON, DUTCH) == []


def test_manifest_damaged_in_both_copies_is_wrong_bytes(damaged: BundleCopy, tmp_path: Path) -> None:
    opened = Bundle.open(damaged.copy)
    opened.files.close()
    for name in ("common/2026.04/manifest.json", "copies/common/2026.04/manifest.json"):
        media.flip(damaged.copy, 8 * _member(opened.contents, name))
    with pytest.raises(WrongBytesError, match=r"manifest\.json is damaged in the bundle, in both copies"):
        _install(damaged.environment(tmp_path / "models", damaged.copy))


def test_any_flipped_bit_invalidates_table_of_contents() -> None:
    contents = bundle_index.Contents(
        bundle_index.SCHEMA, "x", {}, {}, 1 << 20, (bundle_index.Member("a", 0, 5, bundle_index.UNKNOWN_DIGEST),)
    )
    text = bytearray(bundle_index.encode(contents))
    assert bundle_index.decode(bytes(text)) == contents
    for bit in range(0, 8 * len(text), 7):
        text[bit // 8] ^= 1 << bit % 8
        assert bundle_index.decode(bytes(text)) is None
        text[bit // 8] ^= 1 << bit % 8


def test_inspect_lists_damage_and_exits_with_30(damaged: BundleCopy) -> None:
    opened = Bundle.open(damaged.copy)
    opened.files.close()
    media.flip(damaged.copy, 8 * (_member(opened.contents, "nl-nl/2026.04/pack.tar.zst") + 60_000))
    done = vendor.run("inspect", damaged.copy)
    assert done.code == 30
    assert "nl-nl/2026.04/pack.tar.zst  the chunk of " in done.out
    assert "1 damage in" in vendor.fault(done)
    message = json.loads(vendor.run("inspect", damaged.copy, "--json").out)
    assert (message["whole"], message["damage_count"], message["damages"][0]["file"]) == (False, 1, str(damaged.copy))


# --- incomplete bundles ---


@pytest.mark.parametrize("gap", [None, 100], ids=["no member", "no room for a tar header"])
def test_table_that_no_bundle_has_is_reported(tmp_path: Path, gap: int | None) -> None:
    """It is intact by its own digest."""
    contents = bundle_index.Contents(1, "file:///packs", {}, {}, 1 << 20, ())
    if gap is not None:
        member = bundle_index.Member("a", gap, 1, bundle_index.UNKNOWN_DIGEST)
        contents = replace(contents, members=(member,))
    text = bundle_index.encode(contents)
    path = tmp_path / "site.tar"
    path.write_bytes((bytes(bundle_index.CONTENTS_START) + text).ljust(contents.size, b"\0"))
    with pytest.raises(SourceError, match="is not one that `models-pack bundle` writes"):
        _inspected(path)


def _swap(directory: Path, one: str, other: str) -> None:
    (directory / one).rename(directory / "aside")
    (directory / other).rename(directory / one)
    (directory / "aside").rename(directory / other)


def _remove(directory: Path, *names: str) -> None:
    for name in names:
        (directory / name).unlink()


def _damage_both_tables(path: Path) -> None:
    media.flip(path, 8 * 2000)
    _cut(path, 9_000_000)


def _cut(path: Path, size: int) -> None:
    with path.open("r+b") as file:
        file.truncate(size)


_PARTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "the first is missing": (lambda directory: (directory / "site.tar.001").unlink(), "site.tar.001 is missing in "),
    "one in the middle is missing": (
        lambda directory: (directory / "site.tar.003").unlink(),
        "site.tar.003 is missing in ",
    ),
    "the last is missing": (lambda directory: (directory / "site.tar.005").unlink(), "site.tar.005 is missing in "),
    "two are missing": (
        lambda directory: _remove(directory, "site.tar.002", "site.tar.005"),
        "site.tar.002 is missing in ",
    ),
    "one is cut": (
        lambda directory: _cut(directory / "site.tar.002", 1_000_000),
        "site.tar.002 has 1000000 bytes of 2500000",
    ),
    "one is empty": (lambda directory: _cut(directory / "site.tar.004", 0), "site.tar.004 has 0 bytes of 2500000"),
    "two in the middle changed places": (
        lambda directory: _swap(directory, "site.tar.002", "site.tar.004"),
        "site.tar.002 is part 4 of the bundle, but named as part 2",
    ),
    "the first changed places": (
        lambda directory: _swap(directory, "site.tar.001", "site.tar.003"),
        "site.tar.003 is part 1 of the bundle, but named as part 3",
    ),
    "the last changed places": (
        lambda directory: _swap(directory, "site.tar.005", "site.tar.002"),
        "site.tar.002 is part 5 of the bundle, but named as part 2",
    ),
    "first and last changed places": (
        lambda directory: _swap(directory, "site.tar.001", "site.tar.005"),
        "site.tar.005 is part 1 of the bundle, but named as part 5",
    ),
    "one too many": (
        lambda directory: shutil.copy(directory / "site.tar.002", directory / "site.tar.006"),
        "site.tar.006 does not belong to the bundle, which has 5 parts",
    ),
    "next to another bundle": (
        lambda directory: shutil.copy(directory / "site.tar.002", directory / "other.tar.001"),
        "has parts of several bundles (other.tar, site.tar.*)",
    ),
}


@pytest.mark.parametrize("what", _PARTS)
def test_missing_or_misplaced_part_is_named_and_volume_untouched(
    site: Site, parts: Path, tmp_path: Path, what: str
) -> None:
    directory = shutil.copytree(parts, tmp_path / "bundle_copy")
    damage, message = _PARTS[what]
    damage(directory)
    done = site.run(MODELS_URL=str(directory))
    assert done.code == 20
    assert message in done.fault
    assert untouched(site.volume)
    with pytest.raises(SourceError, match=re.escape(message)):
        _inspected(directory)


def test_attribute_files_of_macos_are_not_taken_for_parts(parts: Path, tmp_path: Path) -> None:
    directory = shutil.copytree(parts, tmp_path / "bundle_copy")
    for path in list(directory.iterdir()):
        (directory / f"._{path.name}").write_bytes(b"\0\5\x16\7")
    assert not _inspected(directory)


def test_dated_copy_next_to_parts_is_not_taken_for_a_part(parts: Path, tmp_path: Path) -> None:
    """If it were, all parts with lower numbers would be missing: more names than fit into memory."""
    directory = shutil.copytree(parts, tmp_path / "bundle_copy")
    (directory / "site.tar.20261128120000").touch()
    assert not _inspected(directory)


_FILES: dict[str, tuple[Callable[[Path], object], int, str]] = {
    "cut": (lambda path: _cut(path, 5_000_000), 20, "site.tar has 5000000 bytes of 1"),
    "longer": (lambda path: _cut(path, 20_000_000), 20, "site.tar has 20000000 bytes of 1"),
    "empty": (lambda path: _cut(path, 0), 20, "site.tar is empty: the copy is incomplete"),
    "not there": (lambda path: path.unlink(), 20, "does not exist; mount the disk"),
    "both tables damaged": (
        _damage_both_tables,
        20,
        "is damaged, and so is its copy at the end, or it is missing; copy the bundle again",
    ),
    "no bundle": (lambda path: path.write_bytes(b"\x1f\x8b something else" * 100), 2, "site.tar is not a bundle"),
    "a text": (lambda path: path.write_text("hello"), 2, "site.tar is not a bundle"),
}


@pytest.mark.parametrize("what", _FILES)
def test_unusable_bundle_file_is_reported_and_volume_untouched(
    site: Site, whole: Path, tmp_path: Path, what: str
) -> None:
    """Exit code 20 for an incomplete copy, 2 for a file of another kind."""
    bundle_copy = tmp_path / "site.tar"
    shutil.copy(whole, bundle_copy)
    damage, code, message = _FILES[what]
    damage(bundle_copy)
    done = site.run(MODELS_URL=str(bundle_copy))
    assert done.code == code
    assert message in done.fault
    assert untouched(site.volume)
    with pytest.raises(ModelsInitError, match=re.escape(message)) as refused:
        _inspected(bundle_copy)
    assert refused.value.exit_code == code


def test_network_supplies_only_chunk_damaged_in_bundle(site: Site, packs: Packs, whole: Path, tmp_path: Path) -> None:
    bundle_copy = tmp_path / "site.tar"
    shutil.copy(whole, bundle_copy)
    media.flip(bundle_copy, 8 * 6_000_000)
    failed = site.run(MODELS_URL=str(bundle_copy))
    assert failed.code == 30
    assert f"{bundle_copy}: use another copy of the bundle" in failed.fault
    done = site.run("--json")
    assert (done.code, done.json["activated"]) == (0, True)
    assert done.json["bytes_fetched"] <= 450 * _KIB  # the largest chunk if the average is 256 KiB
    assert same_tree(packs.trees[DUTCH], site.active("nl-nl").resolve()) == []
