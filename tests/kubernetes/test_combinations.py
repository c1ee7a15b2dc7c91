"""Values that cannot be combined are refused, all in one message with the remedies."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.kubernetes.chart import CHART, NAMED

if TYPE_CHECKING:
    from pathlib import Path

    from tests.services.chart_tools import Helm

_REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"packs": {"commonVersion": ""}}, "packs.commonVersion is not set; set it to the version that your license names"),
    ({"packs": {"languageVersion": ""}}, "the version of nl-nl is not set; set packs.languageVersion or"),
    (
        {
            "packs": {"languageVersion": ""},
            "languages": {"nl-nl": {"version": "2026.04"}},
            "staging": {"ahead": [{"languages": {"fr-fr": {}}}]},
        },
        "the version of fr-fr in staging.ahead is not set; set packs.languageVersion or languages.fr-fr.version there",
    ),
    ({"fullnameOverride": "2asr"}, "no Service can be named 2asr; set fullnameOverride to a name that begins with"),
    ({"fullnameOverride": "ASR"}, "no Service can be named ASR; set fullnameOverride"),
    ({"engine": {"image": {"tag": ""}}}, "engine.image.tag is not set; set it, or engine.image.digest"),
    ({"storage": {"claim": {"accessModes": ["ReadWriteOnce"]}}}, "or storage.type=claimPerPod, or, if the cluster has"),
    (
        {"storage": {"takeOwnership": True}, "podSecurityContext": {"runAsUser": None}},
        "storage.takeOwnership needs podSecurityContext.runAsUser and runAsGroup",
    ),
    ({"storage": {"type": "claimPerPod"}, "staging": {"mode": "job"}}, "but storage.type is claimPerPod; use"),
    ({"staging": {"mode": "daemonSet"}}, "but storage.type is claim; use storage.type=hostPath or another"),
    (
        {"storage": {"type": "ephemeral"}, "staging": {"ahead": [{"packs": {"languageVersion": "2026.07"}}]}},
        "staging.ahead is not possible with storage.type=ephemeral and staging.mode=init",
    ),
    (
        {"storage": {"type": "hostPath"}, "staging": {"ahead": [{"packs": {"languageVersion": "2026.07"}}]}},
        "staging.ahead is not possible with storage.type=hostPath and staging.mode=init",
    ),
    (
        {"storage": {"type": "hostPath"}, "prune": {"enabled": True}},
        "use staging.mode=daemonSet or prune.enabled=false",
    ),
    (
        {"source": {"sas": {"value": "sig=x"}}},
        "source.sas.existingSecret and source.sas.value are both set; remove one",
    ),
    ({"source": {"anonymous": True, "bundle": {"volume": {"emptyDir": {}}, "path": "x"}}}, "are both set; remove one"),
    ({"source": {"bundle": {"volume": {"emptyDir": {}}}}}, "source.bundle.path is not set; set it to the name"),
    ({"source": {"registry": {"existingSecret": "pull"}}}, "set it to oci://HOST/PREFIX"),
    (
        {"license": {"platform": {"existingSecret": "a", "existingConfigMap": "b"}}},
        "license.platform.existingSecret and license.platform.existingConfigMap are both set; remove one",
    ),
    ({"ingress": {"enabled": True}}, "ingress.host is not set; set it to the name that clients connect to"),
    ({"httpRoute": {"enabled": True}}, "httpRoute.parentRefs is empty; name your Gateway"),
]


@pytest.mark.parametrize(("values", "message"), _REFUSED, ids=[message for _, message in _REFUSED])
def test_combination_is_refused_with_its_remedy(
    helms: dict[int, Helm], tmp_path: Path, values: dict[str, Any], message: str
) -> None:
    (tmp_path / "values.json").write_text(json.dumps(values))
    minimal = CHART / "ci/minimal-values.yaml"
    done = helms[3].try_run("template", *NAMED, "--values", minimal, "--values", tmp_path / "values.json")
    assert (done.code, message in done.err) == (1, True), done.err


def test_all_faults_are_reported_together(helm: Helm) -> None:
    done = helm.try_run("template", *NAMED, "--set", "ingress.enabled=true")
    found = [line.split()[0] for line in done.err.splitlines() if "; " in line]
    assert found == ["languages", "packs.commonVersion", "engine.image.tag", "ingress.host"], done.err


def test_language_without_values_is_refused_rather_than_ignored(helm: Helm, tmp_path: Path) -> None:
    """In YAML, `nl-nl:` with nothing after it is null, which helm would otherwise drop silently."""
    (tmp_path / "values.yaml").write_text("languages:\n  nl-nl:\n")
    done = helm.try_run("template", *NAMED, "--values", tmp_path / "values.yaml")
    assert (done.code, "nl-nl" in done.err, "null" in done.err) == (1, True, True), done.err
