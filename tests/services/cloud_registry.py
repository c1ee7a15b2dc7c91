"""Imitate a cloud's container registry in front of a real docker-registry: token service, data host, signed URLs.

It behaves as the documentation of Azure Container Registry says. A request for a blob is redirected to a data host,
which is another origin, with a URL that is valid for `link_seconds`. The data host answers 400 to a request with an
`Authorization`, and 403 to an expired URL. Tokens are valid for `token_seconds`. The user `PULL` may pull below
`models/`, except from the repository `DENIED`.

with serve(registry, token_seconds=8, link_seconds=3) as cloud:
    url = f"oci://{cloud.host}/models"
"""

from __future__ import annotations

import base64
import contextlib
import hmac
import http.client
import json
import math
import re
import secrets
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from tests.tokens import real

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.services.registry import Registry

PUSH, PULL, PASSWORD = "push-user", "pull-user", "pass-word-of-the-user"
DENIED = "models/fy-nl"
_PIECE = 1 << 20


@dataclass
class Cloud:
    """The running imitation. `counts` counts token requests, blob requests, ranges and faults of the client."""

    registry: Registry
    token_seconds: float
    link_seconds: float
    counts: Counter[str] = field(default_factory=Counter)
    key: bytes = field(default_factory=lambda: secrets.token_bytes(16))
    port: int = 0
    data_port: int = 0
    identity: str = field(default_factory=lambda: f"identity-{secrets.token_hex(16)}", repr=False)
    anonymous: bool = False
    token_uses: int = 0
    link_uses: int = 0
    uses: Counter[str] = field(default_factory=Counter)
    paused_at: float = math.inf
    resumed: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def paused(self, at: int) -> Iterator[None]:
        """Let the data host stop sending after `at` bytes, until the end of the block."""
        self.paused_at = at
        self.resumed.clear()
        try:
            yield
        finally:
            self.paused_at = math.inf
            self.resumed.set()

    @property
    def host(self) -> str:
        """Host and port of the registry."""
        return f"127.0.0.1:{self.port}"

    def sign(self, text: str) -> str:
        """Return a signature; the canary of the test suite looks for it in all output."""
        signature = hmac.new(self.key, text.encode(), "sha256").hexdigest()
        real(f"sig={signature}")
        return signature

    def token(self, user: str, scopes: list[str]) -> str:
        """Return a token for the granted part of the scopes."""
        access = [
            [name, [act for act in acts.split(",") if may(user, name, act)]] for name, acts in map(scope_parts, scopes)
        ]
        claims = {"exp": time.time() + self.token_seconds, "access": access}
        body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
        self.counts["tokens"] += 1
        return f"{body}.{self.sign(body)}"

    def granted(self, token: str, repository: str, action: str) -> bool | None:
        """Return None if the token is invalid or expired."""
        body, _, signature = token.partition(".")
        if not body or not hmac.compare_digest(signature, hmac.new(self.key, body.encode(), "sha256").hexdigest()):
            return None
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        self.uses[token] += 1
        if claims["exp"] < time.time() or 0 < self.token_uses < self.uses[token]:
            return None
        return any(name == repository and set(action.split(",")) <= set(acts) for name, acts in claims["access"])


def scope_parts(scope: str) -> tuple[str, str]:
    """Return the repository and the actions of a scope."""
    name, _, actions = scope.partition(":")[2].rpartition(":")
    return name, actions


def may(user: str, repository: str, action: str) -> bool:
    """Return True if a user may do this in a repository."""
    if user == PUSH:
        return True
    return repository.startswith("models/") and repository != DENIED and action in ("pull", "metadata_read")


@contextlib.contextmanager
def serve(
    registry: Registry,
    *,
    token_seconds: float = 300.0,
    link_seconds: float = 300.0,
    anonymous: bool = False,
    token_uses: int = 0,
    link_uses: int = 0,
) -> Iterator[Cloud]:
    """Run the registry and its data host until the end of the block.

    With `token_uses`, a token expires after that many requests; with `link_uses`, a signed URL does.
    """
    cloud = Cloud(
        registry, token_seconds, link_seconds, anonymous=anonymous, token_uses=token_uses, link_uses=link_uses
    )
    servers = []
    for handler in (_Front, _DataHost):
        server = QuietServer(("127.0.0.1", 0), type(handler.__name__, (handler,), {"cloud": cloud}))
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        servers.append(server)
    cloud.port, cloud.data_port = (server.server_address[1] for server in servers)
    try:
        yield cloud
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


class QuietServer(ThreadingHTTPServer):
    """A server that prints nothing about disconnected clients."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print no traceback for a client that was killed."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    cloud: Cloud

    def log_message(self, *_: Any) -> None:
        """Log nothing."""

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        """Send a whole response."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def body(self) -> bytes:
        """Read the body of the request."""
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))


