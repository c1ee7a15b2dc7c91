"""Incompatible packs are never current together: a release is activated as a set or not at all."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from models_init.formats.manifest import Requirement
from tests.lifecycle import volume_oracle
from tests.lifecycle.sample_packs import CHUNK, COMMON, ONE, TWO
from tests.lifecycle.scenarios import NEW, OLD
from tests.publish.packs import built

if TYPE_CHECKING:
    from pathlib import Path

    from models_init.core.pack_ref import PackRef
    from tests.lifecycle.sample_packs import SamplePacks
    from tests.lifecycle.site import LifecycleSite

INCOMPATIBLE, WRONG_BYTES = 12, 30


def demanding(samples: SamplePacks, directory: Path, ref: PackRef, *versions: str) -> SamplePacks:
    """Return the packs, one of which requires these versions of `common`."""
    copied = replace(samples, directory=shutil.copytree(samples.directory, directory / "packs"))
    shutil.rmtree(copied.directory / ref.name / ref.version)
    tree = samples.directory.parent / f"{ref.name}-{ref.version}"
    built(tree, copied.directory, ref, chunk_size=CHUNK, level=1, requires=(Requirement(COMMON.name, versions),))
    return copied


@pytest.mark.parametrize("action", ["", "--plan"])
def test_incompatible_versions_are_refused_before_download(site: LifecycleSite, tmp_path: Path, action: str) -> None:
    """The message names the compatible versions."""
    site.install(OLD)
    vendor = replace(site, samples=demanding(site.samples, tmp_path, TWO, "2", "3"))
    for archive in vendor.samples.directory.rglob("*.zst"):
        archive.unlink()
    refused = vendor.run(*filter(None, [action]))
    assert refused.code == INCOMPATIBLE
    assert "nl-nl 2 works with common 2 or 3" in refused.err
    assert "asks for 1" in refused.err
    assert site.active == OLD


def test_met_requirement_is_installed(site: LifecycleSite, tmp_path: Path) -> None:
    vendor = replace(site, samples=demanding(site.samples, tmp_path, TWO, COMMON.version, "9"))
    vendor.install(OLD, NEW)
    assert vendor.active == NEW


def test_requirement_of_installed_pack_is_checked(site: LifecycleSite, tmp_path: Path) -> None:
    vendor = replace(site, samples=demanding(site.samples, tmp_path, ONE, COMMON.version))
    vendor.install(OLD)
    other = frozenset({COMMON._replace(version="2"), ONE})
    shutil.copytree(vendor.samples.directory / "common/1", vendor.samples.directory / "common/2")
    manifest = vendor.samples.directory / "common/2/manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"version":"1"', b'"version":"2"'))
    refused = vendor.run(wanted=other)
    assert refused.code == INCOMPATIBLE
    assert "nl-nl 1 works with common 1" in refused.err
    assert vendor.active == OLD


def test_release_is_not_activated_if_one_pack_fails(site: LifecycleSite, tmp_path: Path) -> None:
    """The other packs are kept for the next run."""
    vendor = replace(
        site, samples=replace(site.samples, directory=shutil.copytree(site.samples.directory, tmp_path / "packs"))
    )
    site.install(OLD)
    archive = vendor.samples.directory / "nl-nl/2/pack.tar.zst"
    whole = archive.read_bytes()
    archive.write_bytes(bytes(len(whole)))
    failed = vendor.run()
    assert failed.code == WRONG_BYTES
    assert volume_oracle.active(site.volume, site.samples) == OLD
    archive.write_bytes(whole)
    vendor.done()
    assert vendor.active == NEW
