"""The chart agrees with the program, and its names are valid for every release."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import yaml

from models_init import __version__
from models_init.cli.compose_overlay import configuration
from tests.kubernetes.chart import CHART, ROOT, parse

if TYPE_CHECKING:
    from pathlib import Path

    from tests.services.chart_tools import Helm

_LONGEST = {"CronJob": 52, "StatefulSet": 52}
"""Longest names of kinds whose controllers append something for pods and labels; 63 for all others."""
_OF_DOCKER = re.compile(r"resolver |set \$engine |proxy_pass |listen ")


def test_default_image_is_that_of_this_version() -> None:
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"] == __version__


def test_longest_release_name_gives_valid_names(helm: Helm) -> None:
    release = "a-release-name-of-fifty-three-characters-in-lower-case"[:53].rstrip("-")
    values = CHART / "ci/k3s-values.yaml"
    longest = "languages.abc-defgh-ijklm.replicas=1"
    objects = parse(helm.run("template", release, CHART, "--values", values, "--set", longest))
    names = [(thing["kind"], thing["metadata"]["name"]) for thing in objects]
    assert len(set(names)) == len(names)
    for kind, name in names:
        assert len(name) <= _LONGEST.get(kind, 63), f"{kind} {name}"
        assert re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", name), f"{kind} {name}"


def test_gateway_has_the_directives_of_the_gateway_of_compose() -> None:
    """Only the directives that name engines differ, because Docker's addresses change and those of Services do not."""
    ours = {line.strip() for line in (CHART / "files/gateway.conf").read_text().splitlines()}
    routes = re.compile(r"location |rewrite |return 404 ")
    theirs = {line.strip() for line in configuration(["nl-nl"]).splitlines() if not routes.search(line)}
    assert {line for line in theirs - ours if not _OF_DOCKER.match(line) and not line.startswith("#")} == set()


_PAGES = (CHART / "README.md", ROOT / "docs/deploy-kubernetes.md")


def _examples() -> list[str]:
    """Return the values in the documentation: each block of YAML whose keys are those of the chart."""
    known = yaml.safe_load((CHART / "values.yaml").read_text()).keys()
    blocks = [block for page in _PAGES for block in re.findall(r"(?ms)^```yaml\n(.*?)^```", page.read_text())]
    return [block for block in blocks if yaml.safe_load(block).keys() <= known]


def test_values_in_the_documentation_are_accepted(helms: dict[int, Helm], tmp_path: Path) -> None:
    examples = _examples()
    assert len(examples) >= 3
    for number, example in enumerate(examples):
        file = tmp_path / f"{number}.yaml"
        file.write_text(example)
        helms[3].run("template", "asr", CHART, "--values", CHART / "ci/minimal-values.yaml", "--values", file)


_SOURCES = [
    ("source.url=https://models.example/x", {443}),
    ("source.url=http://cache:8080/models,source.anonymous=true", {8080}),
    ("source.url=oci://registry.example:5000/models", {5000}),
    ("source.url=http://mirror.example/x,source.mirrors={https://mirror.example:8443/x}", {80, 8443}),
    ("source.proxy.HTTPS_PROXY=proxy.example:3128,source.proxy.NO_PROXY=.example", {443, 3128}),
    ("networkPolicy.source.ports={444}", {443, 444}),
]


@pytest.mark.parametrize(("values", "ports"), _SOURCES, ids=[values for values, _ in _SOURCES])
def test_network_policy_admits_the_ports_of_the_source(helms: dict[int, Helm], values: str, ports: set[int]) -> None:
    minimal = ("--values", CHART / "ci/minimal-values.yaml", "--show-only", "templates/networkpolicy.yaml")
    engine = parse(helms[3].run("template", "asr", CHART, *minimal, "--set", values))[0]
    dns, source = engine["spec"]["egress"]
    assert {entry["port"] for entry in dns["ports"]} == {53}
    assert {entry["port"] for entry in source["ports"]} == ports
