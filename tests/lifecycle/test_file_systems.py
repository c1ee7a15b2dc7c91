"""Install, upgrade, verify, roll back and prune on fresh volumes of many file systems; refuse the unusable ones."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from models_init.core.pack_ref import PackRef
from tests.lifecycle import volume_oracle
from tests.lifecycle.file_systems import CASE_INSENSITIVE, FIXED_MODE, USABLE, WITHOUT_LINKS
from tests.lifecycle.sample_packs import COMMON, TWO, publish, publish_plain
from tests.lifecycle.scenarios import NEW, OLD
from tests.lifecycle.site import LifecycleSite
from tests.publish.packs import write
from tests.services import require_root, require_tool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.lifecycle.file_systems import FileSystem
    from tests.lifecycle.fork_server import Pool, RunResult
    from tests.lifecycle.sample_packs import SamplePacks

NOT_WRITABLE = 43
FIVE, SIX = PackRef("nl-nl", "5"), PackRef("nl-nl", "6")


@pytest.fixture(params=USABLE, ids=str)
def usable(request: pytest.FixtureRequest, memory: Path, samples: SamplePacks, pool: Pool) -> Iterator[LifecycleSite]:
    """Create a site whose volume is on a fresh file system; on some all entries have one mode."""
    require_root()
    kind: FileSystem = request.param
    with kind.mount(memory) as top:
        yield LifecycleSite(top / "models", _with_fixed_modes(samples) if kind.fixed_modes else samples, pool)


@pytest.fixture
def fixed_modes(memory: Path, samples: SamplePacks, pool: Pool) -> Iterator[LifecycleSite]:
    """Create a site whose volume ignores chmod."""
    require_root()
    (kind,) = (kind for kind in USABLE if kind.name == "bindfs --chmod-ignore")
    with kind.mount(memory) as top:
        yield LifecycleSite(top / "models", _with_fixed_modes(samples), pool)


@pytest.fixture
def case_insensitive(memory: Path, samples: SamplePacks, pool: Pool) -> Iterator[LifecycleSite]:
    """Create a site whose volume ignores case."""
    require_root()
    with CASE_INSENSITIVE.mount(memory) as top:
        yield LifecycleSite(top / "models", samples, pool)


def _with_fixed_modes(samples: SamplePacks) -> SamplePacks:
    trees = {
        ref: {path: (kind, FIXED_MODE, digest) for path, (kind, _, digest) in tree.items()}
        for ref, tree in samples.trees.items()
    }
    return replace(samples, trees=trees)


def test_install_upgrade_verify_rollback_and_prune(usable: LifecycleSite) -> None:
    usable.install(OLD, NEW)
    assert usable.active == NEW
    shared = [usable.volume / f"packs/nl-nl/{version}/graph/HCLG.fst" for version in ("1", "2")]
    assert os.path.samefile(*shared)
    usable.done("--verify")
    assert usable.done("--repair", "--json").json["damages"] == []
    usable.offline("--rollback")
    assert usable.active == OLD
    usable.offline("--activate", usable.release(NEW))
    usable.offline("--prune", "--keep", "0")
    assert usable.active == NEW
    assert volume_oracle.public_packs(usable.volume) == [COMMON, TWO]
    assert usable.offline().out.startswith("nothing to do")


def test_damaged_file_is_repaired(usable: LifecycleSite) -> None:
    usable.install(NEW)
    (usable.volume / "packs/nl-nl/2/graph/HCLG.fst").write_bytes(b"?")
    (usable.volume / "packs/nl-nl/2/bin/decode").unlink()
    assert usable.run("--verify").code == 45
    usable.done("--repair")
    usable.done("--verify")
    assert usable.active == NEW


def test_interrupted_install_is_resumed(usable: LifecycleSite) -> None:
    """The archive of one pack is missing during the first run."""
    archive = usable.samples.directory / "nl-nl/2/pack.tar.zst"
    hidden = archive.with_name("hidden")
    archive.rename(hidden)
    try:
        assert usable.run().code == 21
    finally:
        hidden.rename(archive)
    usable.done()
    assert usable.active == NEW


def test_volume_without_links_is_refused_before_download(memory: Path, samples: SamplePacks, pool: Pool) -> None:
    require_root()
    with WITHOUT_LINKS.mount(memory) as top:
        site = LifecycleSite(top / "models", samples, pool)
        for action in ((), ("--check",)):
            refused = site.run(*action)
            assert refused.code == NOT_WRITABLE
            assert "refuses symbolic links, as SMB, exFAT and some FUSE mounts do" in refused.out + refused.err
        assert volume_oracle.public_packs(site.volume) == []


# -- fixed modes


def test_fixed_modes_are_a_warning(fixed_modes: LifecycleSite, site: LifecycleSite) -> None:
    assert "permission bits are fixed by the mount" in _finding(
        fixed_modes.done("--check", "--json"), "modes", "warning"
    )
    assert _finding(site.done("--check", "--json"), "modes", "ok") == "permission bits are kept"


def test_fixed_modes_are_not_compared_on_read_only_mount(fixed_modes: LifecycleSite) -> None:
    """A read-only mount does not allow the test of whether modes are kept."""
    fixed_modes.install(NEW)
    _remount(fixed_modes.volume.parent, "ro")
    try:
        assert fixed_modes.offline("--verify").code == 0
    finally:
        _remount(fixed_modes.volume.parent, "rw")


def test_wrong_modes_are_reported_on_read_only_mount(memory: Path, samples: SamplePacks, pool: Pool) -> None:
    require_root()
    (ext4,) = (kind for kind in USABLE if kind.name == "ext4")
    with ext4.mount(memory) as top:
        site = LifecycleSite(top / "models", samples, pool)
        site.install(NEW)
        (site.volume / "packs/nl-nl/2/bin/decode").chmod(0o644)
        _remount(top, "ro")
        damages = site.run("--verify", "--json").json["damages"]
        _remount(top, "rw")
    assert [(damage["path"], damage["kind"]) for damage in damages] == [("bin/decode", "mode")]


# -- names that the volume does not distinguish or keep


@pytest.mark.parametrize("action", [(), ("--plan",), ("--check",)], ids=["install", "plan", "check"])
def test_names_differing_in_case_are_refused_before_download(
    action: tuple[str, ...], case_insensitive: LifecycleSite, tmp_path: Path
) -> None:
    vendor = _vendor(case_insensitive, tmp_path)
    publish(tmp_path, FIVE, {"am/README": b"1\n", "am/readme": b"22\n"}, executable=())
    refused = vendor.run(*action, wanted=frozenset({COMMON, FIVE}))
    assert refused.code == NOT_WRITABLE
    assert f"cannot hold {FIVE}: 'am/README' and 'am/readme' are the same path" in refused.out + refused.err
    assert volume_oracle.public_packs(vendor.volume) == []


def test_names_of_opaque_archive_differing_in_case_are_refused(case_insensitive: LifecycleSite, tmp_path: Path) -> None:
    """The names are known only when the archive is unpacked."""
    vendor = _vendor(case_insensitive, tmp_path)
    publish_plain(tmp_path, FIVE, write(tmp_path / "tree", {"README": b"1\n", "readme": b"22\n"}))
    refused = vendor.run(wanted=frozenset({COMMON, FIVE}))
    assert refused.code == NOT_WRITABLE
    assert "cannot hold the archive: 'readme' and " in refused.err
    assert FIVE not in volume_oracle.public_packs(vendor.volume)


def test_names_differing_in_case_are_installed_on_case_sensitive_volume(site: LifecycleSite, tmp_path: Path) -> None:
    vendor = _vendor(site, tmp_path)
    publish(tmp_path, FIVE, {"am/README": b"1\n", "am/readme": b"22\n"}, executable=())
    vendor.done(wanted=frozenset({COMMON, FIVE}))
    assert (vendor.volume / "current/nl-nl/am/readme").read_bytes() == b"22\n"


def test_names_that_are_listed_in_lower_case_are_refused_before_download(case_insensitive: LifecycleSite) -> None:
    refused = case_insensitive.run(wanted=NEW)
    assert refused.code == NOT_WRITABLE
    assert "this file system lists 'graph/HCLG.fst' under another name" in refused.err
    assert volume_oracle.public_packs(case_insensitive.volume) == []


def test_lower_case_names_are_installed_on_case_insensitive_volume(
    case_insensitive: LifecycleSite, tmp_path: Path
) -> None:
    vendor = _vendor(case_insensitive, tmp_path)
    for ref in (FIVE, SIX):
        publish(tmp_path, ref, {"am/final.mdl": b"1\n", "version": ref.version.encode()}, executable=())
        vendor.done(wanted=frozenset({COMMON, ref}))
    vendor.done("--verify", wanted=frozenset({COMMON, SIX}))
    vendor.offline("--rollback", wanted=frozenset({COMMON, SIX}))
    vendor.offline("--prune", "--keep", "0", wanted=frozenset({COMMON, FIVE}))
    assert (vendor.volume / "current/nl-nl/version").read_bytes() == b"5"


def _vendor(site: LifecycleSite, directory: Path) -> LifecycleSite:
    """Return the site with a separate source in `directory` that has only `common`."""
    packs = directory / "packs"
    packs.mkdir()
    (packs / COMMON.name).symlink_to(site.samples.directory / COMMON.name)
    return replace(site, samples=replace(site.samples, directory=packs))


def _finding(done: RunResult, check: str, state: str) -> str:
    (finding,) = (finding for finding in done.json["checks"] if finding["check"] == check)
    assert finding["state"] == state
    return str(finding["text"])


def _remount(top: Path, mode: str) -> None:
    subprocess.run([require_tool("mount"), "-o", f"remount,bind,{mode}", str(top)], check=True)
