"""The program with the chart's arguments and environments: a CronJob keeps what a rollback of each language needs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from models_init.core.pack_ref import PackRef
from tests import samples
from tests.kubernetes.chart import CHART, NAMED, all_containers, parse
from tests.site import NOWHERE, Site, build_packs

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kubernetes.chart import Object
    from tests.services.chart_tools import Helm
    from tests.site import Done, Packs

_LANGUAGES = ("en-us", "nl-nl")
_OLD, _PREVIOUS, _CURRENT = "2026.04", "2026.07", "2026.10"
_COMMON = "2026.04"


@pytest.fixture(scope="module")
def packs(tmp_path_factory: pytest.TempPathFactory) -> Packs:
    """Build a small pack of each language in each version."""
    directory = tmp_path_factory.mktemp("packs")
    refs = [PackRef(language, version) for language in _LANGUAGES for version in (_OLD, _PREVIOUS, _CURRENT)]
    shape = samples.Shape(texts=2, weights=(), dense=())
    trees = {ref: samples.write_tree(directory / f"{ref.name}-{ref.version}", shape, str(ref)) for ref in refs}
    trees[PackRef("common", _COMMON)] = samples.write_tree(directory / "common", shape, "common")
    return build_packs(directory, trees)


@dataclass
class Claim:
    """The volume behind the chart's claim, and a release of the chart that uses it."""

    helm: Helm
    site: Site

    def containers(self, version: str, ahead: str = "") -> dict[str, Object]:
        """Render the chart with one version for all languages, and one that is staged ahead; return the containers."""
        values = ("languages.en-us.replicas=1", "prune.enabled=true", "staging.mode=job")
        versions = f"packs.languageVersion={version},packs.commonVersion={_COMMON}"
        if ahead:
            versions += f",staging.ahead[0].packs.languageVersion={ahead}"
        minimal = CHART / "ci/minimal-values.yaml"
        options = ("--set", ",".join(values), "--set-string", versions)
        return all_containers(parse(self.helm.run("template", *NAMED, "--values", minimal, *options)))

    def run(self, container: Object, **settings: str) -> Done:
        """Run the program with the arguments of a container, and with its variables that name packs."""
        named = {entry["name"]: entry["value"] for entry in container["env"] if entry["name"].startswith("REALTIME_")}
        named.pop("REALTIME_LICENSE_FILE", None)
        done = self.site.run(*container["args"], "--json", **named, **settings)
        assert done.code == 0, done.err
        return done

    def stage(self, version: str, **settings: str) -> list[Done]:
        """Run the Job of each language."""
        jobs = [container for name, container in self.containers(version).items() if name.startswith("Job/")]
        assert len(jobs) == len(_LANGUAGES)
        return [self.run(job, **settings) for job in jobs]

    def prune(self, version: str, ahead: str = "") -> None:
        """Run the CronJob so long after staging that only its retention rules keep an earlier set."""
        history = self.site.volume / "releases/.history"
        history.write_text(re.sub(r"(?m)^\S+", "2026-01-01T00:00:00+00:00", history.read_text()))
        (job,) = [
            container for name, container in self.containers(version, ahead).items() if name.startswith("CronJob/")
        ]
        self.run(job)

    def versions(self, language: str) -> set[str]:
        """Return the installed versions of a language."""
        return {path.name for path in (self.site.volume / "packs" / language).iterdir()}


@pytest.fixture(scope="module")
def pruned(helms: dict[int, Helm], packs: Packs, tmp_path_factory: pytest.TempPathFactory) -> Claim:
    """A volume after two upgrades and a run of the CronJob."""
    claim = Claim(helms[3], Site(tmp_path_factory.mktemp("volume") / "models", {"MODELS_URL": packs.url}))
    for version in (_OLD, _PREVIOUS, _CURRENT):
        claim.stage(version)
    claim.prune(_CURRENT)
    return claim


def test_cron_job_keeps_the_set_before_the_current_one_of_each_language(pruned: Claim) -> None:
    for language in _LANGUAGES:
        assert pruned.versions(language) == {_PREVIOUS, _CURRENT}


def test_rollback_after_pruning_needs_no_source(pruned: Claim) -> None:
    for done in pruned.stage(_PREVIOUS, MODELS_URL=NOWHERE):
        assert done.json["bytes_fetched"] == 0


def test_set_in_use_after_a_rollback_and_the_one_before_are_kept(pruned: Claim) -> None:
    pruned.stage(_PREVIOUS)
    pruned.prune(_PREVIOUS)
    for language in _LANGUAGES:
        assert pruned.versions(language) == {_PREVIOUS, _CURRENT}


def test_set_staged_ahead_does_not_displace_the_earlier_one(
    helms: dict[int, Helm], packs: Packs, tmp_path: Path
) -> None:
    claim = Claim(helms[3], Site(tmp_path / "models", {"MODELS_URL": packs.url}))
    for version in (_OLD, _PREVIOUS, _CURRENT):
        claim.stage(version)
    claim.prune(_PREVIOUS, ahead=_CURRENT)
    for language in _LANGUAGES:
        assert claim.versions(language) == {_OLD, _PREVIOUS, _CURRENT}
