"""Rules of the API server about whole objects that no schema expresses: names, selectors, restart policies, routes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from tests.services.kubernetes_api.pod_rules import LABEL, containers, pod_errors

if TYPE_CHECKING:
    from collections.abc import Iterator

Object = dict[str, Any]

_SUBDOMAIN = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL_VALUE = re.compile(r"(?=.{0,63}$)([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")
_LABEL_NAME = re.compile(r"([a-z0-9.-]{1,253}/)?(?=[^/]{1,63}$)[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_LONGEST = {"CronJob": 52, "Job": 63, "StatefulSet": 52}
"""Longest names: pods of these kinds have the name in a label, some with a suffix."""
_MOST_RULES = 16
_DURATION = re.compile(r"([0-9]{1,5}(h|m|s|ms)){1,4}")
_RESTART = {"Job": {"Never", "OnFailure"}, "CronJob": {"Never", "OnFailure"}}
_CONTROLLERS = ("DaemonSet", "Deployment", "StatefulSet", "Job", "CronJob")


def pod_template(thing: Object) -> Object | None:
    """Return the pod, or the template of pods, with `metadata` and `spec`; None for objects without one."""
    if thing["kind"] == "Pod":
        return thing
    if thing["kind"] == "CronJob":
        return dict(thing["spec"]["jobTemplate"]["spec"]["template"])
    return dict(thing["spec"]["template"]) if thing["kind"] in _CONTROLLERS else None


def object_errors(thing: Object) -> list[str]:
    """Return a line for each rule that the object breaks."""
    kind = thing["kind"]
    errors = [*_metadata(thing), *_KINDS.get(kind, _nothing)(thing)]
    template = pod_template(thing)
    if template:
        claims = [claim["metadata"]["name"] for claim in thing["spec"].get("volumeClaimTemplates", [])]
        errors += _labels(template.get("metadata", {})) if template is not thing else ()
        errors += pod_errors(template["spec"], claims)
        errors += _template(thing, template)
    return [f"{kind} {thing['metadata']['name']}: {error}" for error in errors]


def _nothing(_: Object) -> Iterator[str]:
    yield from ()


def _metadata(thing: Object) -> Iterator[str]:
    kind, name = thing["kind"], thing["metadata"]["name"]
    if not (LABEL if kind in ("Service", *_LONGEST) else _SUBDOMAIN).fullmatch(name):
        yield "the name is not a DNS name"
    if len(name) > _LONGEST.get(kind, 253):
        yield f"the name must be no more than {_LONGEST[kind]} characters"
    yield from _labels(thing["metadata"])


def _labels(metadata: Object) -> Iterator[str]:
    for name, value in metadata.get("labels", {}).items():
        if not _LABEL_NAME.fullmatch(name) or not isinstance(value, str) or not _LABEL_VALUE.fullmatch(value):
            yield f"label {name}: {value!r} is not allowed"
    for name, value in metadata.get("annotations", {}).items():
        if not isinstance(value, str):
            yield f"annotation {name}: {value!r} is not a string"


def _template(thing: Object, template: Object) -> Iterator[str]:
    kind, policy = thing["kind"], template["spec"].get("restartPolicy", "Always")
    if kind != "Pod" and policy not in _RESTART.get(kind, {"Always"}):
        yield f"restartPolicy {policy} is not supported"
    if kind in ("DaemonSet", "Deployment", "StatefulSet"):
        selector = thing["spec"]["selector"].get("matchLabels", {})
        if not selector or not selector.items() <= template["metadata"].get("labels", {}).items():
            yield "`selector` does not match template `labels`"


def _job(job: Object) -> Iterator[str]:
    spec = job["spec"] if job["kind"] == "Job" else job["spec"]["jobTemplate"]["spec"]
    rules = spec.get("podFailurePolicy", {}).get("rules", [])
    if rules and spec["template"]["spec"].get("restartPolicy") != "Never":
        yield "podFailurePolicy needs the restart policy Never"
    names = {container["name"] for container in containers(spec["template"]["spec"])}
    for rule in rules:
        codes = rule.get("onExitCodes", {})
        if codes.get("containerName", next(iter(names))) not in names:
            yield f"podFailurePolicy: {codes['containerName']} is not a container"
        values = codes.get("values", [])
        if values != sorted(set(values)) or (codes.get("operator") == "In" and 0 in values):
            yield f"podFailurePolicy: the exit codes {values} must be ordered, unique, and not 0"


def _cron_job(job: Object) -> Iterator[str]:
    if len(job["spec"]["schedule"].split()) != 5 and not job["spec"]["schedule"].startswith("@"):
        yield f"the schedule {job['spec']['schedule']!r} does not have five fields"
    yield from _job(job)


def _service(service: Object) -> Iterator[str]:
    ports = service["spec"]["ports"]
    if len(ports) > 1 and not all("name" in port for port in ports):
        yield "each of several ports needs a name"


def _disruption_budget(budget: Object) -> Iterator[str]:
    if {"minAvailable", "maxUnavailable"} <= budget["spec"].keys():
        yield "minAvailable and maxUnavailable cannot be both set"


def _ingress(ingress: Object) -> Iterator[str]:
    for rule in ingress["spec"].get("rules", []):
        for path in rule.get("http", {}).get("paths", []):
            if path["pathType"] != "ImplementationSpecific" and not path["path"].startswith("/"):
                yield f"path {path['path']}: must be an absolute path"


def _route(route: Object) -> Iterator[str]:
    """Check the rules of the Gateway API's CRD (`HTTPRouteRule`), for which kubernetes-validate has no schema."""
    if len(route["spec"]["rules"]) > _MOST_RULES:
        yield f"a route must have at most {_MOST_RULES} rules"
    for rule in route["spec"]["rules"]:
        paths = [match["path"] for match in rule.get("matches", []) if "path" in match]
        for path in paths:
            if not path["value"].startswith("/") or "//" in path["value"]:
                yield f"path {path['value']}: must start with '/' and not contain '//'"
        for given in rule.get("filters", []):
            rewrite = given.get("urlRewrite", {}).get("path", {})
            replaces = rewrite.get("type") == "ReplacePrefixMatch"
            if replaces and [path["type"] for path in paths] != ["PathPrefix"]:
                yield "ReplacePrefixMatch needs exactly one match, of the type PathPrefix"
        for name, duration in rule.get("timeouts", {}).items():
            if not _DURATION.fullmatch(duration):
                yield f"timeouts.{name}: {duration!r} is not a duration"


_KINDS = {
    "CronJob": _cron_job,
    "HTTPRoute": _route,
    "Ingress": _ingress,
    "Job": _job,
    "PodDisruptionBudget": _disruption_budget,
    "Service": _service,
}
