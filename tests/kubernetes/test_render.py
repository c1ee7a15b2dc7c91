"""Both versions of helm render each value set to the same valid objects, and refuse invalid values."""

from __future__ import annotations

import json
import re
from itertools import chain
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from models_init.cli.arguments import parse as parse_arguments
from models_init.cli.settings import SETTINGS, load
from tests.kubernetes.chart import CHART, NAMED, ROOT, VALUE_SETS, all_containers, parse, pods
from tests.kubernetes.pod_security import violations
from tests.kubernetes.references import broken_references
from tests.services import chart_tools
from tests.services.kubernetes_api.object_rules import object_errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from models_init.cli.settings import Settings
    from tests.kubernetes.chart import Object
    from tests.services.chart_tools import Helm

_each_value_set = pytest.mark.parametrize("name", [values.stem for values in VALUE_SETS])
_OURS = re.compile(r"(MODELS|REALTIME|WHISPER|PLATFORM)_")
_OLDEST = "1.29"
_EXCEPTIONS = ROOT / "tests/kubernetes/checkov.yaml"
_IMAGE = r"[\w.-]+(:\d+)?/(?P<repository>[\w/-]+)(?P<version>:[\w.-]+|@sha256:[0-9a-f]{64})"


def _objects(rendered: dict[str, Path], name: str) -> list[Object]:
    return parse(rendered[name].read_text())


def test_there_are_ten_value_sets() -> None:
    assert len(VALUE_SETS) >= 10


@pytest.mark.parametrize("values", VALUE_SETS, ids=lambda values: values.stem)
def test_chart_passes_the_strict_lint(helm: Helm, values: Path) -> None:
    assert "1 chart(s) linted, 0 chart(s) failed" in helm.run("lint", "--strict", CHART, "--values", values)


@pytest.mark.parametrize("values", VALUE_SETS, ids=lambda values: values.stem)
def test_helm4_renders_the_same_bytes_as_helm3(helms: dict[int, Helm], rendered: dict[str, Path], values: Path) -> None:
    assert helms[4].run("template", *NAMED, "--values", values) == rendered[values.stem].read_text()


def test_all_objects_fit_the_schemas_of_each_version(rendered: dict[str, Path]) -> None:
    """Unknown fields are errors, from the oldest version that the chart supports to the newest that the tool knows."""
    versions = chart_tools.validated_versions()
    supported = versions[versions.index(_OLDEST) :]
    assert len(supported) >= 9
    done = chart_tools.validate(supported, list(rendered.values()))
    assert done.code == 0, done.out + done.err


@_each_value_set
def test_objects_satisfy_the_rules_of_the_api_server(rendered: dict[str, Path], name: str) -> None:
    assert list(chain.from_iterable(map(object_errors, _objects(rendered, name)))) == []


@_each_value_set
def test_references_between_objects_resolve(rendered: dict[str, Path], name: str) -> None:
    """A name that no rendered object has must be set in the values."""
    values = (CHART / "ci" / f"{name}.yaml").read_text() + (CHART / "values.yaml").read_text()
    assert list(broken_references(_objects(rendered, name), set(re.findall(r"[\w.-]+", values)))) == []


@_each_value_set
def test_pods_are_restricted_except_those_with_a_host_path(rendered: dict[str, Path], name: str) -> None:
    """The exceptions are the volume itself, and the container that storage.takeOwnership adds."""
    for owner, spec in pods(_objects(rendered, name)).items():
        allowed = {"volume models: hostPath"} if "hostpath" in name or "daemonset" in name else set()
        found = {line for line in violations(spec) if not line.startswith("take-ownership: ")}
        assert found <= allowed, owner
        assert spec["automountServiceAccountToken"] is False, owner


@_each_value_set
def test_images_belong_to_the_product_and_have_a_fixed_version(rendered: dict[str, Path], name: str) -> None:
    """The gateway's nginx is the exception; nothing else is pulled, not even to wait, test or prune."""
    for place, container in all_containers(_objects(rendered, name)).items():
        image = re.fullmatch(_IMAGE, container["image"])
        assert image, f"{place}: {container['image']}"
        allowed = {"library/nginx"} if place.endswith("gateway/nginx") else {"asr/models-init", "asr/server"}
        assert image["repository"] in allowed, f"{place}: {container['image']}"
        assert image["version"] not in (":latest", ":stable", ":mainline"), f"{place}: {container['image']}"


