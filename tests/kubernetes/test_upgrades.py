"""Real helm 3 and helm 4 on an API server: install, upgrade, roll back, uninstall, install again."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.kubernetes.chart import CHART, NAMESPACE, RELEASE
from tests.kubernetes.cluster import Cluster, cluster

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.services.chart_tools import Helm

_NAME = f"{RELEASE}-{CHART.name}"
_CLAIM = f"PersistentVolumeClaim/{_NAME}-models"
_VALUES: dict[str, Any] = {
    "languages": {"en-us": {}, "nl-nl": {}},
    "packs": {"languageVersion": "2026.04", "commonVersion": "2026.04"},
    "engine": {"image": {"tag": "1"}},
    "source": {"sas": {"existingSecret": "models-sas"}},
    "staging": {"mode": "job"},
}
_NEWER = _VALUES | {"packs": {"languageVersion": "2026.07", "commonVersion": "2026.04"}}
_STAGED = _VALUES | {"staging": {"mode": "job", "ahead": [{"packs": {"languageVersion": "2026.07"}}]}}
_THREE = _VALUES | {"languages": {"en-us": {}, "fy-nl": {}, "nl-nl": {}}}


def _engines(verb: str, *languages: str) -> list[str]:
    return [f"{verb} Deployment/{_NAME}-{language}" for language in languages]


def _jobs(verb: str, version: str, *languages: str) -> list[str]:
    return [f"{verb} Job/{language} {version}, common 2026.04" for language in languages]


@pytest.fixture
def release(helm: Helm, tmp_path: Path) -> Iterator[Cluster]:
    """A cluster without a release."""
    with cluster(helm, tmp_path) as release:
        yield release


def test_install_creates_the_rendered_objects(release: Cluster) -> None:
    assert release.install(_VALUES) == sorted(
        [
            *_engines("created", "en-us", "nl-nl"),
            *_jobs("created", "2026.04", "en-us", "nl-nl"),
            f"created {_CLAIM}",
            *(f"created NetworkPolicy/{_NAME}-{component}" for component in ("engine", "staging", "test")),
            *(f"created Service/{_NAME}-{language}" for language in ("en-us", "nl-nl")),
            f"created ServiceAccount/{_NAME}",
        ]
    )


def test_new_version_changes_engines_and_replaces_jobs(release: Cluster) -> None:
    release.install(_VALUES)
    assert release.upgrade(_NEWER) == sorted(
        [
            *_engines("changed", "en-us", "nl-nl"),
            *_jobs("created", "2026.07", "en-us", "nl-nl"),
            *_jobs("deleted", "2026.04", "en-us", "nl-nl"),
        ]
    )


def test_version_staged_ahead_is_not_installed_again(release: Cluster) -> None:
    """The Jobs of the next version do not change the engines, and stay the same objects when engines use it."""
    release.install(_VALUES)
    assert release.upgrade(_STAGED) == _jobs("created", "2026.07", "en-us", "nl-nl")
    jobs = {name: release.uid(name) for name in release.rendered if name.startswith("Job/")}
    assert release.upgrade(_NEWER) == [
        *_engines("changed", "en-us", "nl-nl"),
        *_jobs("deleted", "2026.04", "en-us", "nl-nl"),
    ]
    kept = [name for name in release.rendered if name.startswith("Job/")]
    assert len(kept) == 2
    assert {name: release.uid(name) for name in kept}.items() <= jobs.items()


def test_added_language_does_not_affect_the_others(release: Cluster) -> None:
    release.install(_VALUES)
    created = [*_engines("created", "fy-nl"), *_jobs("created", "2026.04", "fy-nl"), f"created Service/{_NAME}-fy-nl"]
    assert release.upgrade(_THREE) == created
    assert release.upgrade(_VALUES) == [line.replace("created", "deleted") for line in created]


def test_version_of_one_language_changes_only_its_engine(release: Cluster) -> None:
    release.install(_VALUES)
    assert release.upgrade(_VALUES | {"languages": {"en-us": {}, "nl-nl": {"version": "2026.07"}}}) == [
        *_engines("changed", "nl-nl"),
        *_jobs("created", "2026.07", "nl-nl"),
        *_jobs("deleted", "2026.04", "nl-nl"),
    ]


def test_rollback_restores_all_objects(release: Cluster) -> None:
    release.install(_VALUES)
    first = release.api.objects()
    release.upgrade(_THREE | {"packs": _NEWER["packs"]})
    assert release.roll_back(1) == sorted(
        [
            *_engines("changed", "en-us", "nl-nl"),
            *_engines("deleted", "fy-nl"),
            *_jobs("created", "2026.04", "en-us", "nl-nl"),
            *_jobs("deleted", "2026.07", "en-us", "fy-nl", "nl-nl"),
            f"deleted Service/{_NAME}-fy-nl",
        ]
    )
    assert release.api.objects() == first
    assert len(release.run("history", RELEASE).strip().splitlines()) == 4


def test_claim_survives_uninstall_and_is_adopted_by_the_next_install(release: Cluster) -> None:
    created = release.install(_VALUES)
    claim = release.uid(_CLAIM)
    deleted = [line.replace("created", "deleted") for line in created if _CLAIM not in line]
    assert release.uninstall() == deleted
    assert list(release.api.objects()) == [_CLAIM]
    assert release.install(_NEWER) == sorted(
        line.replace("2026.04, common", "2026.07, common") for line in created if _CLAIM not in line
    )
    assert release.uid(_CLAIM) == claim


def test_upgrade_without_a_change_changes_nothing(release: Cluster) -> None:
    release.install(_VALUES)
    assert release.upgrade(_VALUES) == []


_KINDS_OF_STORAGE = ("claim", "claimPerPod", "ephemeral", "hostPath")


def _stored(kind: str) -> dict[str, Any]:
    return _VALUES | {"storage": {"type": kind}, "staging": {"mode": "init"}}


@pytest.mark.parametrize("kind", _KINDS_OF_STORAGE)
def test_new_chart_with_other_images_sizes_and_labels_changes_no_immutable_field(
    release: Cluster, tmp_path: Path, kind: str
) -> None:
    release.install(_stored(kind))
    release.chart = _next_version(tmp_path)
    changed = release.upgrade(
        _stored(kind)
        | {
            "engine": {"image": {"tag": "2"}, "replicas": 3, "port": 9000, "terminationGracePeriodSeconds": 10},
            "commonLabels": {"team": "speech"},
            "commonAnnotations": {"example.org/owner": "speech"},
            "gateway": {"enabled": True},
            "prune": {"enabled": kind in ("claim", "claimPerPod")},
        }
    )
    assert any(line.startswith("changed Service/") for line in changed)
    assert not any(line.startswith("deleted ") for line in changed)
    release.roll_back(1)


def _next_version(directory: Path) -> Path:
    """Copy the chart, with a higher version of the chart and of the program."""
    chart = directory / CHART.name
    shutil.copytree(CHART, chart)
    description = yaml.safe_load((chart / "Chart.yaml").read_text())
    description |= {"version": "99.0.0", "appVersion": "99.0.0"}
    (chart / "Chart.yaml").write_text(yaml.safe_dump(description))
    return chart


@pytest.mark.parametrize("kind", _KINDS_OF_STORAGE[1:])
def test_kind_of_storage_can_change_and_change_back(release: Cluster, kind: str) -> None:
    """The claim, which has the policy `keep`, stays and is used again."""
    release.install(_stored("claim"))
    claim = release.uid(_CLAIM)
    release.keep(_CLAIM)
    release.upgrade(_stored(kind))
    release.upgrade(_stored("claim"))
    assert release.uid(_CLAIM) == claim


def test_helm_refuses_to_roll_back_to_a_claim_that_it_kept(release: Cluster) -> None:
    """Unlike an upgrade, a rollback does not adopt objects, which is why the documentation says to upgrade."""
    release.install(_stored("claim"))
    release.keep(_CLAIM)
    release.upgrade(_stored("ephemeral"))
    refused = release.helm.try_run("rollback", RELEASE, "1", "--namespace", NAMESPACE)
    assert refused.code == 1
    assert f'PersistentVolumeClaim with the name "{_NAME}-models"' in refused.err
    assert release.api.changes() == []


def test_size_of_claims_per_pod_changes_after_the_stateful_sets_are_deleted(release: Cluster) -> None:
    """docs/deploy-kubernetes.md describes the steps; the pods and their claims are not deleted."""
    release.install(_stored("claimPerPod"))
    larger = _stored("claimPerPod") | {"storage": {"type": "claimPerPod", "claimPerPod": {"size": "40Gi"}}}
    with pytest.raises(AssertionError, match=r"updates to statefulset spec for fields other than .* are forbidden"):
        release.upgrade(larger)
    release.api.refusals.clear()
    release.delete("StatefulSet")
    release.upgrade(larger)


def test_staging_mode_can_change_to_jobs_and_back(release: Cluster) -> None:
    release.install(_stored("claim"))
    release.upgrade(_VALUES)
    release.upgrade(_VALUES | {"staging": {"mode": "job", "job": {"backoffLimit": 2}}, "prune": {"enabled": True}})
    release.upgrade(_stored("claim") | {"prune": {"enabled": True, "schedule": "0 1 * * *"}})


def test_release_of_helm3_is_upgraded_and_rolled_back_by_helm4(helms: dict[int, Helm], tmp_path: Path) -> None:
    with cluster(helms[3], tmp_path) as release:
        release.install(_VALUES)
        release.switch(helms[4])
        release.upgrade(_THREE)
        release.upgrade(_NEWER)
        release.roll_back(1)
        release.switch(helms[3])
        release.upgrade(_NEWER)


def test_helm_test_runs_its_pods_and_removes_them(release: Cluster) -> None:
    release.install(_VALUES)
    assert re.search(r"Phase: +Succeeded", release.run("test", RELEASE))
    pods = [f"Pod/{_NAME}-{test}" for test in ("check", "connect")]
    assert release.api.changes() == [f"{verb} {pod}" for verb in ("created", "deleted") for pod in pods]