class _Front(_Handler):
    def do_GET(self) -> None:
        data = self.body()
        if urlsplit(self.path).path == "/oauth2/token":
            self._answer_token(data)
        elif self._is_authorized():
            blob = re.match(r"/v2/.+/blobs/sha256:([0-9a-f]{64})\Z", self.path)
            if blob and self.command == "GET":
                self.cloud.counts["blobs"] += 1
                self._redirect(blob[1])
            else:
                self._forward(data)

    do_HEAD = do_POST = do_PUT = do_PATCH = do_GET  # noqa: N815 - the names that the base class calls

    def _answer_token(self, data: bytes) -> None:
        query = parse_qs(urlsplit(self.path).query)
        user = ""
        if self.command == "POST":
            form = parse_qs(data.decode())
            query = form
            user = PULL if form.get("refresh_token") == [self.cloud.identity] else ""
        elif (head := self.headers.get("Authorization", "")).startswith("Basic "):
            name, _, word = base64.b64decode(head[6:]).decode().partition(":")
            user = name if name in (PUSH, PULL) and word == PASSWORD else ""
        elif self.cloud.anonymous:
            user = PULL
        if not user:
            self._error(401, "UNAUTHORIZED")
            return
        scopes = [scope for value in query.get("scope", []) for scope in value.split(" ")]
        self.answer(200, json.dumps({"access_token": self.cloud.token(user, scopes)}).encode())

    def _is_authorized(self) -> bool:
        found = re.match(r"/v2/(.+?)/(manifests|blobs|tags)/", self.path)
        repository = found[1] if found else ""
        action = "pull" if self.command in ("GET", "HEAD") else "pull,push"
        if found and found[2] == "tags":
            action = "metadata_read"
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        granted = self.cloud.granted(token, repository, action)
        if granted or (granted is False and not repository):
            return True
        scope = f',scope="repository:{repository}:{action}"' if repository else ""
        error = ',error="insufficient_scope"' if granted is False else ""
        challenge = f'Bearer realm="http://{self.cloud.host}/oauth2/token",service="{self.cloud.host}"{scope}{error}'
        self._error(401, "DENIED" if granted is False else "UNAUTHORIZED", WWW_Authenticate=challenge)
        return False

    def _error(self, status: int, code: str, **headers: str) -> None:
        self.answer(status, json.dumps({"errors": [{"code": code, "message": "no"}]}).encode(), **headers)

    def _redirect(self, name: str) -> None:
        path, until = f"/c/{name}", f"{int((time.time() + self.cloud.link_seconds) * 1000)}-{secrets.token_hex(4)}"
        signed = self.cloud.sign(f"{path}{until}")
        expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + self.cloud.link_seconds))
        self.answer(307, Location=f"http://localhost:{self.cloud.data_port}{path}?se={expires}&t={until}&sig={signed}")

    def _forward(self, data: bytes) -> None:
        upstream = http.client.HTTPConnection(self.cloud.registry.host, timeout=60)
        drop = ("authorization", "host", "content-length", "connection")
        headers = {name: value for name, value in self.headers.items() if name.lower() not in drop}
        try:
            upstream.request(self.command, self.path, data or None, headers)
            response = upstream.getresponse()
            content = response.read()
            kept = {
                name.replace("-", "_"): value.replace(self.cloud.registry.host, self.cloud.host)
                for name, value in response.getheaders()
                if name.lower() not in ("content-length", "transfer-encoding", "connection", "date")
            }
            self.answer(response.status, content, **kept)
        finally:
            upstream.close()


class _DataHost(_Handler):
    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if "Authorization" in self.headers:
            self.cloud.counts["authorization at the data host"] += 1
            self.answer(400, b"<Error><Code>InvalidAuthenticationInfo</Code></Error>")
            return
        until = query.get("t", "0")
        right = hmac.new(self.cloud.key, f"{parts.path}{until}".encode(), "sha256").hexdigest()
        self.cloud.uses[right] += 1
        is_used_up = 0 < self.cloud.link_uses < self.cloud.uses[right]
        if query.get("sig") != right or int(until.partition("-")[0]) / 1000 < time.time() or is_used_up:
            self.cloud.counts["dead links"] += 1
            self.answer(403, b"<Error><Code>AuthenticationFailed</Code></Error>")
            return
        self._send_blob(parts.path.removeprefix("/c/"))

    def _send_blob(self, name: str) -> None:
        path = self.cloud.registry.blob_path(name)
        size = path.stat().st_size
        wanted = re.match(r"bytes=(\d+)-(\d+)\Z", self.headers.get("Range", ""))
        start, stop = (int(wanted[1]), min(int(wanted[2]) + 1, size)) if wanted else (0, size)
        if start >= size and wanted:
            self.answer(416, Content_Range=f"bytes */{size}")
            return
        self.cloud.counts["ranges"] += 1
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
        self.send_header("Content-Length", str(stop - start))
        self.end_headers()
        with path.open("rb") as file, contextlib.suppress(OSError):
            file.seek(start)
            while start < stop and (piece := file.read(min(_PIECE, stop - start))):
                if self.cloud.counts["bytes"] >= self.cloud.paused_at:
                    self.cloud.resumed.wait()
                self.wfile.write(piece)
                self.cloud.counts["bytes"] += len(piece)
                start += len(piece)