@_each_value_set
def test_program_accepts_the_arguments_and_variables_of_each_container(rendered: dict[str, Path], name: str) -> None:
    """Each variable with a prefix of the program is one of its settings."""
    known = {setting.variable for setting in SETTINGS}
    for place, container in all_containers(_objects(rendered, name)).items():
        assert {variable for variable in _environment(container) if _OURS.match(variable)} <= known, place
        if _is_ours(container):
            assert _settings(container).packs, place


@_each_value_set
def test_engine_mounts_exactly_the_packs_that_its_init_container_and_its_lease_name(
    rendered: dict[str, Path], name: str
) -> None:
    engines = [
        spec for spec in pods(_objects(rendered, name)).values() if spec["containers"][0]["name"] == "asr-server"
    ]
    assert engines
    for spec in engines:
        mounts = [mount for mount in spec["containers"][0]["volumeMounts"] if mount["name"] == "models"]
        assert all(mount["readOnly"] for mount in mounts)
        assert all(mount["mountPath"] == f"/models/current/{mount['subPath'].split('/')[1]}" for mount in mounts)
        mounted = {mount["subPath"] for mount in mounts}
        for container in filter(_is_ours, spec["initContainers"]):
            assert {f"packs/{pack.name}/{pack.version}" for pack in _settings(container).packs} == mounted, name


def _is_ours(container: Object) -> bool:
    return "models-init" in container["image"] and "command" not in container


def _environment(container: Object) -> dict[str, str]:
    return {variable["name"]: variable["value"] for variable in container.get("env", [])}


def _settings(container: Object) -> Settings:
    """Read the settings as the program does. Raises `UsageError`."""
    return load(parse_arguments(container["args"], _environment(container)).values, with_packs=True)


def test_twenty_languages_need_two_routes_because_a_route_has_at_most_16_rules(helm: Helm, tmp_path: Path) -> None:
    languages: list[str] = [f"a{letter}" for letter in "abcdefghijklmnopqrst"]
    values = {
        "languages": {language: {} for language in languages},
        "httpRoute": {"enabled": True, "parentRefs": [{"name": "main"}]},
        "prune": {"enabled": True, "keep": 100},
    }
    (tmp_path / "values.json").write_text(json.dumps(values))
    minimal = ("--values", CHART / "ci/minimal-values.yaml", "--values", tmp_path / "values.json")
    things = parse(helm.run("template", *NAMED, *minimal))
    assert list(chain.from_iterable(map(object_errors, things))) == []
    routes = {thing["metadata"]["name"]: thing["spec"]["rules"] for thing in things if thing["kind"] == "HTTPRoute"}
    assert {name: len(rules) for name, rules in routes.items()} == {"asr-realtime-asr": 16, "asr-realtime-asr-2": 5}
    paths = [rule["matches"][0]["path"]["value"] for rules in routes.values() for rule in rules]
    assert paths == sorted(f"/{language}" for language in [*languages, "nl-nl"])
    (prune,) = [container for place, container in all_containers(things).items() if place.startswith("CronJob")]
    assert parse_arguments(prune["args"], {}).keep == 1000, "the most that the program accepts"


def test_placement_of_a_language_replaces_that_of_the_engines(helm: Helm, tmp_path: Path) -> None:
    """Also by an empty value: fy-nl runs on any node."""
    values: Object = {
        "engine": {"nodeSelector": {"gpu": "a100"}, "tolerations": [{"key": "gpu", "operator": "Exists"}]},
        "languages": {"en-us": {"nodeSelector": {"pool": "cpu"}}, "fy-nl": {"nodeSelector": {}, "tolerations": []}},
    }
    (tmp_path / "values.json").write_text(json.dumps(values))
    minimal = ("--values", CHART / "ci/minimal-values.yaml", "--values", tmp_path / "values.json")
    found = pods(parse(helm.run("template", *NAMED, *minimal)))
    engines = {name[-5:]: spec for name, spec in found.items() if name.startswith("Deployment")}
    assert {name: spec.get("nodeSelector") for name, spec in engines.items()} == {
        "en-us": {"pool": "cpu"},
        "fy-nl": None,
        "nl-nl": {"gpu": "a100"},
    }
    assert [name for name, spec in engines.items() if "tolerations" in spec] == ["en-us", "nl-nl"]


