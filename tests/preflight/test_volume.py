"""What `--check` finds out about a volume, and leaves as it is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.preflight.check_result import check
from tests.preflight.mounts import failing, in_tmpfs, powerless, read_only
from tests.services import require_tool

if TYPE_CHECKING:
    from pathlib import Path

    from tests.site import Site


@pytest.fixture
def there(site: Site) -> Site:
    """An empty volume."""
    site.volume.mkdir()
    return site


@pytest.fixture
def installed(site: Site) -> Site:
    assert site.run().code == 0
    return site


def test_a_volume_that_is_not_there_is_judged_by_its_parent(site: Site) -> None:
    """It is said that it will be made, and nothing is made, not even beside it."""
    found = check(site)
    assert (found.code, found.states["volume"]) == (0, "ok")
    assert found.text("volume").startswith(f"{site.volume} (will be made): files can be made")
    assert not site.volume.exists()
    assert [path.name for path in site.volume.parent.iterdir() if path.name.startswith(".")] == []


def test_an_installed_volume_stays_as_it_is(installed: Site) -> None:
    """With everything installed nothing is to be fetched, whatever the source has; not a time of a file changes."""
    found = check(installed)
    assert found.code == 0
    assert found.text("pack nl-nl").endswith("is installed")
    assert (found.content["bytes_to_fetch"], found.content["seconds_to_fetch"]) == (0, 0.0)
    assert found.states["rate"] == "skipped"


def test_what_a_killed_check_leaves_is_pruned(installed: Site) -> None:
    """Its folder lies in staging, under a name that no pack can have, and goes once nobody can be at work in it."""
    killed = installed.run("--check", through=failing("symlink,symlinkat", "signal=KILL"))
    assert killed.code != 0
    (left,) = installed.volume.glob("staging/.check-*")
    os.utime(left, (0, 0))
    assert installed.run("--prune").code == 0
    assert not left.exists()


def test_a_read_only_volume(there: Site) -> None:
    """It is exit code 43, and what does not need the volume is checked nevertheless."""
    found = check(there, read_only(there.volume))
    assert (found.code, found.named("failed")) == (43, ["volume"])
    assert "Read-only file system; mount the volume read-write" in found.text("volume")
    assert found.named("skipped") == ["links", "lock", "clock"]


@pytest.mark.parametrize("part", ["", "packs"])
def test_somebody_elses_volume(there: Site, part: str) -> None:
    """It, or a folder of it, is exit code 43, named with the user who wants it."""
    folder = there.volume / part
    folder.mkdir(exist_ok=True)
    os.chown(folder, 65534, 65534)
    found = check(there, powerless())
    assert found.code == 43
    assert found.text("volume").startswith(f"{folder} cannot be written: Permission denied; mount the volume read-wri")


def test_a_place_where_no_volume_can_be_made(site: Site, tmp_path: Path) -> None:
    """A parent that is not there, or is somebody else's, and a file in its place are exit code 43."""
    nowhere = check(site, MODELS_DIR=str(tmp_path / "none/models"))
    assert (nowhere.code, nowhere.states["volume"]) == (43, "failed")
    assert "neither is its parent folder" in nowhere.text("volume")
    site.volume.write_text("a file")
    assert check(site).text("volume") == f"{site.volume} is not a folder; check MODELS_DIR"
    closed = tmp_path / "closed"
    closed.mkdir()
    os.chown(closed, 65534, 65534)
    found = check(site, powerless(), MODELS_DIR=str(closed / "models"))
    assert found.code == 43
    assert found.text("volume").startswith(f"{closed} cannot be written")


def test_no_symbolic_links(there: Site) -> None:
    """They are what activation consists of: exit code 43."""
    found = check(there, failing("symlink,symlinkat", "error=EPERM"))
    assert (found.code, found.named("failed")) == (43, ["links"])
    assert "refuses symbolic links" in found.text("links")


def test_no_hard_links(there: Site) -> None:
    """They only save room: a warning."""
    found = check(there, failing("link,linkat", "error=EPERM"))
    assert (found.code, found.named("warning")) == (0, ["links"])
    assert "hard links are refused, so an upgrade copies" in found.text("links")


def test_a_lock_that_is_granted_to_everybody(there: Site) -> None:
    """It only saves bandwidth: a warning."""
    found = check(there, failing("flock", "retval=0"))
    assert (found.code, found.named("warning")) == (0, ["lock"])
    assert "grants a lock to everybody" in found.text("lock")


def test_a_run_that_is_at_work(there: Site) -> None:
    """An install would wait for it: a warning that names it."""
    lock = there.volume / ".lock"
    lock.write_text("install by process 7 on node-1\n")
    found = check(there, [require_tool("flock"), str(lock)])
    assert (found.code, found.named("warning")) == (0, ["lock"])
    assert found.text("lock") == "in use now (install by process 7 on node-1): an install would wait for it"


@pytest.mark.parametrize(("calls", "error", "code"), [("fsync", "EIO", 40), ("mkdir", "ENOSPC", 41)])
def test_a_disk_that_fails(there: Site, calls: str, error: str, code: int) -> None:
    """A disk that cannot flush is exit code 40; one without room for a folder is 41."""
    found = check(there, failing(calls, f"error={error}"))
    assert (found.code, found.named("failed")) == (code, ["volume"])


def test_a_disk_that_is_too_small(there: Site) -> None:
    """What is needed and what is free are told before anything is fetched: exit code 41."""
    found = check(there, in_tmpfs(there.volume, "size=20m"))
    assert (found.code, found.named("failed")) == (41, ["space"])
    assert found.text("space").startswith("the volume lacks ")
    assert found.content["disk_bytes_needed"] > 13 << 20
    assert found.content["disk_bytes_free"] <= 20 << 20


def test_a_disk_with_too_few_inodes(there: Site) -> None:
    """Inodes are counted as well: exit code 41."""
    found = check(there, in_tmpfs(there.volume, "size=1g,nr_inodes=30"))
    assert (found.code, found.named("failed")) == (41, ["space"])
    assert "inodes" in found.text("space")
