"""A volume copied by a tool that follows links: directories in place of `current` and of the links in a release."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from models_init.fs import files
from models_init.volume import atomic
from models_init.volume.copied_links import copied_packs, copied_release
from models_init.volume.layout import Volume
from tests.lifecycle import volume_oracle
from tests.lifecycle.sample_packs import COMMON
from tests.lifecycle.scenarios import NEW, OLD

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.lifecycle.site import LifecycleSite

NOT_WRITABLE, DAMAGED = 43, 45


@pytest.fixture
def copied(site: LifecycleSite) -> LifecycleSite:
    """Install NEW and copy the volume as `cp -rL` does."""
    site.install(OLD, NEW)
    original = site.volume.rename(site.volume.with_name("original"))
    shutil.copytree(original, site.volume, symlinks=False)
    return site


@pytest.fixture
def copied_link(site: LifecycleSite) -> LifecycleSite:
    """Install NEW and replace one link of the current release by a copy of the pack."""
    site.install(NEW)
    link = site.volume / "current/nl-nl"
    content = link.resolve()
    link.unlink()
    shutil.copytree(content, link)
    return site


def empty(directory: Path) -> None:
    shutil.rmtree(directory)
    directory.mkdir()


def links(site: LifecycleSite) -> tuple[str, str]:
    done = site.done("--check", "--json")
    (finding,) = (finding for finding in done.json["checks"] if finding["check"] == "links")
    return finding["state"], finding["text"]


def test_run_replaces_copied_current_by_link_without_source(copied: LifecycleSite) -> None:
    assert links(copied)[0] == "warning"
    assert "current is a directory, a copy of an installed release" in links(copied)[1]
    copied.offline()
    assert copied.active == NEW
    assert volume_oracle.leftovers(copied.volume) == []
    assert copied.offline().out.startswith("nothing to do")
    assert links(copied)[0] == "ok"


@pytest.mark.parametrize("action", ["--rollback", "--activate"])
def test_activation_replaces_copied_current(action: str, copied: LifecycleSite) -> None:
    copied.offline(action, copied.release(OLD))
    assert copied.active == OLD


def test_file_system_without_exchange_gets_link_in_two_steps(
    site: LifecycleSite, copied: LifecycleSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(atomic, "exchange", lambda _one, _other: False)
    volume = Volume(copied.volume)
    release = copied_release(volume)
    assert release is not None
    volume.replace_link(volume.root / "current", f"releases/{release.id}")
    assert volume.current() == release
    assert volume_oracle.leftovers(site.volume) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda current: (current / "mine").write_bytes(b"?"),
        lambda current: (current / "release.json").unlink(),
        lambda current: (current / "release.json").write_bytes(b"{}"),
        lambda current: shutil.rmtree(current.parent / "packs/nl-nl/2"),
        empty,
    ],
    ids=["other file", "no record", "invalid record", "missing pack", "empty directory"],
)
def test_other_directory_in_place_of_current_is_kept_and_reported(
    change: Callable[[Path], object], copied: LifecycleSite
) -> None:
    current = copied.volume / "current"
    change(current)
    before = sorted(current.rglob("*"))
    for action in ((), ("--check",), ("--prune",), ("--activate", copied.release(OLD))):
        refused = copied.run(*action)
        assert refused.code == NOT_WRITABLE, refused
        assert f"move it away with `mv {current} {current}.old`" in refused.out + refused.err
    assert sorted(current.rglob("*")) == before
    current.rename(f"{current}.old")
    copied.done()
    assert copied.active == NEW


@pytest.mark.parametrize("action", ["--verify", "--repair", "--prune"])
def test_copied_current_is_reported_by_actions_that_need_it(action: str, copied: LifecycleSite) -> None:
    refused = copied.run(action)
    assert refused.code == DAMAGED
    assert f"{copied.volume}/current is a directory instead of a symbolic link" in refused.err
    assert "run without an action to replace it by the link" in refused.err
    assert COMMON in volume_oracle.public_packs(copied.volume)


def test_copied_pack_in_current_release_is_reported_and_repaired(copied_link: LifecycleSite) -> None:
    assert copied_packs(Volume(copied_link.volume)) == ["nl-nl"]
    assert links(copied_link) == (
        "warning",
        "directories in place of links in the current release: nl-nl; --repair replaces them",
    )
    assert copied_link.offline().out.startswith("nothing to do"), "the copy is complete"
    assert copied_link.run("--verify").code == DAMAGED
    copied_link.done("--repair")
    assert copied_link.active == NEW
    assert links(copied_link)[0] == "ok"


def test_missing_link_of_current_release_is_restored_by_next_run(site: LifecycleSite) -> None:
    site.install(NEW)
    (site.volume / "current/nl-nl").unlink()
    site.offline()
    assert site.active == NEW


def test_broken_exchange_is_not_hidden(tmp_path: Path) -> None:
    """Only errors that mean "not supported" cause the replacement in two steps."""
    with pytest.raises(FileNotFoundError):
        files.exchange(tmp_path / "missing", tmp_path / "missing too")


@pytest.mark.parametrize("prefix", ["/elsewhere/models/", "../models/"])
def test_link_that_does_not_lead_to_a_release_of_this_volume_is_replaced(site: LifecycleSite, prefix: str) -> None:
    """As made by hand with the path of the host, which does not exist in a container."""
    site.install(OLD, NEW)
    link = site.volume / "current"
    link.unlink()
    link.symlink_to(f"{prefix}releases/{site.release(NEW)}")
    for action in ("--verify", "--prune"):
        refused = site.run(action)
        assert (refused.code, "and not to a release of this volume" in refused.err) == (DAMAGED, True), refused.err
    assert "is current" in site.offline().out
    assert site.active == NEW
    site.offline("--rollback")
    assert site.active == OLD
