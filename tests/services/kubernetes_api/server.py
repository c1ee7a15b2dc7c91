"""Serve the part of the Kubernetes API that helm uses: discovery, objects, lists, watches, three kinds of patches.

    with serve() as api:
        run("helm", "install", …, env={"KUBECONFIG": api.write_kubeconfig(directory)})
        assert api.changes() == ["created Deployment/asr-nl-nl", …]

Objects pass the rules of `object_rules` and `immutable`. There are no schemas: the OpenAPI document is empty, so that
helm skips its validation.
"""

from __future__ import annotations

import contextlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import yaml

from tests.services.kubernetes_api import patches, protobuf
from tests.services.kubernetes_api.resources import ApiPath, discovery, parse_path
from tests.services.kubernetes_api.store import Refused, Store, without_server_fields

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Object = dict[str, Any]

_PATCHES = {
    "application/merge-patch+json": patches.merge_patch,
    "application/strategic-merge-patch+json": patches.strategic_merge_patch,
}
_APPLY = "application/apply-patch+yaml"
_CUSTOM = ("gateway.networking.k8s.io/v1",)  # defined by a CRD, for which there is no strategic merge patch


@dataclass(frozen=True)
class KubernetesApi:
    """A running server."""

    url: str
    store: Store
    refusals: list[str]

    def objects(self) -> dict[str, Object]:
        """Return the objects by kind and name, as their author wrote them, without helm's own Secrets."""
        with self.store.lock:
            things = [thing for thing in self.store.objects.values() if not thing.get("type", "").startswith("helm.sh")]
        return {f"{thing['kind']}/{thing['metadata']['name']}": without_server_fields(thing) for thing in things}

    def changes(self) -> list[str]:
        """Return what was created, changed and deleted since the last call, sorted."""
        with self.store.lock:
            changes = sorted(self.store.changes)
            self.store.changes.clear()
        return changes

    def write_kubeconfig(self, directory: Path) -> Path:
        """Write a file for `KUBECONFIG`."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": {"server": self.url}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "users": [{"name": "test", "user": {}}],
            "current-context": "test",
        }
        path = directory / "kubeconfig"
        path.write_text(json.dumps(config))
        path.chmod(0o600)
        return path


@contextlib.contextmanager
def serve() -> Iterator[KubernetesApi]:
    """Run an empty server on a free loopback port."""
    server = _Server()
    thread = threading.Thread(target=server.serve_forever, name="kubernetes-api", daemon=True)
    thread.start()
    try:
        yield KubernetesApi(f"http://127.0.0.1:{server.server_address[1]}", server.store, server.refusals)
    finally:
        server.stopping.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.store = Store()
        self.refusals: list[str] = []
        self.stopping = threading.Event()


@dataclass(frozen=True)
class _Call:
    method: str
    target: ApiPath
    query: dict[str, list[str]] = field(default_factory=dict)
    kind: str = ""
    body: bytes = b""

    def option(self, name: str) -> str:
        return self.query.get(name, [""])[0]

    def object(self) -> Object:
        """Decode the body and complete it with the kind, which clients may leave out."""
        thing = self.decoded()
        return {"kind": self.target.kind, "apiVersion": self.target.group} | thing

    def decoded(self) -> Object:
        if self.body.startswith(protobuf.MAGIC):
            return protobuf.decode_secret(self.body)
        decoded: Object = yaml.safe_load(self.body)
        return decoded


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    _ACTIONS: ClassVar = {"GET": "_read", "POST": "_create", "PUT": "_replace", "PATCH": "_patch", "DELETE": "_delete"}

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name of the base class
        """Write no log."""

    def do_GET(self) -> None:
        """Answer a request."""
        try:
            self._answer()
        except Refused as refused:
            if refused.status != 404:
                self.server.refusals.append(str(refused))
            self._send(refused.status, _status(refused))
        except Exception as error:
            self.server.refusals.append(repr(error))
            self._send(500, _status(Refused(500, "InternalError", repr(error))))
            raise

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815  # names of the base class

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        found = discovery(url.path) if self.command == "GET" else None
        if found:
            self._send(200, found)
            return
        if url.path == "/openapi/v2":
            self._send_bytes(200, "application/octet-stream", b"")
            return
        kind = self.headers.get("Content-Type", "")
        call = _Call(self.command, parse_path(url.path), parse_qs(url.query), kind, body)
        if call.option("watch"):
            self._watch(call)
            return
        with self.server.store.lock:
            answer = getattr(self, self._ACTIONS[self.command])(call)
        self._send(201 if self.command == "POST" else 200, answer)

    def _read(self, call: _Call) -> Object:
        store, target = self.server.store, call.target
        if target.name:
            return store.get(target.key(target.name))
        return {
            "kind": f"{target.kind}List",
            "apiVersion": target.group,
            "metadata": {"resourceVersion": store.next_version()},
            "items": list(self._selected(call)),
        }

    def _selected(self, call: _Call) -> Iterator[Object]:
        wanted = [pair.split("=", 1) for pair in call.option("labelSelector").split(",") if "=" in pair]
        names = [pair.removeprefix("metadata.name=") for pair in call.option("fieldSelector").split(",") if pair]
        for key, thing in self.server.store.objects.items():
            labels = thing["metadata"].get("labels", {})
            matches = all(labels.get(name.rstrip("=!")) == value for name, value in wanted if not name.endswith("!"))
            if call.target.holds(key) and matches and (not names or key.name in names):
                yield thing

    def _create(self, call: _Call) -> Object:
        new = call.object()
        return self.server.store.create(call.target.key(new["metadata"]["name"]), new)

    def _replace(self, call: _Call) -> Object:
        return self.server.store.change(call.target.key(call.target.name), call.object())

    def _patch(self, call: _Call) -> Object:
        store, key = self.server.store, call.target.key(call.target.name)
        if call.kind == _APPLY:
            return store.apply(key, call.object())
        if call.kind not in _PATCHES or ("strategic" in call.kind and key.group in _CUSTOM):
            raise Refused(415, "UnsupportedMediaType", f"{call.kind} is not supported for {key.resource}")
        return store.change(key, _PATCHES[call.kind](store.get(key), call.decoded()))

    def _delete(self, call: _Call) -> Object:
        self.server.store.delete(call.target.key(call.target.name))
        return {"kind": "Status", "apiVersion": "v1", "status": "Success"}

    def _watch(self, call: _Call) -> None:
        """Report the existing objects, then keep the connection open until the client closes it."""
        if call.option("sendInitialEvents"):
            raise Refused(422, "Invalid", "sendInitialEvents is forbidden: the feature WatchList is disabled")
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Connection", "close")
        self.end_headers()
        with contextlib.suppress(OSError):
            for thing in list(self._selected(call)):
                self.wfile.write(json.dumps({"type": "MODIFIED", "object": thing}).encode() + b"\n")
            self.wfile.flush()
            self.server.stopping.wait(float(call.option("timeoutSeconds") or 60))
        self.close_connection = True

    def _send(self, status: int, answer: Object) -> None:
        self._send_bytes(status, "application/json", json.dumps(answer).encode())

    def _send_bytes(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _status(refused: Refused) -> Object:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "reason": refused.reason,
        "message": str(refused),
        "code": refused.status,
    }
