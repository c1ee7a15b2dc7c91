"""The fake API server: patches, immutable fields, and rules that no schema expresses."""

from __future__ import annotations

import copy
import json
import urllib.request
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError

import pytest

from tests.services.kubernetes_api import server
from tests.services.kubernetes_api.immutable import forbidden_changes, quantity
from tests.services.kubernetes_api.object_rules import object_errors
from tests.services.kubernetes_api.patches import merge_patch, strategic_merge_patch
from tests.services.kubernetes_api.protobuf import decode_secret

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.services.kubernetes_api.server import KubernetesApi

Object = dict[str, Any]

_POD: Object = {
    "initContainers": [{"name": "init", "image": "a:1"}, {"name": "hold", "image": "a:1", "restartPolicy": "Always"}],
    "containers": [
        {
            "name": "engine",
            "image": "b:1",
            "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
            "ports": [{"name": "ws", "containerPort": 8890}],
            "startupProbe": {"tcpSocket": {"port": "ws"}},
            "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"memory": "1Gi"}},
            "volumeMounts": [{"name": "models", "mountPath": "/models", "subPath": "packs/nl-nl/1"}],
        }
    ],
    "volumes": [{"name": "models", "persistentVolumeClaim": {"claimName": "models"}}],
}
_DEPLOYMENT: Object = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "engine", "labels": {"app": "engine"}},
    "spec": {
        "selector": {"matchLabels": {"app": "engine"}},
        "template": {"metadata": {"labels": {"app": "engine"}}, "spec": _POD},
    },
}
_JOB: Object = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": "stage"},
    "spec": {
        "podFailurePolicy": {
            "rules": [{"action": "FailJob", "onExitCodes": {"containerName": "init", "operator": "In", "values": [2]}}]
        },
        "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "init", "image": "a:1"}]}},
    },
}
_ROUTE: Object = {
    "apiVersion": "gateway.networking.k8s.io/v1",
    "kind": "HTTPRoute",
    "metadata": {"name": "engine"},
    "spec": {
        "rules": [
            {
                "matches": [{"path": {"type": "PathPrefix", "value": "/nl-nl"}}],
                "filters": [{"urlRewrite": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}}}],
                "timeouts": {"request": "0s"},
            }
        ]
    },
}


def _with(thing: Object, path: str, value: Any) -> Object:
    """Return a copy with another value at a path such as `spec.containers.0.name`; None removes it."""
    changed = copy.deepcopy(thing)
    *parents, last = (int(part) if part.isdecimal() else part for part in path.split("/"))
    place: Any = changed
    for part in parents:
        place = place[part]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return changed


def test_valid_objects_have_no_errors() -> None:
    assert [error for thing in (_DEPLOYMENT, _JOB, _ROUTE) for error in object_errors(thing)] == []


_ENGINE = "spec/template/spec/containers/0"
_INIT = "spec/template/spec/initContainers/0"


