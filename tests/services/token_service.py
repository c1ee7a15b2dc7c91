"""A token service for docker-registry's own token authentication, according to its specification.

with token_service.serve(directory) as service, registry.serve(directory, tokens=service) as served:
    ...  # the users and repositories are those of `cloud_registry`
"""

from __future__ import annotations

import base64
import contextlib
import json
import secrets
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

from tests.services.cloud_registry import PASSWORD, QuietServer, may, scope_parts
from tests.tokens import real

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ISSUER, SERVICE = "test-issuer", "test-registry"


@dataclass
class TokenService:
    """The running service; its tokens are valid for `seconds`. docker-registry accepts them for another minute."""

    key: rsa.RSAPrivateKey = field(repr=False)
    certificate: x509.Certificate
    certificate_file: Path
    seconds: float = 300.0
    port: int = 0
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def registry_configuration(self) -> str:
        """The part of docker-registry's configuration that makes it accept tokens of this service."""
        fields = f'realm: "http://127.0.0.1:{self.port}/token", service: {SERVICE}, issuer: {ISSUER}'
        return f"auth: {{token: {{{fields}, rootcertbundle: {self.certificate_file}}}}}"

    def token(self, user: str, scopes: list[str]) -> str:
        """Return a signed token for the granted part of the scopes."""
        self.counts["tokens"] += 1
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "sub": user,
            "aud": SERVICE,
            "iat": now,
            "nbf": now - 3600,
            "exp": now + int(self.seconds),
            "jti": secrets.token_hex(8),
            "access": [_access(user, *scope_parts(scope)) for scope in scopes],
        }
        chain = base64.b64encode(self.certificate.public_bytes(serialization.Encoding.DER)).decode()
        signed = f"{_encoded({'typ': 'JWT', 'alg': 'RS256', 'x5c': [chain]})}.{_encoded(claims)}"
        signature = _base64(self.key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))
        real(f"sig={signature}")
        return f"{signed}.{signature}"


def _access(user: str, name: str, actions: str) -> dict[str, Any]:
    granted = [action for action in actions.split(",") if may(user, name, action)]
    return {"type": "repository", "name": name, "actions": granted}


def _encoded(document: dict[str, Any]) -> str:
    return _base64(json.dumps(document).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


@contextlib.contextmanager
def serve(directory: Path) -> Iterator[TokenService]:
    """Run the service until the end of the block; its certificate is written into the directory."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, ISSUER)])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    certificate = builder.sign(key, hashes.SHA256())
    path = directory / "token.pem"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    service = TokenService(key, certificate, path)
    server = QuietServer(("127.0.0.1", 0), type("TokenHandler", (_TokenHandler,), {"service": service}))
    service.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()


class _TokenHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    service: TokenService

    def do_GET(self) -> None:
        head = self.headers.get("Authorization", "").removeprefix("Basic ")
        user, _, password = base64.b64decode(head).decode().partition(":")
        if password != PASSWORD:
            self._answer(401, {"errors": [{"code": "UNAUTHORIZED"}]})
            return
        values = parse_qs(urlsplit(self.path).query).get("scope", [])
        scopes = [scope for value in values for scope in value.split(" ")]
        self._answer(200, {"token": self.service.token(user, scopes), "expires_in": int(self.service.seconds)})

    def log_message(self, *_: Any) -> None:
        """Log nothing."""

    def _answer(self, status: int, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
