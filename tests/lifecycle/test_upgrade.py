"""An upgrade fetches and writes only the changes."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from models_init.formats.manifest import MIB
from tests import upgrades
from tests.publish.packs import KIB, built
from tests.services import require_tool
from tests.site import COMMON, DUTCH, NEWER, Packs, Site

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 10 * MIB


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Packs:
    """Build two versions of 100 MiB, of which one file in ten differs."""
    return upgrades.build(tmp_path_factory.mktemp("versions"), SIZE)


@pytest.fixture
def installed(tmp_path: Path, versions: Packs) -> Site:
    """Install the older version."""
    site = Site(tmp_path / "models", versions.environment)
    assert site.run().code == 0
    return site


def rebuilt(versions: Packs, directory: Path, tree: Path) -> Packs:
    """Return the packs with another tree as the newer version."""
    shutil.copytree(versions.directory, directory / "packs")
    shutil.rmtree(directory / "packs" / NEWER.name / NEWER.version)
    built(tree, directory / "packs", NEWER, level=1)
    return Packs(directory / "packs", {**versions.trees, NEWER: tree})


def upgraded(site: Site, packs: Packs, *, through: tuple[str, ...] = ()) -> dict[str, int]:
    """Upgrade from these packs and check the result."""
    done = upgrades.newer(site).but(MODELS_URL=packs.url).run("--json", through=through)
    assert done.code == 0, done.err
    assert packs.differences(site, COMMON, NEWER) == []
    return done.json


def test_upgrade_fetches_and_writes_only_changed_files(installed: Site, versions: Packs) -> None:
    """The bytes are at most 1.05 times those of the chunks of the changed files."""
    before = upgrades.on_disk(installed.volume)
    done = upgraded(installed, versions)
    wanted = upgrades.ideal(versions.manifest(NEWER), upgrades.CHANGED)

    assert wanted <= done["bytes_fetched"] <= 1.05 * wanted
    assert upgrades.on_disk(installed.volume) - before <= 1.05 * wanted
    shared = [
        upgrades.shares_inode(installed, DUTCH, NEWER, file.path)
        for file in versions.manifest(NEWER).files
        if file.path != upgrades.CHANGED
    ]
    assert shared == [True] * 9


def test_plan_matches_what_upgrade_fetches(installed: Site, versions: Packs) -> None:
    """The figures are equal except for the gaps between chunks."""
    plan = upgrades.newer(installed).run("--plan", "--json").json
    assert plan["bytes_to_fetch"] == upgrades.ideal(versions.manifest(NEWER), upgrades.CHANGED)
    assert plan["bytes_to_reuse"] == versions.manifest(NEWER).size + versions.manifest(COMMON).size - SIZE
    assert plan["bytes_to_fetch"] <= upgraded(installed, versions)["bytes_fetched"]


def test_unchanged_chunks_of_changed_file_are_copied(installed: Site, versions: Packs, tmp_path: Path) -> None:
    tree = shutil.copytree(versions.trees[DUTCH], tmp_path / "tree")
    with (tree / upgrades.CHANGED).open("r+b") as file:
        file.seek(4 * MIB + 7)
        file.write(b"changed")
    packs = rebuilt(versions, tmp_path, tree)

    done = upgraded(installed, packs)

    (chunk,) = (
        placement.chunk.length
        for placement in packs.manifest(NEWER).placements()
        if placement.file.path == upgrades.CHANGED
        and placement.start <= 4 * MIB + 7 < placement.start + placement.chunk.size
    )
    assert done["bytes_fetched"] == chunk
    assert done["bytes_written"] == SIZE


def test_insertion_at_start_fetches_only_first_chunks(installed: Site, versions: Packs, tmp_path: Path) -> None:
    tree = shutil.copytree(versions.trees[DUTCH], tmp_path / "tree")
    for path in (tree / "weights").iterdir():
        path.write_bytes(b"a longer header" * 7 + path.read_bytes())
    done = upgraded(installed, rebuilt(versions, tmp_path, tree))
    assert done["bytes_fetched"] <= 10 * 112 * KIB
    assert done["bytes_written"] == 10 * (SIZE + 105)


def test_moved_file_is_linked(installed: Site, versions: Packs, tmp_path: Path) -> None:
    tree = shutil.copytree(versions.trees[DUTCH], tmp_path / "tree")
    (tree / "weights" / "3.bin").rename(tree / "moved.bin")
    assert upgraded(installed, rebuilt(versions, tmp_path, tree))["bytes_fetched"] == 0
    one = installed.volume / "packs" / DUTCH.name / DUTCH.version / "weights" / "3.bin"
    assert one.samefile(installed.active(NEWER.name) / "moved.bin")


def test_file_that_became_executable_is_copied(installed: Site, versions: Packs, tmp_path: Path) -> None:
    """A hard link would change the mode in the older version as well."""
    tree = shutil.copytree(versions.trees[DUTCH], tmp_path / "tree")
    (tree / upgrades.CHANGED).chmod(0o755)
    assert upgraded(installed, rebuilt(versions, tmp_path, tree))["bytes_fetched"] == 0
    assert not upgrades.shares_inode(installed, DUTCH, NEWER, upgrades.CHANGED)


def test_staging_of_another_version_is_reused(versions: Packs, tmp_path: Path) -> None:
    site = Site(tmp_path / "models", versions.environment)
    broken = rebuilt(versions, tmp_path, versions.trees[NEWER])
    archive = broken.directory / DUTCH.name / DUTCH.version / "pack.tar.zst"
    with archive.open("r+b") as file:
        file.seek(archive.stat().st_size // 2)
        file.write(b"\0" * 64)
    assert site.but(MODELS_URL=broken.url).run().code == 30

    done = upgraded(site, versions)

    assert done["bytes_fetched"] <= 1.05 * upgrades.ideal(versions.manifest(NEWER), upgrades.CHANGED) + 3 * MIB


def test_volume_without_hard_links_gets_copies(installed: Site, versions: Packs) -> None:
    refusing = (require_tool("strace"), "-f", "-qq", "-o", os.devnull, "-e", "trace=link,linkat")
    done = upgraded(installed, versions, through=(*refusing, "-e", "inject=link,linkat:error=EPERM"))
    assert done["bytes_fetched"] <= 1.05 * upgrades.ideal(versions.manifest(NEWER), upgrades.CHANGED)
    assert not upgrades.shares_inode(installed, DUTCH, NEWER, "weights/1.bin")


def test_volume_without_symbolic_links_is_refused_before_download(versions: Packs, tmp_path: Path) -> None:
    refusing = (require_tool("strace"), "-f", "-qq", "-o", os.devnull, "-e", "trace=symlink,symlinkat")
    site = Site(tmp_path / "models", versions.environment)
    done = site.run(through=(*refusing, "-e", "inject=symlink,symlinkat:error=EPERM"))
    assert done.code == 43
    assert "refuses symbolic links" in done.fault
    assert site.staging(DUTCH) == []
