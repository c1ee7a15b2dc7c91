"""Pruning removes exactly what neither current, a rollback, a reader nor the environment needs."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from models_init.volume.layout import Volume
from models_init.volume.prune import prune
from tests.eventually import eventually_sync
from tests.lifecycle import volume_oracle
from tests.lifecycle.loop_devices import Disk, flush, tmpfs
from tests.lifecycle.sample_packs import COMMON, ONE, THREE, TWO
from tests.lifecycle.scenarios import LONG_AGO, NEW, NEXT, OLD, copy_volume
from tests.lifecycle.site import LifecycleSite
from tests.services import require_root

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from models_init.core.pack_ref import PackRef
    from models_init.formats.release import Release

DAMAGED = 45


@pytest.fixture
def three_releases(site: LifecycleSite) -> LifecycleSite:
    """Install three releases."""
    site.install(OLD, NEW, NEXT)
    return site


def pruned(site: LifecycleSite, *options: str, wanted: frozenset[PackRef] = NEXT) -> dict[str, Any]:
    return site.offline("--prune", "--json", *options, wanted=wanted).json


def going(report: dict[str, Any]) -> set[tuple[str, str]]:
    return {(item["kind"], item["name"]) for item in report["items"] if not item["stays"]}


def staged(site: LifecycleSite, name: str, version: str) -> Path:
    """Create a partly fetched pack in staging."""
    directory = site.volume / f"staging/{name}/{version}@0123456789ab"
    (directory / "am").mkdir(parents=True)
    (directory / "am/final.mdl").write_bytes(b"half" * 5000)
    directory.with_name(f"{directory.name}.json").write_bytes(b"{}" * 3000)
    return directory


def test_previous_release_is_kept_by_default(three_releases: LifecycleSite) -> None:
    oldest = three_releases.release(OLD)
    assert going(pruned(three_releases)) == {("release", oldest), ("pack", str(ONE)), ("manifest", str(ONE))}
    assert volume_oracle.public_packs(three_releases.volume) == [COMMON, TWO, THREE]
    assert three_releases.active == NEXT
    three_releases.offline("--rollback", wanted=NEXT)
    assert three_releases.active == NEW


@pytest.mark.parametrize(("keep", "packs"), [("0", [COMMON, THREE]), ("2", [COMMON, ONE, TWO, THREE])])
def test_keep_option_sets_number_of_kept_releases(
    three_releases: LifecycleSite, keep: str, packs: list[PackRef]
) -> None:
    pruned(three_releases, "--keep", keep)
    assert volume_oracle.public_packs(three_releases.volume) == packs
    assert len(volume_oracle.releases(three_releases.volume)) == int(keep) + 1
    assert three_releases.active == NEXT


def test_rolled_back_release_is_kept_until_environment_names_another_set(three_releases: LifecycleSite) -> None:
    """With --keep 0 the report says why it is kept and how to remove it, and that works."""
    three_releases.offline("--rollback", wanted=NEXT)
    newest, oldest = three_releases.release(NEXT), three_releases.release(OLD)
    done = three_releases.offline("--prune", "--keep", "0", wanted=NEXT)
    lines = [line.split(maxsplit=3) for line in done.out.splitlines()]
    assert ["removed", "release", oldest, "is not current, and --keep 0 keeps none for rollback"] in lines
    assert ["kept", "release", newest, "was rolled back; kept so that --activate can return to it"] in lines
    assert done.out.splitlines()[-1] == (
        f"to remove {newest} too, set the versions of the current release and prune again"
    )
    again = three_releases.offline("--prune", "--keep", "0", wanted=NEW)
    assert f"to remove {newest}" not in again.out
    assert volume_oracle.public_packs(three_releases.volume) == [COMMON, TWO]


def test_pack_of_any_kept_release_stays(three_releases: LifecycleSite) -> None:
    pruned(three_releases, "--keep", "0")
    assert COMMON in volume_oracle.public_packs(three_releases.volume)


def test_shared_file_stays_until_last_version_is_pruned(three_releases: LifecycleSite) -> None:
    shared = three_releases.volume / "packs/nl-nl/3/am/final.mdl"
    links = shared.stat().st_nlink
    pruned(three_releases, "--keep", "0")
    assert links > shared.stat().st_nlink == 1
    assert three_releases.active == NEXT


def test_staging_is_removed_unless_environment_names_pack(three_releases: LifecycleSite) -> None:
    wanted, unwanted = staged(three_releases, "nl-nl", "4"), staged(three_releases, "en-us", "4")
    pruned(three_releases, wanted=frozenset({COMMON, THREE._replace(version="4")}))
    assert wanted.exists()
    assert not unwanted.exists()
    assert not (three_releases.volume / "staging/en-us").exists()


def test_staging_stays_if_environment_names_no_packs(three_releases: LifecycleSite) -> None:
    directory = staged(three_releases, "en-us", "4")
    done = three_releases.done("--prune", "--json", REALTIME_LANGUAGES="", REALTIME_COMMON_VERSION="").json
    assert directory.exists()
    assert ("pack", str(ONE)) in going(done)


def test_published_pack_without_release_stays_if_environment_names_it(site: LifecycleSite) -> None:
    site.install(NEW, OLD)
    pruned(site, "--keep", "0", wanted=NEW)
    assert volume_oracle.public_packs(site.volume) == [COMMON, ONE, TWO]
    pruned(site, "--keep", "0", wanted=OLD)
    assert volume_oracle.public_packs(site.volume) == [COMMON, ONE]


def test_leftovers_are_removed_after_a_minute(three_releases: LifecycleSite) -> None:
    """Younger ones may be in use by a concurrent run."""
    old, young = (three_releases.volume / "staging" / name for name in (".trash-old", ".file-young"))
    old.mkdir()
    (old / "inside").write_bytes(b"gone")
    young.write_bytes(b"new")
    os.utime(old, (LONG_AGO, LONG_AGO))
    pruned(three_releases)
    assert volume_oracle.leftovers(three_releases.volume) == [".file-young"]


def test_manifest_without_pack_is_removed(three_releases: LifecycleSite) -> None:
    """A killed prune leaves one."""
    (three_releases.volume / "manifests/en-us").mkdir()
    (three_releases.volume / "manifests/en-us/9.json").write_bytes(b"{}")
    pruned(three_releases)
    assert not (three_releases.volume / "manifests/en-us").exists()


def test_release_without_one_of_its_packs_is_removed(three_releases: LifecycleSite) -> None:
    broken = three_releases.release(NEW)
    (three_releases.volume / "manifests/nl-nl/2.json").unlink()
    assert ("release", broken) in going(pruned(three_releases, "--keep", "5"))
    assert volume_oracle.public_packs(three_releases.volume) == [COMMON, ONE, THREE]


def test_prune_is_refused_while_current_is_damaged(three_releases: LifecycleSite) -> None:
    (three_releases.volume / "manifests/nl-nl/3.json").unlink()
    before = volume_oracle.public_state(three_releases.volume)
    refused = three_releases.run("--prune", "--keep", "0", wanted=NEXT)
    assert refused.code == DAMAGED
    assert volume_oracle.public_state(three_releases.volume) == before


def test_dry_run_reports_same_and_changes_nothing(three_releases: LifecycleSite) -> None:
    staged(three_releases, "en-us", "4")
    before = volume_oracle.public_state(three_releases.volume)
    predicted = pruned(three_releases, "--dry-run")
    assert volume_oracle.public_state(three_releases.volume) == before
    assert predicted["dry_run"] is True
    assert pruned(three_releases) == {**predicted, "dry_run": False}


def test_second_prune_removes_nothing(three_releases: LifecycleSite) -> None:
    pruned(three_releases)
    again = pruned(three_releases)
    assert going(again) == set()
    assert again["bytes_freed"] == 0


def test_empty_volume_can_be_pruned(site: LifecycleSite) -> None:
    assert pruned(site)["items"] == []


def test_json_lists_every_item_with_reason(three_releases: LifecycleSite) -> None:
    staged(three_releases, "en-us", "4")
    (three_releases.volume / "staging/.file-young").write_bytes(b"new")
    report = pruned(three_releases)
    items = {(item["kind"], item["name"]) for item in report["items"]}
    assert items == {
        *(("release", name) for name in (three_releases.release(NEXT), three_releases.release(NEW))),
        *((kind, str(ref)) for kind in ("pack", "manifest") for ref in (COMMON, ONE, TWO, THREE)),
        ("staging", "en-us 4"),
        ("leftover", ".file-young"),
        *(
            ("release", item["name"])
            for item in report["items"]
            if item["why"] == "is not current, and not among the 1 kept for rollback"
        ),
    }
    assert len(volume_oracle.releases(three_releases.volume)) == 2
    assert all(item["why"] for item in report["items"])
    assert report["bytes_freed"] == sum(item["bytes_freed"] for item in report["items"])


def test_bytes_freed_count_each_inode_once(three_releases: LifecycleSite) -> None:
    staged(three_releases, "en-us", "4")
    before = _taken(three_releases.volume)
    freed = pruned(three_releases)["bytes_freed"]
    assert freed == before - _taken(three_releases.volume) > 0


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_bytes_freed_match_file_system(kind: str, three_releases: LifecycleSite, memory: Path) -> None:
    """Emptied directories may free up to 4 KiB more."""
    require_root()
    disk = Disk(kind, memory)
    disk.make()
    with disk.mounted() as top:
        site = LifecycleSite(
            copy_volume(three_releases.volume, top / "models"), three_releases.samples, three_releases.pool
        )
        staged(site, "en-us", "4")
        before = _free(top)
        freed = pruned(site, "--keep", "0")["bytes_freed"]
        assert freed > 0
        # XFS frees deleted inodes in the background.
        eventually_sync(lambda: 0 <= _free(top) - before - freed <= 4096, "the file system frees as much as reported")


@pytest.mark.parametrize("limit", ["size=300k", "nr_inodes=100"])
def test_full_volume_can_be_pruned(limit: str, three_releases: LifecycleSite, memory: Path) -> None:
    require_root()
    with tmpfs(memory / "full", limit) as top:
        site = LifecycleSite(
            copy_volume(three_releases.volume, top / "models"), three_releases.samples, three_releases.pool
        )
        _fill(top)
        pruned(site, "--keep", "0")
        assert volume_oracle.public_packs(site.volume) == [COMMON, THREE]
        assert site.active == NEXT


def test_pack_restored_by_prune_keeps_its_manifest(
    three_releases: LifecycleSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without working locks: while the pack is moved away, an install records it and a prune removes its manifest."""
    volume = Volume(three_releases.volume)
    release = volume.release_path(three_releases.release(NEW))
    recorded = Volume.recorded

    def concurrent_runs(volume: Volume) -> list[Release]:
        if not volume.pack_path(TWO).exists() and not release.exists():
            volume.manifest_path(TWO).unlink()
            aside.rename(release)
        return recorded(volume)

    aside = shutil.copytree(release, volume.root.parent / "aside", symlinks=True)
    monkeypatch.setattr(Volume, "recorded", concurrent_runs)
    prune(volume, NEXT, 0, dry_run=False)
    assert volume_oracle.public_packs(volume.root) == [COMMON, TWO, THREE]
    volume_oracle.assert_public_is_complete(volume.root, three_releases.samples)


def _taken(volume: Path) -> int:
    """Return the disk usage in bytes, counting each inode once."""
    paths = (
        os.path.join(parent, name) for parent, directories, names in os.walk(volume) for name in (*directories, *names)
    )
    inodes = {status.st_ino: status.st_blocks * 512 for status in map(os.lstat, paths)}
    return sum(inodes.values())


def _free(top: Path) -> int:
    flush(top)
    status = os.statvfs(top)
    return status.f_bfree * status.f_bsize


def _fill(top: Path) -> None:
    """Use up all blocks and inodes."""
    for number in range(100_000):
        try:
            (top / f"filler-{number}").write_bytes(b"?" * 4096)
        except OSError:
            return