@pytest.mark.parametrize(
    ("thing", "path", "value", "error"),
    [
        (_DEPLOYMENT, "metadata/name", "Engine", "not a DNS name"),
        (_DEPLOYMENT, "metadata/labels/app", "a" * 64, "label app"),
        (_DEPLOYMENT, "metadata/annotations", {"a": True}, "annotation a"),
        (_DEPLOYMENT, "spec/selector/matchLabels/app", "other", "does not match template"),
        (_DEPLOYMENT, "spec/template/spec/restartPolicy", "Never", "restartPolicy Never"),
        (_DEPLOYMENT, "spec/template/spec/volumes", [], "volumeMounts: models: not found"),
        (_DEPLOYMENT, "spec/template/spec/volumes/0/emptyDir", {}, "exactly one source"),
        (_DEPLOYMENT, f"{_ENGINE}/name", "init", "container init: Duplicate"),
        (_DEPLOYMENT, f"{_ENGINE}/name", "asr_server", "not a DNS label"),
        (_DEPLOYMENT, f"{_ENGINE}/env/1/name", "A", "variable A: Duplicate"),
        (_DEPLOYMENT, f"{_ENGINE}/env/1/name", "2 B", "not a variable's name"),
        (_DEPLOYMENT, f"{_ENGINE}/env/1/valueFrom", {}, "value and valueFrom"),
        (_DEPLOYMENT, f"{_ENGINE}/ports/0/name", "a-name-that-is-too-long", "not a port name"),
        (_DEPLOYMENT, f"{_ENGINE}/startupProbe/tcpSocket/port", "http", "the port http"),
        (_DEPLOYMENT, f"{_ENGINE}/resources/requests/memory", "1025Mi", "less than or equal to the limit"),
        (_DEPLOYMENT, f"{_ENGINE}/volumeMounts/0/subPath", "../packs", "relative path"),
        (_DEPLOYMENT, f"{_ENGINE}/restartPolicy", "Always", "for init containers"),
        (_DEPLOYMENT, f"{_INIT}/restartPolicy", "Never", "must be Always"),
        (_DEPLOYMENT, f"{_INIT}/startupProbe", {}, "startupProbe may not be set"),
        (_JOB, "metadata/name", "a" * 64, "the name"),
        (_JOB, "spec/template/spec/restartPolicy", "OnFailure", "needs the restart policy Never"),
        (_JOB, "spec/template/spec/restartPolicy", "Always", "restartPolicy Always"),
        (_JOB, "spec/podFailurePolicy/rules/0/onExitCodes/containerName", "other", "other is not a container"),
        (_JOB, "spec/podFailurePolicy/rules/0/onExitCodes/values", [20, 2], "must be ordered"),
        (_ROUTE, "spec/rules/0/matches/0/path/value", "nl-nl", "must start with '/'"),
        (_ROUTE, "spec/rules/0/matches/0/path/type", "Exact", "ReplacePrefixMatch needs"),
        (_ROUTE, "spec/rules/0/timeouts/request", "0", "not a duration"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_rule_of_the_server_is_checked(thing: Object, path: str, value: Any, error: str) -> None:
    errors = object_errors(_with(thing, path, value))
    assert any(error in line for line in errors), errors


@pytest.mark.parametrize(
    ("kind", "before", "after", "error"),
    [
        ("Job", {"template": 1}, {"template": 2}, "spec.template: Invalid value: field is immutable"),
        ("Job", {"backoffLimit": 1}, {"backoffLimit": 2}, None),
        ("Deployment", {"selector": 1, "template": 1}, {"selector": 2, "template": 2}, "spec.selector"),
        ("Deployment", {"template": 1}, {"template": 2}, None),
        ("StatefulSet", {"volumeClaimTemplates": 1}, {"volumeClaimTemplates": 2}, "volumeClaimTemplates"),
        ("StatefulSet", {"serviceName": "a"}, {"serviceName": "b"}, "serviceName"),
        ("StatefulSet", {"template": 1, "replicas": 1}, {"template": 2, "replicas": 2}, None),
        ("PersistentVolumeClaim", {"accessModes": 1}, {"accessModes": 2}, "accessModes"),
    ],
)
def test_immutable_field_cannot_change(kind: str, before: Object, after: Object, error: str | None) -> None:
    found = list(forbidden_changes({"kind": kind, "spec": before}, {"kind": kind, "spec": after}))
    assert len(found) == (error is not None)
    assert error is None or error in found[0]


def test_claim_can_grow_but_not_shrink() -> None:
    small, large = (
        {"kind": "PersistentVolumeClaim", "spec": {"resources": {"requests": {"storage": size}}}}
        for size in ("60Gi", "1Ti")
    )
    assert list(forbidden_changes(small, large)) == []
    assert len(list(forbidden_changes(large, small))) == 1


def test_quantities() -> None:
    assert [quantity(text) for text in ("500m", "2", 2, "1Ki", "1k", "1.5Gi")] == [0.5, 2, 2, 1024, 1000, 1.5 * 2**30]


def test_merge_patch_removes_null_and_replaces_lists() -> None:
    """RFC 7396."""
    patch = {"a": None, "b": {"c": 2, "d": {"e": None, "f": 1}}, "l": [3]}
    assert merge_patch({"a": 1, "b": {"x": 1}, "l": [1, 2]}, patch) == {"b": {"x": 1, "c": 2, "d": {"f": 1}}, "l": [3]}


def test_strategic_merge_patch_merges_lists_by_key_and_orders_them() -> None:
    target = {"containers": [{"name": "a", "image": "1", "env": [{"name": "X", "value": "1"}]}, {"name": "b"}]}
    patch = {
        "$setElementOrder/containers": [{"name": "c"}, {"name": "a"}],
        "containers": [
            {"name": "a", "env": [{"name": "Y", "value": "2"}], "image": None},
            {"name": "c", "image": "3"},
            {"name": "b", "$patch": "delete"},
        ],
    }
    assert strategic_merge_patch(target, patch) == {
        "containers": [
            {"name": "c", "image": "3"},
            {"name": "a", "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}]},
        ]
    }


def test_strategic_merge_patch_replaces_the_source_of_a_volume() -> None:
    target = {"volumes": [{"name": "models", "hostPath": {"path": "/a"}}]}
    patch: Object = {
        "volumes": [{"$retainKeys": ["emptyDir", "name"], "name": "models", "emptyDir": {}, "hostPath": None}]
    }
    assert strategic_merge_patch(target, patch) == {"volumes": [{"name": "models", "emptyDir": {}}]}


def test_strategic_merge_patch_replaces_other_lists() -> None:
    target = {"spec": {"tolerations": [{"key": "a"}], "args": ["1", "2"]}}
    patch: Object = {"spec": {"tolerations": [{"key": "b"}], "args": ["3"], "$patch": "replace"}}
    assert strategic_merge_patch(target, patch) == {"spec": {"tolerations": [{"key": "b"}], "args": ["3"]}}
    del patch["spec"]["$patch"]
    assert strategic_merge_patch(target, patch) == {"spec": {"tolerations": [{"key": "b"}], "args": ["3"]}}


def test_secret_of_helm_is_decoded() -> None:
    """The message consists of `k8s`, a zero byte, and runtime.Unknown with the Secret in its field `raw`."""

    def field(number: int, content: bytes) -> bytes:
        return bytes([number << 3 | 2, len(content)]) + content

    def entry(key: bytes, content: bytes) -> bytes:
        return field(1, key) + field(2, content)

    metadata = field(1, b"sh.helm.release.v1.asr.v1") + field(11, entry(b"owner", b"helm")) + bytes([16, 0])
    secret = field(1, metadata) + field(2, entry(b"release", b"data")) + field(3, b"helm.sh/release.v1")
    decoded = decode_secret(b"k8s\0" + field(1, b"") + field(2, secret))
    assert decoded["metadata"]["name"] == "sh.helm.release.v1.asr.v1"
    assert decoded["metadata"]["labels"] == {"owner": "helm"}
    assert (decoded["type"], decoded["data"]) == ("helm.sh/release.v1", {"release": "ZGF0YQ=="})


@pytest.fixture
def api() -> Iterator[KubernetesApi]:
    with server.serve() as api:
        yield api


def _call(api: KubernetesApi, method: str, path: str, thing: object = None, kind: str = "application/json") -> Object:
    body = None if thing is None else json.dumps(thing).encode()
    request = urllib.request.Request(f"{api.url}{path}", body, {"Content-Type": kind}, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=30) as response:
            answer: Object = json.load(response)
    except HTTPError as error:
        answer = json.load(error)
    return answer


_DEPLOYMENTS = "/apis/apps/v1/namespaces/speech/deployments"
_STRATEGIC = "application/strategic-merge-patch+json"
_APPLY = "application/apply-patch+yaml"


def test_object_is_created_patched_listed_and_deleted(api: KubernetesApi) -> None:
    assert _call(api, "POST", _DEPLOYMENTS, _DEPLOYMENT)["metadata"]["uid"]
    assert _call(api, "POST", _DEPLOYMENTS, _DEPLOYMENT)["reason"] == "AlreadyExists"
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "engine", "image": "b:2"}]}}}}
    _call(api, "PATCH", f"{_DEPLOYMENTS}/engine", patch, _STRATEGIC)
    expected = _with(_DEPLOYMENT, f"{_ENGINE}/image", "b:2")
    assert api.objects() == {"Deployment/engine": expected}
    assert len(_call(api, "GET", f"{_DEPLOYMENTS}?labelSelector=app%3Dengine")["items"]) == 1
    assert _call(api, "GET", f"{_DEPLOYMENTS}?labelSelector=app%3Dother")["items"] == []
    assert _call(api, "PATCH", f"{_DEPLOYMENTS}/engine", expected, _APPLY)["kind"] == "Deployment"
    _call(api, "DELETE", f"{_DEPLOYMENTS}/engine")
    assert _call(api, "GET", f"{_DEPLOYMENTS}/engine")["reason"] == "NotFound"
    assert api.changes() == ["changed Deployment/engine", "created Deployment/engine", "deleted Deployment/engine"]


def test_refused_change_does_not_change_the_object(api: KubernetesApi) -> None:
    path = "/apis/batch/v1/namespaces/speech/jobs"
    created = _call(api, "POST", path, _JOB)
    assert created["spec"]["selector"]["matchLabels"]
    _call(api, "PATCH", f"{path}/stage", _with(_JOB, "spec/template/spec/containers/0/image", "a:2"), _APPLY)
    assert "spec.template: Invalid value: field is immutable" in api.refusals[0]
    assert api.objects() == {"Job/stage": _JOB}


def test_custom_resource_has_no_strategic_merge_patch(api: KubernetesApi) -> None:
    path = "/apis/gateway.networking.k8s.io/v1/namespaces/speech/httproutes"
    _call(api, "POST", path, _ROUTE)
    patch = {"spec": {"hostnames": ["asr.example"]}}
    assert _call(api, "PATCH", f"{path}/engine", patch, _STRATEGIC)["reason"] == "UnsupportedMediaType"
    _call(api, "PATCH", f"{path}/engine", patch, "application/merge-patch+json")
    assert api.objects()["HTTPRoute/engine"]["spec"]["hostnames"] == ["asr.example"]
