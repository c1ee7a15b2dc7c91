"""`--verify` names every difference from the published pack, and `--repair` fetches only the damaged chunks."""

from __future__ import annotations

import os
import shutil
from functools import partial
from typing import TYPE_CHECKING

import pytest

from models_init.cli.arguments import parse
from models_init.cli.commands import receipt
from models_init.cli.settings import read
from models_init.volume.layout import Volume
from tests.lifecycle import volume_oracle
from tests.lifecycle.corruptions import CORRUPTIONS
from tests.lifecycle.repair_cases import DAMAGED, Flip, UpgradedVolume, corruption, flip_bits
from tests.lifecycle.scenarios import NEW, OLD
from tests.lifecycle.summary import report_at_end
from tests.preflight.mounts import failing, powerless
from tests.site import Site

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.lifecycle.fork_server import Pool
    from tests.lifecycle.sample_packs import SamplePacks
    from tests.lifecycle.site import LifecycleSite

_FLIPS = 200
SOURCE, NOT_FOUND, WRONG_BYTES, VOLUME = 20, 21, 30, 40


def test_flipped_bit_is_found_and_repaired(pool: Pool, samples: SamplePacks, memory: Path) -> None:
    """Only its chunk is fetched, for all versions that share it."""
    seeds = range(4)
    upgraded_volumes = {seed: UpgradedVolume(memory / str(seed), samples) for seed in seeds}
    flips = [flip for part in pool.each(partial(_flips, upgraded_volumes), seeds) for flip in part]
    report_at_end(
        f"bit flips: {len(flips)} found and repaired, in {len({(flip.ref, flip.path) for flip in flips})} files"
    )
    assert [flip for flip in flips if flip.fault] == []
    assert len(flips) == _FLIPS


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_damage_is_found_and_repaired(name: str, pool: Pool, samples: SamplePacks, memory: Path) -> None:
    (code, damages), fetched = pool.do(corruption, UpgradedVolume(memory / "volume", samples), name)
    assert (code, damages) == (DAMAGED, set(CORRUPTIONS[name].named))
    assert fetched <= CORRUPTIONS[name].damaged_bytes(samples.manifest(ref) for ref in NEW)


def _flips(upgraded_volumes: dict[int, UpgradedVolume], seed: int) -> list[Flip]:
    return flip_bits(upgraded_volumes[seed], seed, _FLIPS // len(upgraded_volumes))


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda archive: archive.unlink(), NOT_FOUND),
        (lambda archive: os.truncate(archive, 100), SOURCE),
        (lambda archive: archive.write_bytes(bytes(archive.stat().st_size)), WRONG_BYTES),
    ],
)
def test_failed_repair_is_reported_and_changes_nothing(
    spoil: Callable[[Path], object], code: int, site: LifecycleSite, tmp_path: Path
) -> None:
    site.install(NEW)
    damaged = site.volume / "packs/nl-nl/2/conf/new.conf"
    damaged.write_bytes(b"?")
    vendor = shutil.copytree(site.samples.directory, tmp_path / "packs")
    spoil(vendor / "nl-nl/2/pack.tar.zst")
    failed = site.run("--repair", MODELS_URL=vendor.as_uri())
    assert failed.code == code
    assert damaged.read_bytes() == b"?"
    site.done("--repair")
    assert site.active == NEW


def test_file_that_this_user_may_not_read_is_repaired_and_does_not_stop_an_upgrade(site: LifecycleSite) -> None:
    site.install(OLD)
    user = Site(site.volume, site.samples.environment(site.volume, *sorted(OLD)))
    model = site.volume / "packs/nl-nl/1/am/final.mdl"
    model.chmod(0)
    found = user.run("--verify", "--json", through=powerless())
    assert (found.code, {damage["kind"] for damage in found.json["damages"]}) == (DAMAGED, {"mode", "bytes"}), found.err
    repaired = user.run("--repair", "--json", through=powerless())
    assert (repaired.code, repaired.json["bytes_fetched"]) == (0, 0), repaired.err
    site.done("--verify", wanted=OLD)
    model.chmod(0)
    upgraded = Site(site.volume, site.samples.environment(site.volume, *sorted(NEW))).run(through=powerless())
    assert upgraded.code == 0, upgraded.err
    assert volume_oracle.active(site.volume, site.samples) == NEW


def test_unreadable_disk_during_reuse_is_a_fault_of_the_volume(site: LifecycleSite) -> None:
    """A link is made after the whole file was read."""
    site.install(OLD)
    user = Site(site.volume, site.samples.environment(site.volume, *sorted(NEW)))
    model = site.volume / "packs/nl-nl/1/graph/HCLG.fst"
    refused = user.run(through=(*failing("preadv,preadv2", "error=ENOMEM"), "-P", str(model)))
    assert (refused.code, "packs/nl-nl/1 failed: Cannot allocate" in refused.fault) == (VOLUME, True), refused.err


def test_older_release_is_verified_and_repaired_by_id(site: LifecycleSite) -> None:
    site.install(OLD, NEW)
    older = site.release(OLD)
    (site.volume / "manifests/nl-nl/1.json").unlink()
    (site.volume / "packs/nl-nl/1/lexicon.txt").unlink()
    assert site.run("--verify").code == 0
    assert site.run("--verify", older[:8]).code == DAMAGED
    site.done("--repair", older[:8])
    site.done("--verify", older[:8])
    assert site.active == NEW


@pytest.mark.parametrize("is_in_a_release", [True, False])
def test_remedy_for_damaged_manifest_outside_current_release_works(
    site: LifecycleSite,
    is_in_a_release: bool,  # noqa: FBT001 - parametrized
) -> None:
    site.install(OLD, NEW)
    older, document = site.release(OLD), site.volume / "manifests/nl-nl/1.json"
    document.write_bytes(b"{")
    if not is_in_a_release:
        shutil.rmtree(site.volume / "releases" / older)
    for action in ((), ("--receipt", "-")):
        refused = site.run(*action, wanted=OLD)
        remedy = f"run with --repair {older}" if is_in_a_release else f"remove {document}, then run again"
        assert (refused.code, remedy in refused.err) == (DAMAGED, True), refused.err
    if is_in_a_release:
        site.done("--repair", older)
    else:
        document.unlink()
    site.done(wanted=OLD)
    assert site.active == OLD


def test_receipt_leaves_out_a_pack_that_is_pruned_meanwhile(
    site: LifecycleSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.install(OLD, NEW)
    found = Volume(site.volume).packs()
    site.done("--prune", "--keep", "0", wanted=NEW)
    monkeypatch.setattr(Volume, "packs", lambda _volume: found)
    settings = read(site.samples.environment(site.volume, *NEW), with_packs=False)
    content = receipt.run(parse(["--receipt", "-"], {}), settings).content
    assert [(pack["pack"], pack["version"]) for pack in content["packs"]] == sorted(NEW)


def test_current_without_release_is_restored_by_next_run(site: LifecycleSite) -> None:
    site.install(NEW)
    shutil.rmtree(site.volume / "releases" / site.release(NEW))
    assert site.run("--verify").code == DAMAGED
    site.offline()
    assert site.active == NEW
