"""Problems that users of other tools have reported publicly, tested on this program (docs/field-reports.md)."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest
from azure.storage.blob import generate_container_sas

from tests import samples
from tests.eventually import eventually
from tests.lifecycle.file_systems import loop
from tests.preflight.mounts import failing, powerless
from tests.services import require_root, require_tool
from tests.site import COMMON, DUTCH, NEWER, Site, build_packs, in_container
from tests.tokens import real

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.services.azurite import Azurite
    from tests.site import Packs

_ODD = "a b/#50%/q?&+é=;$/"
_UNKNOWN_USER = 1000680000  # as OpenShift assigns them; without an entry in /etc/passwd
_QUOTA = 8 * samples.MIB


@pytest.mark.parametrize("form", ["%Y-%m-%dT%H:%MZ", "%Y-%m-%d", "%Y-%m-%dT%H:%M:%S.0000000Z"])
def test_token_with_any_form_of_time_is_accepted(site: Site, packs: Packs, container: Azurite, form: str) -> None:
    """Times without seconds, dates, and seven decimals: the signature covers the text, which must not change."""
    now, days = datetime.now(UTC), timedelta(days=2)
    token = generate_container_sas(
        account_name=container.account,
        container_name=container.container,
        account_key=container.account_key,
        permission="rl",
        start=(now - days).strftime(form),
        expiry=(now + days).strftime(form),
    )
    environment = in_container(packs, container.container_url, real(token))
    assert Site(site.volume, environment).run().code == 0
    assert packs.differences(site, COMMON, DUTCH) == []


def test_special_characters_in_prefix_of_container_are_kept(site: Site, packs: Packs, azurite: Azurite) -> None:
    container = azurite.fresh_container()
    container.put_tree(packs.directory, _ODD)
    environment = in_container(packs, container.container_url, container.sas())
    done = Site(site.volume, environment).run(MODELS_PREFIX=_ODD)
    assert done.code == 0, done.err
    assert packs.differences(site, COMMON, DUTCH) == []


def test_special_characters_in_source_directory_and_files_are_kept(packs: Packs, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for name in ("a b#1.bin", "50%25.bin", "q?&+=;.bin", "x" * 255, "é" * 127):
        (tree / _ODD).mkdir(parents=True, exist_ok=True)
        (tree / _ODD / name).write_bytes(name.encode() * 99)
    odd = build_packs(tmp_path / "built", {COMMON: packs.trees[COMMON], DUTCH: tree})
    directory = tmp_path / _ODD
    shutil.copytree(odd.directory, directory)
    for url in (directory.as_uri(), str(directory)):
        done = Site(tmp_path / f"models-{len(url)}", odd.environment).run(MODELS_URL=url)
        assert done.code == 0, done.err
        assert odd.differences(Site(tmp_path / f"models-{len(url)}"), COMMON, DUTCH) == []


def test_file_name_of_255_bytes_is_repaired(site: Site, packs: Packs, tmp_path: Path) -> None:
    """Temporary names must not be derived from names of files."""
    name = "x" * 255
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / name).write_bytes(b"hello" * 999)
    long = build_packs(tmp_path / "built", {COMMON: packs.trees[COMMON], DUTCH: tmp_path / "tree"})
    assert site.run(MODELS_URL=long.url).code == 0
    file = site.active(DUTCH.name) / name
    file.chmod(0o644)
    file.write_bytes(b"damaged")
    assert site.run("--repair", MODELS_URL=long.url).code == 0
    assert long.differences(site, DUTCH) == []


def test_volume_with_too_long_path_is_refused_with_remedy(site: Site, tmp_path: Path) -> None:
    parts = ["d" * 200] * 25
    done = site.run(MODELS_DIR=str(tmp_path.joinpath(*parts)))
    assert done.code == 43, done.err
    assert "set MODELS_DIR to a shorter path" in done.fault


@contextmanager
def _volume_of(user: int, packs: Packs) -> Iterator[Site]:
    """Create a volume of that user and a copy of the packs in directories that every user may read."""
    require_root()
    with TemporaryDirectory(dir="/var/tmp") as name:
        Path(name).chmod(0o755)
        volume = Path(name) / "models"
        volume.mkdir()
        os.chown(volume, user, 0)
        shutil.copytree(packs.directory, Path(name) / "packs")
        yield Site(volume, {**packs.environment, "MODELS_URL": f"{name}/packs"})


def _as_unknown_user() -> list[str]:
    return [*powerless(), "--reuid", str(_UNKNOWN_USER), "--regid", "0", "--clear-groups", "--no-new-privs"]


def _read_only_root(volume: Path) -> list[str]:
    """Make all file systems read-only except the volume, in a mount namespace of the command."""
    mount = f'mount --bind "{volume}" "{volume}" && mount -o remount,bind,ro /'
    script = f'{mount} && ! touch /var/tmp/x 2>/dev/null && exec "$@"'
    return [require_tool("unshare"), "-m", "sh", "-c", script, "sh"]


@pytest.fixture
def quota(tmp_path: Path) -> Iterator[Path]:
    """Mount btrfs with a subvolume whose quota is smaller than the packs, although most of the disk is free."""
    require_root()
    make = (require_tool("mkfs.btrfs"), "-q")
    with loop(tmp_path, make, 256, (require_tool("mount"),)) as top:
        volume = top / "models"
        _btrfs("quota", "enable", str(top))
        _btrfs("subvolume", "create", str(volume))
        _btrfs("qgroup", "limit", str(_QUOTA), str(volume))
        yield volume


def _btrfs(*arguments: str) -> None:
    subprocess.run([require_tool("btrfs"), *arguments], check=True, capture_output=True)


async def test_lock_of_killed_run_does_not_block_another_pid_namespace(site: Site) -> None:
    require_root()
    lock = site.volume / ".lock"
    with site.but(MODELS_MAX_RATE="1MB").start(stderr=subprocess.DEVNULL) as process:
        await eventually(lambda: lock.exists() and lock.read_text(), "the lock")
        other = site.run(through=[require_tool("unshare"), "-pf", "--mount-proc"], MODELS_LOCK_SECONDS="1")
        assert other.code == 42
        assert f"by process {process.pid} on {os.uname().nodename}" in other.fault
        process.kill()
        process.wait()
    done = site.run(through=[require_tool("unshare"), "-pf", "--mount-proc"], MODELS_LOCK_SECONDS="1")
    assert (done.code, "waiting" in done.steps) == (0, False), done.err


def test_prune_keeps_releases_while_lock_server_does_not_answer(site: Site) -> None:
    """A reader may have a lease that only the server knows."""
    for version in (DUTCH.version, NEWER.version):
        assert site.run(REALTIME_LANGUAGE_VERSION=version).code == 0
    newer = site.but(REALTIME_LANGUAGE_VERSION=NEWER.version)
    done = newer.run("--prune", "--keep", "0", through=failing("flock", "error=ENOLCK"))
    assert (done.code, len(list(site.volume.glob("releases/*/release.json")))) == (0, 2), done.err
    assert newer.run("--prune", "--keep", "0").code == 0
    assert len(list(site.volume.glob("releases/*/release.json"))) == 1


def test_rollback_works_while_lock_server_does_not_answer(site: Site) -> None:
    for version in (DUTCH.version, NEWER.version):
        assert site.run(REALTIME_LANGUAGE_VERSION=version).code == 0
    done = site.run("--rollback", through=failing("flock", "error=ENOLCK"))
    assert (done.code, done.out.startswith("rolled back to release")) == (0, True), done.err


@pytest.mark.parametrize("home", ["/", "", "/missing"])
def test_user_without_passwd_entry_installs_with_read_only_root(packs: Packs, home: str) -> None:
    with _volume_of(_UNKNOWN_USER, packs) as site:
        done = site.run(through=[*_read_only_root(site.volume), *_as_unknown_user()], HOME=home)
        assert done.code == 0, done.err
        assert packs.differences(site, COMMON, DUTCH) == []


def test_volume_of_root_is_refused_with_number_of_user(packs: Packs) -> None:
    with _volume_of(0, packs) as site:
        done = site.run(through=_as_unknown_user())
        assert done.code == 43, done.err
        assert done.fault.endswith(f"give the volume to user {_UNKNOWN_USER}")


def test_used_up_quota_is_named_and_next_run_continues(packs: Packs, quota: Path) -> None:
    """`df` shows free space: the subvolume's quota group is the limit."""
    site = Site(quota, packs.environment)
    done = site.run()
    assert (done.code, "quota of the volume is used up" in done.fault) == (41, True), done.err
    _btrfs("qgroup", "limit", "none", str(quota))
    done = site.run("--json")
    assert (done.code, done.json["bytes_reused"] > 0) == (0, True), done.err
    assert packs.differences(site, COMMON, DUTCH) == []
