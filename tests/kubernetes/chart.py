"""The chart, its value sets, and the objects that helm renders from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tests.services.kubernetes_api.object_rules import pod_template
from tests.services.kubernetes_api.pod_rules import containers

Object = dict[str, Any]

ROOT = Path(__file__).parents[2]
CHART = next((ROOT / "deploy/helm").glob("*/Chart.yaml")).parent
VALUE_SETS = sorted((CHART / "ci").glob("*.yaml"))
RELEASE, NAMESPACE = "asr", "speech"
NAMED = (RELEASE, CHART, "--namespace", NAMESPACE)
"""The arguments of `helm template`, `install` and `upgrade` that name the release."""


def parse(text: str) -> list[Object]:
    """Return the objects in the output of `helm template`."""
    return [thing for thing in yaml.safe_load_all(text) if thing]


def by_name(things: list[Object]) -> dict[str, Object]:
    """Return objects by kind and name, without the tests and other hooks."""
    hooked = "helm.sh/hook"
    return {
        f"{thing['kind']}/{thing['metadata']['name']}": thing
        for thing in things
        if hooked not in thing["metadata"].get("annotations", {})
    }


def pods(things: list[Object]) -> dict[str, Object]:
    """Return the specification of each pod by kind and name of its owner."""
    templates = {f"{thing['kind']}/{thing['metadata']['name']}": pod_template(thing) for thing in things}
    return {name: template["spec"] for name, template in templates.items() if template}


def all_containers(things: list[Object]) -> dict[str, Object]:
    """Return each container by kind and name of the owner and its own name."""
    return {
        f"{owner}/{container['name']}": container
        for owner, spec in pods(things).items()
        for container in containers(spec)
    }
