"""The Kubernetes objects of deploy/cache: schemas, pod security, and references to the other files."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import yaml

from tests.kubernetes.chart import CHART, ROOT, all_containers, parse, pods
from tests.kubernetes.pod_security import violations
from tests.services import chart_tools
from tests.services.chart_tools import Helm, install_helm

if TYPE_CHECKING:
    from pathlib import Path

_DIRECTORY = ROOT / "deploy/cache"
_OBJECTS = parse((_DIRECTORY / "kubernetes.yaml").read_text())
_SCRIPT = (_DIRECTORY / "start.sh").read_text()


def test_objects_fit_the_schemas_of_all_versions() -> None:
    done = chart_tools.validate(chart_tools.validated_versions(), [_DIRECTORY / "kubernetes.yaml"])
    assert done.code == 0, done.out + done.err


def test_pod_is_restricted_and_has_no_service_account_token() -> None:
    (spec,) = pods(_OBJECTS).values()
    assert list(violations(spec)) == []
    assert spec["automountServiceAccountToken"] is False


def test_configuration_files_exist_and_are_mounted_at_their_paths() -> None:
    kustomization = yaml.safe_load((_DIRECTORY / "kustomization.yaml").read_text())
    (generated,) = kustomization["configMapGenerator"]
    (container,) = all_containers(_OBJECTS).values()
    (spec,) = pods(_OBJECTS).values()
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    (volume,) = [volume for volume in spec["volumes"] if volume.get("configMap") == {"name": generated["name"]}]
    assert kustomization["resources"] == ["kubernetes.yaml"]
    assert {path.name for path in _DIRECTORY.iterdir()} >= {*generated["files"]}
    assert container["command"] == ["sh", f"{mounts[volume['name']]}/start.sh"]
    assert {mounts["run"], mounts["slices"]} <= set(re.findall(r"default (/\S+)", _SCRIPT))


def test_variables_of_all_files_are_those_of_the_script() -> None:
    known = set(re.findall(r"^#   (CACHE_\w+)", _SCRIPT, re.MULTILINE))
    (container,) = all_containers(_OBJECTS).values()
    compose = yaml.safe_load((_DIRECTORY / "docker-compose.cache.yml").read_text())["services"]["models-cache"]
    assert {variable["name"] for variable in container["env"]} <= known
    assert compose["environment"].keys() <= known
    assert set(re.findall(r"\$\{(CACHE_\w+)", _SCRIPT)) == known


def test_example_has_every_variable_of_the_compose_file() -> None:
    used = set(re.findall(r"\$\{(CACHE_\w+)", (_DIRECTORY / "docker-compose.cache.yml").read_text()))
    example = set(re.findall(r"(?m)^(CACHE_\w+)=", (_DIRECTORY / ".env.cache.example").read_text()))
    assert used - example == {"CACHE_TOKEN_FILE"}, "the token's file is always in ./secrets"
    assert example <= used


def test_chart_accepts_the_values_for_the_cache(tmp_path: Path) -> None:
    """With these values, clients use the Service without a token."""
    helm = Helm(install_helm()[3], tmp_path)
    values = [CHART / "ci" / "minimal-values.yaml", _DIRECTORY / "kubernetes-values.yaml"]
    text = helm.run("template", "asr", CHART, *(word for path in values for word in ("--values", path)))
    (service,) = [thing for thing in _OBJECTS if thing["kind"] == "Service"]
    url = f"http://{service['metadata']['name']}:{service['spec']['ports'][0]['port']}/models"
    environment = [container.get("env", []) for container in all_containers(parse(text)).values()]
    found = {variable["name"]: variable.get("value") for variables in environment for variable in variables}
    assert (found["MODELS_URL"], found["MODELS_ANONYMOUS"], found["MODELS_ALLOW_HTTP"]) == (url, "yes", "yes")
