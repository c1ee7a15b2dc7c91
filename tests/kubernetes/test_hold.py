"""`--hold` for the packs of the environment: a native sidecar that prevents their pruning and ends at SIGTERM."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.kubernetes.kubelet import USER
from tests.kubernetes.pods import Pod, copy_volume, names_of
from tests.services import require_root, require_tool
from tests.site import DUTCH, NEWER, Site

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from tests.site import Packs

NOT_INSTALLED = 44


@pytest.fixture(scope="module")
def prepared(packs: Packs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install two sets, of which `--prune --keep 0` removes the first."""
    site = Site(tmp_path_factory.mktemp("two-sets") / "models", packs.environment)
    for version in (DUTCH.version, NEWER.version):
        assert site.run(REALTIME_LANGUAGE_VERSION=version).code == 0
    return site.volume


@pytest.fixture
def two_sets(site: Site, prepared: Path) -> Site:
    copy_volume(prepared, site.volume)
    return site


@contextmanager
def holding(site: Site | Pod, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Hold a lease; yield when it is taken."""
    started = site.started if isinstance(site, Pod) else site.start
    with started("--hold", *arguments) as process:
        assert process.stderr
        assert "holding" in process.stderr.readline()
        yield process


def pruned(site: Site) -> list[str]:
    """Prune everything but the newer set; return the versions of the Dutch pack that stay."""
    assert site.run("--prune", "--keep", "0", REALTIME_LANGUAGE_VERSION=NEWER.version).code == 0
    return names_of(site.volume / "packs/nl-nl")


def test_packs_of_the_environment_stay_until_the_lease_ends(two_sets: Site) -> None:
    """The release of these packs is removed, because readers of packs do not need it."""
    with holding(two_sets) as sidecar:
        report = two_sets.run("--prune", "--keep", "0", "--json", REALTIME_LANGUAGE_VERSION=NEWER.version).json
        (item,) = (item for item in report["items"] if (item["kind"], item["name"]) == ("pack", "nl-nl 2026.04"))
        assert (item["stays"], item["why"]) == (True, "is in use by a reader")
        assert two_sets.run("--wait", "0").code == 0
        sidecar.send_signal(signal.SIGTERM)
        out, err = sidecar.communicate(timeout=10)
    assert (sidecar.returncode, err) == (0, "")
    assert out == "the lease on common 2026.04, nl-nl 2026.04 ended with SIGTERM\n"
    assert pruned(two_sets) == ["2026.07"]


def test_leased_packs_are_activated_again_without_a_source(two_sets: Site) -> None:
    """A rollback to a set whose release was pruned records the release again and fetches nothing."""
    with holding(two_sets):
        assert pruned(two_sets) == ["2026.04", "2026.07"]
        done = two_sets.run("--json", MODELS_URL="file:///none")
    assert (done.code, done.json["bytes_fetched"], done.json["activated"]) == (0, 0, True)


def test_lease_ends_when_its_process_is_killed(two_sets: Site) -> None:
    with holding(two_sets) as sidecar:
        sidecar.kill()
        sidecar.wait()
        assert pruned(two_sets) == ["2026.07"]


def test_named_release_is_held_without_a_program(two_sets: Site) -> None:
    """SIGINT ends it as well."""
    release = two_sets.run("--json", REALTIME_LANGUAGE_VERSION=NEWER.version).json["release"]
    with holding(two_sets, release) as sidecar:
        sidecar.send_signal(signal.SIGINT)
        assert sidecar.communicate(timeout=10)[0].endswith("ended with SIGINT\n")
    assert sidecar.returncode == 0


def test_program_runs_while_the_packs_of_the_environment_are_leased(two_sets: Site) -> None:
    with two_sets.start("--hold", "--", "sh", "-c", "echo serving; read go") as server:
        assert server.stdout
        assert server.stdout.readline() == "serving\n"
    with holding(two_sets):
        pass
    assert pruned(two_sets) == ["2026.07"]


def test_lock_of_a_manifest_by_another_program_is_a_lease(two_sets: Site) -> None:
    """flock(1) on the manifest of one pack is enough. `common` needs no lease, because the newer set uses it."""
    manifest = two_sets.volume / "manifests/nl-nl/2026.04.json"
    done = two_sets.run(
        *("--prune", "--keep", "0"),
        through=[require_tool("flock"), "--shared", str(manifest)],
        REALTIME_LANGUAGE_VERSION=NEWER.version,
    )
    assert done.code == 0
    assert names_of(two_sets.volume / "packs/nl-nl") == ["2026.04", "2026.07"]


def test_packs_that_are_not_installed_cannot_be_held(site: Site) -> None:
    refused = site.run("--hold")
    assert refused.code == NOT_INSTALLED
    assert refused.fault.startswith(f"{site.volume} lacks common 2026.04, nl-nl 2026.04: no lease is possible")
    assert not site.volume.exists()


def test_process_1_of_a_container_ends_at_sigterm(tmp_path: Path, packs: Packs, prepared: Path) -> None:
    """The container has another user, a read-only mount, no network and no token; its lease applies to the node."""
    require_root()
    pod = Pod(copy_volume(prepared, tmp_path / "models"), packs)
    for path in (pod.volume, *pod.volume.rglob("*")):
        os.chown(path, USER, USER, follow_symlinks=False)
    sidecar = pod.but(read_only=True, offline=True, variables={"MODELS_LOG_FORMAT": "json"})
    newer = pod.but(version=NEWER.version)
    with sidecar.started("--hold", pid_1=True) as process:
        assert process.stderr
        assert '"event":"holding"' in process.stderr.readline().replace(" ", "")
        assert newer.run("--prune", "--keep", "0").code == 0
        assert names_of(pod.pack(DUTCH).parent) == ["2026.04", "2026.07"]
        os.kill(_child(process.pid), signal.SIGTERM)
        assert process.wait(timeout=10) == 0
    assert newer.run("--prune", "--keep", "0").code == 0
    assert names_of(pod.pack(DUTCH).parent) == ["2026.07"]


def _child(pid: int) -> int:
    """Return the process that unshare(1) has started in the new namespace, where it is process 1."""
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    assert Path(f"/proc/{child}/status").read_text().partition("NSpid:")[2].split()[1] == "1"
    return int(child)
