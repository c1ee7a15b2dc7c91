"""Packs that do not work together never meet: a release is activated as a set, or not at all."""

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
    """The same packs, one of which now requires some versions of `common`."""
    copied = replace(samples, directory=shutil.copytree(samples.directory, directory / "packs"))
    shutil.rmtree(copied.directory / ref.name / ref.version)
    tree = samples.directory.parent / f"{ref.name}-{ref.version}"
    built(tree, copied.directory, ref, chunk_size=CHUNK, level=1, requires=(Requirement(COMMON.name, versions),))
    return copied


@pytest.mark.parametrize("action", ["", "--plan"])
def test_a_set_that_does_not_fit_is_refused_before_the_first_byte(
    site: LifecycleSite, tmp_path: Path, action: str
) -> None:
    """It is refused with the versions that would fit; nothing is fetched but manifests, and the older release stays."""
    site.install(OLD)
    vendor = replace(site, samples=demanding(site.samples, tmp_path, TWO, "2", "3"))
    for archive in vendor.samples.directory.rglob("*.zst"):
        archive.unlink()
    refused = vendor.run(*filter(None, [action]))
    assert refused.code == INCOMPATIBLE
    assert "nl-nl 2 works with common 2 or 3" in refused.err
    assert "names 1" in refused.err
    assert site.active == OLD


def test_a_set_that_fits_is_installed(site: LifecycleSite, tmp_path: Path) -> None:
    """A requirement that is met is no obstacle, whether the pack that meets it is new or installed."""
    vendor = replace(site, samples=demanding(site.samples, tmp_path, TWO, COMMON.version, "9"))
    vendor.install(OLD, NEW)
    assert vendor.active == NEW


def test_an_installed_pack_keeps_its_demands(site: LifecycleSite, tmp_path: Path) -> None:
    """What an installed pack requires is asked of new ones, too, and the source is not needed for that."""
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


def test_a_set_of_which_one_pack_fails_is_not_activated(site: LifecycleSite, tmp_path: Path) -> None:
    """The packs that came are kept for the next run; what is current stays until all are there."""
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
