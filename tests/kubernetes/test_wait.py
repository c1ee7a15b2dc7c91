"""`--wait`: end when the packs of the environment are installed; read the volume only."""

from __future__ import annotations

import os
import shutil
import signal
from typing import TYPE_CHECKING

import pytest

from models_init.cli.arguments import parse
from models_init.cli.commands import wait
from models_init.cli.settings import load
from models_init.core.errors import NotInstalledError
from tests.kubernetes.kubelet import USER
from tests.kubernetes.pods import Pod, node_volume
from tests.site import DUTCH

if TYPE_CHECKING:
    from pathlib import Path

    from tests.site import Packs, Site

NOT_INSTALLED, TERMINATED, USAGE = 44, 143, 2


@pytest.fixture
def installed(site: Site) -> Site:
    assert site.run("--stage").code == 0
    return site


def test_wait_ends_when_another_run_has_installed_the_packs(site: Site) -> None:
    with site.start("--wait", "100") as waiting:
        assert waiting.stderr
        assert 'waiting_for_packs missing="common 2026.04,nl-nl 2026.04"' in waiting.stderr.readline()
        assert site.run("--stage").code == 0
        out, err = waiting.communicate(timeout=60)
    assert (waiting.returncode, out) == (0, f"installed on {site.volume}: common 2026.04, nl-nl 2026.04\n")
    assert "error" not in err


def test_wait_needs_no_write_access_network_or_token(tmp_path: Path, packs: Packs) -> None:
    pod = Pod(node_volume(tmp_path / "models"), packs)
    assert pod.run("--stage").code == 0
    os.chown(pod.volume, 0, 0)
    reader = pod.but(read_only=True, offline=True, variables={"MODELS_URL": ""})
    before = pod.volume.stat()
    done = reader.run("--wait", "0", "--json")
    assert (done.code, done.json["packs"]) == (0, {"common": "2026.04", "nl-nl": "2026.04"})
    assert pod.volume.stat() == before
    assert pod.volume.stat().st_uid != USER


def test_missing_packs_are_named_with_the_remedy(installed: Site) -> None:
    """The message has the same form with and without a time limit."""
    newer = installed.but(REALTIME_LANGUAGE_VERSION="2026.07")
    for seconds, after in (("0", ""), ("1", " after 1 s")):
        refused = newer.run("--wait", seconds)
        assert refused.code == NOT_INSTALLED
        assert refused.fault == (
            f"{installed.volume} lacks nl-nl 2026.07{after}: --wait installs nothing itself; install them with the "
            "same settings (models-init, or models-init --stage) on this volume, and look at the log of that run: in "
            "Kubernetes it is an init container, a Job or a DaemonSet"
        )


def test_missing_volume_has_no_installed_packs(site: Site) -> None:
    assert site.run("--wait", "0").code == NOT_INSTALLED
    assert not site.volume.exists()


def test_wait_ignores_releases_and_current(installed: Site) -> None:
    shutil.rmtree(installed.volume / "releases")
    assert installed.run("--wait", "0").code == 0
    assert not (installed.volume / "current").exists()


@pytest.mark.parametrize("lost", ["packs/nl-nl/2026.04", "manifests/nl-nl/2026.04.json"])
def test_pack_without_files_or_manifest_is_incomplete(installed: Site, lost: str) -> None:
    """A killed publish or prune leaves such a pack; a rename completes it."""
    (installed.volume / lost).rename(installed.volume / "lost")
    assert installed.run("--wait", "0").code == NOT_INSTALLED
    (installed.volume / "lost").rename(installed.volume / lost)
    assert installed.run("--wait", "0").code == 0


def test_wait_ends_at_sigterm(site: Site) -> None:
    with site.start("--wait") as waiting:
        assert waiting.stderr
        waiting.stderr.readline()
        waiting.send_signal(signal.SIGTERM)
        assert waiting.wait(timeout=10) == TERMINATED


def test_environment_without_packs_is_refused(site: Site) -> None:
    refused = site.run("--wait", "0", REALTIME_COMMON_VERSION="")
    assert refused.code == USAGE
    assert refused.fault.startswith("REALTIME_COMMON_VERSION is not set")


def test_volume_that_cannot_be_read_is_reported(tmp_path: Path, packs: Packs) -> None:
    pod = Pod(node_volume(tmp_path / "models", owner=0, mode=0o700), packs)
    (pod.volume / "manifests").mkdir()
    refused = pod.run("--wait")
    assert refused.code == 43
    assert refused.fault.startswith("/mnt/models/")
    assert "cannot be read: Permission denied" in refused.fault


def test_status_line_at_the_beginning_and_every_ten_seconds_has_the_stored_share(
    site: Site, packs: Packs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(wait, "monotonic", lambda: sum(slept))
    monkeypatch.setattr(wait, "sleep", slept.append)
    _stage_half(site, packs)
    environment = {**packs.environment, "MODELS_DIR": str(site.volume)}
    with pytest.raises(NotInstalledError):
        wait.run(parse(["--wait", "25"], {}), load(environment, with_packs=True))
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition("missing=")[2] for line in lines] == [
        f'"common 2026.04,nl-nl 2026.04 (68 %)" at_most={left}' for left in ("25s", "15s", "5.0s")
    ]
    assert sum(slept) == 25


def _stage_half(site: Site, packs: Packs) -> None:
    """Put the largest file of the Dutch pack in staging."""
    manifest = packs.directory / "nl-nl/2026.04/manifest.json"
    staged = site.volume / "staging/nl-nl/2026.04@0123456789ab"
    staged.mkdir(parents=True)
    shutil.copy(manifest, staged.with_name(f"{staged.name}.json"))
    largest = max(packs.trees[DUTCH].rglob("*"), key=lambda path: path.stat().st_size)
    shutil.copy(largest, staged / "largest")