def test_release_with_a_dot_in_its_name_has_services_without(helm: Helm) -> None:
    things = parse(helm.run("template", "asr.prod", CHART, "--values", CHART / "ci/minimal-values.yaml"))
    assert list(chain.from_iterable(map(object_errors, things))) == []
    assert "asr-prod-realtime-asr-nl-nl" in {thing["metadata"]["name"] for thing in things}


_ODD_TEXTS: Object = {
    "languages": {"no": {}},
    "nameOverride": "12",
    "fullnameOverride": "asr",
    "global": {"imagePullSecrets": ["5"]},
    "source": {"sas": {"existingSecret": "123", "key": "1"}, "ca": {"existingConfigMap": "12", "key": "true"}},
    "license": {"engine": {"existingSecret": "77", "key": "null"}, "platform": {"existingSecret": "8", "key": "2"}},
    "storage": {"claim": {"storageClassName": "1"}},
    "serviceAccount": {"name": "5"},
    "gateway": {"enabled": True},
    "ingress": {"enabled": True, "host": "*.asr.example", "tlsSecret": "1", "className": "2"},
    "engine": {"modelsPath": "/models/a #b"},
}
_ODD_PATHS: Object = {
    "fullnameOverride": "asr",
    "storage": {"type": "hostPath", "hostPath": {"path": "/data/models #1: new"}},
    "source": {"sas": {"existingSecret": ""}, "bundle": {"volume": {"emptyDir": {}}, "path": "site #2: new.tar"}},
}
_TEXT_KEYS = {"claimName", "host", "ingressClassName", "key", "mountPath", "name", "path", "secretName"} | {
    *("serviceAccountName", "storageClassName", "subPath", "realtime-asr/language"),
    *("app.kubernetes.io/name", "app.kubernetes.io/instance"),
}


@pytest.mark.parametrize("values", [_ODD_TEXTS, _ODD_PATHS], ids=["names and keys", "paths"])
def test_texts_that_yaml_reads_as_something_else_stay_texts(helm: Helm, tmp_path: Path, values: Object) -> None:
    """The language `no`, a Secret `123` with the key `true`, a path with ` #`: all are valid names."""
    (tmp_path / "values.json").write_text(json.dumps(values))
    minimal = ("--values", CHART / "ci/minimal-values.yaml", "--values", tmp_path / "values.json")
    things = parse(helm.run("template", "2026", CHART, *minimal))
    assert list(chain.from_iterable(map(object_errors, things))) == []
    found = list(chain.from_iterable(map(_texts, things)))
    assert [(key, text) for key, text in found if not isinstance(text, str)] == []
    expected = {text for text in _leaves(values) if isinstance(text, str) and text}
    assert [text for text in expected if text not in json.dumps(things)] == []


def _texts(thing: Any) -> Iterator[tuple[str, Any]]:
    """Yield key and value of everything in an object that is a text."""
    if isinstance(thing, dict):
        for key, value in thing.items():
            if not isinstance(value, dict | list) and (key in _TEXT_KEYS or key == "value"):
                yield key, value
            yield from _texts(value)
    elif isinstance(thing, list):
        for entry in thing:
            yield from _texts(entry)


def _leaves(value: Any) -> Iterator[Any]:
    """Yield everything in values that is neither an object nor a list."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    if inner is None:
        yield value
    else:
        yield from chain.from_iterable(map(_leaves, inner))


def test_checkov_reports_only_justified_exceptions(rendered: dict[str, Path]) -> None:
    """Each exception has its reason on the same line, and each is needed: checkov reports exactly these checks."""
    exceptions = re.findall(r"^  - (CKV2?_K8S_\d+) # .{20,}$", _EXCEPTIONS.read_text(), re.MULTILINE)
    assert exceptions == yaml.safe_load(_EXCEPTIONS.read_text())["skip-check"]
    directory = next(iter(rendered.values())).parent
    done = chart_tools.checkov("--framework", "kubernetes", "--directory", directory, "--compact", "--quiet")
    assert re.search(r"Passed checks: \d{4}", done.out), done.out + done.err
    found = set(re.findall(r"^Check: (\w+):", done.out, re.MULTILINE))
    assert found == set(exceptions), done.out
