"""Findings of `--check` about a volume, which it does not change."""

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


def test_missing_volume_is_judged_by_its_parent(site: Site) -> None:
    """The report says that the volume will be created; nothing is created, not even in its parent directory."""
    found = check(site)
    assert (found.code, found.states["volume"]) == (0, "ok")
    assert found.text("volume").startswith(f"{site.volume} (will be created): files can be created")
    assert not site.volume.exists()
    assert [path.name for path in site.volume.parent.iterdir() if path.name.startswith(".")] == []


def test_installed_volume_is_not_changed(installed: Site) -> None:
    """If all packs are installed, there is nothing to fetch, and not even the time of a file changes."""
    found = check(installed)
    assert found.code == 0
    assert found.text("pack nl-nl").endswith(", installed")
    assert (found.content["bytes_to_fetch"], found.content["seconds_to_fetch"]) == (0, 0.0)
    assert found.states["rate"] == "skipped"


def test_leftover_of_killed_check_is_pruned(installed: Site) -> None:
    """The check's directory in staging has a name that no pack can have; a prune removes it if it is not recent."""
    killed = installed.run("--check", through=failing("symlink,symlinkat", "signal=KILL"))
    assert killed.code != 0
    (left,) = installed.volume.glob("staging/.check-*")
    os.utime(left, (0, 0))
    assert installed.run("--prune").code == 0
    assert not left.exists()


def test_read_only_volume_is_reported(there: Site) -> None:
    """The exit code is 43, and everything that does not need the volume is still checked."""
    found = check(there, read_only(there.volume))
    assert (found.code, found.named("failed")) == (43, ["volume"])
    assert "Read-only file system; mount the volume read-write" in found.text("volume")
    assert found.named("skipped") == ["links", "modes", "lock", "clock"]


@pytest.mark.parametrize("part", ["", "packs"])
def test_volume_of_another_user_is_reported(there: Site, part: str) -> None:
    """Another user's volume or directory in it is exit code 43; the message names the user that needs access."""
    directory = there.volume / part
    directory.mkdir(exist_ok=True)
    os.chown(directory, 65534, 65534)
    found = check(there, powerless())
    assert found.code == 43
    assert found.text("volume").startswith(f"{directory} cannot be written: Permission denied; check its owner")


def test_unusable_place_for_a_volume_is_reported(site: Site, tmp_path: Path) -> None:
    """A parent that is missing or of another user, and a file in the volume's place, are exit code 43."""
    nowhere = check(site, MODELS_DIR=str(tmp_path / "none/models"))
    assert (nowhere.code, nowhere.states["volume"]) == (43, "failed")
    assert "nor does its parent directory" in nowhere.text("volume")
    site.volume.write_text("a file")
    assert check(site).text("volume") == f"{site.volume} is not a directory; check MODELS_DIR"
    closed = tmp_path / "closed"
    closed.mkdir()
    os.chown(closed, 65534, 65534)
    found = check(site, powerless(), MODELS_DIR=str(closed / "models"))
    assert found.code == 43
    assert found.text("volume").startswith(f"{closed} cannot be written")


def test_lack_of_symbolic_links_is_reported(there: Site) -> None:
    """Activation needs symbolic links: exit code 43."""
    found = check(there, failing("symlink,symlinkat", "error=EPERM"))
    assert (found.code, found.named("failed")) == (43, ["links"])
    assert "refuses symbolic links" in found.text("links")


@pytest.mark.parametrize("error", ["EPERM", "EACCES"])
def test_lack_of_hard_links_is_a_warning(there: Site, error: str) -> None:
    """Hard links only save space: a warning. A profile of AppArmor refuses them with EACCES."""
    found = check(there, failing("link,linkat", f"error={error}"))
    assert (found.code, found.named("warning")) == (0, ["links"])
    assert "hard links do not: an upgrade copies" in found.text("links")


def test_ineffective_lock_is_a_warning(there: Site) -> None:
    """The lock only saves bandwidth: a warning."""
    found = check(there, failing("flock", "retval=0"))
    assert (found.code, found.named("warning")) == (0, ["lock"])
    assert "locks do not work" in found.text("lock")


@pytest.mark.parametrize("error", ["ENOSYS", "EOPNOTSUPP", "ENOLCK"])
def test_missing_locks_are_a_warning(there: Site, error: str) -> None:
    found = check(there, failing("flock", f"error={error}"))
    assert (found.code, found.named("warning")) == (0, ["lock"])
    assert there.run(through=failing("flock", f"error={error}")).code == 0
    assert there.run("--prune", through=failing("flock", f"error={error}")).code == 0


def test_file_system_that_cannot_sync_is_supported(there: Site) -> None:
    """VirtualBox's shared folders cannot sync a directory."""
    assert check(there, failing("fsync", "error=EINVAL")).code == 0
    assert there.run(through=failing("fsync", "error=EINVAL")).code == 0


@pytest.mark.parametrize("part", ["staging", "packs"])
def test_second_file_system_below_volume_is_reported(there: Site, part: str) -> None:
    (there.volume / part).mkdir()
    found = check(there, in_tmpfs(there.volume / part, "size=1g"))
    assert (found.code, found.states["volume"]) == (43, "failed")
    assert "MODELS_DIR must be one file system" in found.text("volume")


def test_concurrent_run_is_a_warning(there: Site) -> None:
    """An install would wait for it: a warning with its description."""
    lock = there.volume / ".lock"
    lock.write_text("install by process 7 on node-1\n")
    found = check(there, [require_tool("flock"), str(lock)])
    assert (found.code, found.named("warning")) == (0, ["lock"])
    assert found.text("lock") == "in use (install by process 7 on node-1): an install would wait for it"


@pytest.mark.parametrize(("calls", "error", "code"), [("fsync", "EIO", 40), ("mkdir", "ENOSPC", 41)])
def test_failing_disk_is_reported(there: Site, calls: str, error: str, code: int) -> None:
    """A disk that cannot flush is exit code 40; one without room for a directory is 41."""
    found = check(there, failing(calls, f"error={error}"))
    assert (found.code, found.named("failed")) == (code, ["volume"])


def test_lack_of_space_is_reported(there: Site) -> None:
    """The required and the free space are reported before anything is fetched: exit code 41."""
    found = check(there, in_tmpfs(there.volume, "size=20m"))
    assert (found.code, found.named("failed")) == (41, ["space"])
    assert found.text("space").startswith("the volume lacks ")
    assert found.content["disk_bytes_needed"] > 13 << 20
    assert found.content["disk_bytes_free"] <= 20 << 20


def test_lack_of_inodes_is_reported(there: Site) -> None:
    """Inodes are checked as well: exit code 41."""
    found = check(there, in_tmpfs(there.volume, "size=1g,nr_inodes=30"))
    assert (found.code, found.named("failed")) == (41, ["space"])
    assert "inodes" in found.text("space")
