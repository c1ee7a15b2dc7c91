"""Volumes as kubelet prepares them: subPath, directories created early, fsGroup, read-only root, hostPath ownership.

The headings name the functions of kubelet that the tests imitate; `tests/kubernetes/kubelet.py` names their files.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.kubernetes.kubelet import USER, Mount, in_container, make_sub_path, set_ownership
from tests.kubernetes.pods import BOTH, Pod, copy_volume, names_of, node_volume
from tests.services import require_root
from tests.site import COMMON, DUTCH, NEWER

if TYPE_CHECKING:
    from pathlib import Path

    from tests.site import Packs

NOT_WRITABLE, NOT_INSTALLED = 43, 44
FS_GROUP, OPEN_TO_ALL, CLOSED = 0o2775, 0o777, 0o700


@pytest.fixture(autouse=True)
def _as_root() -> None:
    require_root()


@pytest.fixture
def pod(tmp_path: Path, packs: Packs) -> Pod:
    """A pod on an empty volume of the image's user, mode 0755: a local path that was given to it, or NFS."""
    return Pod(node_volume(tmp_path / "models"), packs)


@pytest.fixture(scope="module")
def prepared(packs: Packs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the set with a pod on an empty volume."""
    first = Pod(node_volume(tmp_path_factory.mktemp("installed") / "models"), packs)
    assert first.run().code == 0
    return first.volume


@pytest.fixture
def installed(prepared: Path, tmp_path: Path, packs: Packs) -> Pod:
    """A pod on a volume with the set."""
    return Pod(copy_volume(prepared, tmp_path / "models"), packs)


def on_volume(pod: Pod, owner: int, mode: int) -> Pod:
    os.chown(pod.volume, owner, USER)
    pod.volume.chmod(mode)
    return pod


def listed(*mounts: Mount) -> list[str]:
    """Return the names that an engine sees in its pack nl-nl."""
    command = [*in_container(*mounts), "ls", "/mnt/current/nl-nl"]
    return sorted(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())


# -- subPath: makeMounts, doBindSubPath


def test_engine_reads_its_pack_by_sub_path(installed: Pod) -> None:
    assert listed(installed.sub_path(DUTCH), installed.sub_path(COMMON)) == names_of(installed.packs.trees[DUTCH])


def test_volume_can_be_a_sub_path_of_a_larger_volume(pod: Pod) -> None:
    """The program's volume is one directory of a claim, mounted by subPath with everything below it."""
    make_sub_path(pod.volume, "speech/models")
    inner = pod.but(volume=pod.volume / "speech/models")
    os.chown(inner.volume, USER, USER)
    assert inner.run().code == 0
    assert names_of(pod.volume) == ["speech"]


def test_parts_of_the_volume_mounted_separately_are_reported_before_the_download(pod: Pod) -> None:
    """A rename between two mounts of one file system fails, although both have the same device number."""
    assert pod.run("--check").code == 0
    for part in ("packs", "staging"):
        (pod.volume / part).mkdir()
        os.chown(pod.volume / part, USER, USER)
    mounted = pod.but(others=(Mount(pod.volume / "packs", "/mnt/models/packs"),))
    refused = mounted.run()
    assert refused.code == NOT_WRITABLE
    assert refused.fault.startswith("/mnt/models/packs cannot be renamed")
    assert refused.fault.endswith("MODELS_DIR must be one file system, with no other one mounted below it")
    assert names_of(pod.volume / "staging") == []
    assert mounted.run("--check").code == NOT_WRITABLE


# -- directories that kubelet creates before the install: doSafeMakeDir


@pytest.mark.parametrize(("owner", "mode"), [(0, FS_GROUP), (0, OPEN_TO_ALL)], ids=["fsGroup", "0777"])
def test_early_directory_on_a_shared_volume_is_replaced(pod: Pod, owner: int, mode: int) -> None:
    """Kubelet creates packs/ and its subdirectories with the mode of the root, so the program can replace them."""
    on_volume(pod, owner, mode)
    make_sub_path(pod.volume, "packs/nl-nl/2026.04")
    assert pod.pack(DUTCH).stat().st_uid == 0
    assert pod.run("--wait", "0").code == NOT_INSTALLED
    assert pod.run().code == 0
    assert pod.is_whole(DUTCH)


@pytest.mark.parametrize("mode", [0o755, CLOSED], ids=["0755", "0700"])
@pytest.mark.parametrize("action", [(), ("--stage",)], ids=["install", "stage"])
def test_early_directory_next_to_another_version_is_replaced(
    installed: Pod, mode: int, action: tuple[str, ...]
) -> None:
    """The parent directory belongs to the program, which created it for the earlier version."""
    on_volume(installed, USER, mode)
    make_sub_path(installed.volume, "packs/nl-nl/2026.07")
    newer = installed.but(version="2026.07")
    assert newer.run("--wait", "0").code == NOT_INSTALLED
    assert newer.run(*action).code == 0
    assert installed.is_whole(NEWER)
    assert newer.run("--wait", "0").code == 0


@pytest.mark.parametrize("action", [(), ("--stage",), ("--check",)], ids=["install", "stage", "check"])
def test_early_directory_in_a_foreign_parent_is_named_before_the_download(pod: Pod, action: tuple[str, ...]) -> None:
    """On an empty volume with mode 0755, packs/ itself belongs to root; the message gives the cause and the remedy."""
    make_sub_path(pod.volume, "packs/nl-nl/2026.04")
    refused = pod.run(*action)
    assert refused.code == NOT_WRITABLE
    text = refused.out if action == ("--check",) else refused.fault
    assert "/mnt/models/packs belongs to user 0, and user 10001 cannot write there; kubelet creates such" in text
    assert "remove it with `rm -r /mnt/models/packs` as user 0" in text
    assert not list(pod.volume.glob("staging/*/*"))
    shutil.rmtree(pod.volume / "packs")
    assert pod.run().code == 0


def test_foreign_directory_with_packs_is_named_with_another_remedy(installed: Pod) -> None:
    """The remedy does not remove a directory that has files."""
    os.chown(installed.volume / "packs/nl-nl", 0, 0)
    refused = installed.but(version="2026.07").run()
    assert refused.code == NOT_WRITABLE
    assert "give it to user 10001 with `chown -R 10001 /mnt/models/packs/nl-nl`" in refused.fault


def test_empty_directory_in_the_place_of_a_lost_pack_is_not_an_installed_pack(installed: Pod) -> None:
    """The manifest still exists, as after a killed prune, and kubelet creates the directory again."""
    shutil.rmtree(installed.pack(DUTCH))
    make_sub_path(installed.volume, "packs/nl-nl/2026.04")
    for action in (("--wait", "0"), ("--hold",)):
        refused = installed.run(*action)
        assert refused.code == NOT_INSTALLED
        assert "lacks nl-nl 2026.04" in refused.fault
    assert installed.run().code == 0
    assert installed.is_whole(DUTCH)


def test_early_mount_stays_empty_and_a_later_one_has_the_pack(pod: Pod) -> None:
    """A container that mounts a pack too early keeps the replaced directory, so an init container must wait."""
    on_volume(pod, 0, FS_GROUP)
    make_sub_path(pod.volume, "packs/nl-nl/2026.04")
    engine = ["sh", "-c", "echo mounted; read go; ls /mnt/current/nl-nl"]
    with subprocess.Popen(
        [*in_container(pod.sub_path(DUTCH)), *engine], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as early:
        assert early.stdout
        assert early.stdout.readline() == "mounted\n"
        assert pod.run().code == 0
        out, _ = early.communicate("go\n", timeout=60)
    assert out == ""
    assert listed(pod.sub_path(DUTCH)) == names_of(pod.packs.trees[DUTCH])


def test_early_directory_is_pruned(installed: Pod) -> None:
    make_sub_path(installed.volume, "packs/nl-nl/2026.09")
    assert installed.run("--prune").code == 0
    assert names_of(installed.volume / "packs/nl-nl") == ["2026.04"]


# -- fsGroup: SetVolumeOwnership


def test_volume_stays_intact_when_fs_group_changes_all_files(pod: Pod) -> None:
    """A recursive chown and chmod is not damage: nothing is fetched again, and an upgrade still reuses chunks."""
    on_volume(pod, 0, FS_GROUP)
    assert pod.run().code == 0
    set_ownership(pod.volume)
    assert "is intact" in pod.run("--verify").out
    assert "nothing to do" in pod.run().out
    upgraded = pod.but(version="2026.07").run("--json")
    assert (upgraded.code, upgraded.json["bytes_fetched"] < 1 << 20) == (0, True)
    set_ownership(pod.volume)
    for action in (("--rollback",), ("--wait", "0"), ("--prune", "--keep", "0"), ("--verify",)):
        assert pod.run(*action).code == 0


# -- read-only root file system, mounts and the termination log


def test_install_writes_only_to_its_volume_and_the_termination_log(pod: Pod, tmp_path: Path) -> None:
    """The root file system is read-only, there is no /tmp to write to, and the user has no home."""
    log = tmp_path / "termination-log"
    log.touch()
    log.chmod(0o666)
    logged = pod.but(
        others=(Mount(log, "/mnt/termination-log"),), variables={"MODELS_TERMINATION_LOG": "/mnt/termination-log"}
    )
    assert logged.run().code == 0
    assert log.read_text() == ""
    failed = logged.but(version="2026.09").run()
    assert log.read_text() == failed.fault
    waited = logged.but(version="2026.09").run("--wait", "0")
    assert waited.code == NOT_INSTALLED
    assert log.read_text() == waited.fault
    assert {path.stat().st_uid for path in pod.volume.rglob("*")} == {USER}


@pytest.mark.parametrize("action", [(), ("--stage",), ("--wait", "0"), ("--verify",)])
def test_read_only_volume_with_the_set_needs_no_change(installed: Pod, action: tuple[str, ...]) -> None:
    assert installed.but(read_only=True, offline=True).run(*action).code == 0


@pytest.mark.parametrize("action", [(), ("--stage",)])
def test_read_only_volume_without_the_set_is_reported(installed: Pod, action: tuple[str, ...]) -> None:
    """The message names a directory of the volume, also if all packs are installed but not active."""
    other = installed.but(version="2026.07", read_only=True)
    refused = other.run(*action)
    assert refused.code == NOT_WRITABLE
    assert refused.fault.startswith("/mnt/models")
    assert refused.fault.endswith("Read-only file system; mount the volume read-write")
    assert installed.but(version="2026.07").run("--stage").code == 0
    activation = other.run()
    assert activation.code == NOT_WRITABLE
    assert activation.fault.startswith("/mnt/models")


# -- hostPath, to which fsGroup does not apply: DirectoryOrCreate creates it as root, with mode 0755


def test_host_path_of_root_is_reported_and_works_after_a_change_of_owner(pod: Pod) -> None:
    on_volume(pod, 0, 0o755)
    refused = pod.run()
    assert refused.code == NOT_WRITABLE
    assert refused.fault.startswith("/mnt/models/")
    assert refused.fault.endswith("give the volume to user 10001")
    os.chown(pod.volume, USER, USER)  # as an init container does that has only the capability CHOWN
    assert pod.run().code == 0
    assert pod.is_whole(DUTCH)


def test_each_pack_of_the_set_is_readable_by_another_user(installed: Pod) -> None:
    """An engine image may run as a different user."""
    for ref in BOTH:
        for path in (installed.pack(ref), *installed.pack(ref).rglob("*")):
            assert path.stat().st_mode & 0o005 >= (0o005 if path.is_dir() else 0o004)
