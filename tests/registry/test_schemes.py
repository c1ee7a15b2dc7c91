"""https or plain http for a registry, private authorities, and proxies."""

from __future__ import annotations

import asyncio
import socket
import socketserver
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from models_init.cli.factory import registry_access
from models_init.cli.settings import load
from models_init.sources.http.client import TransportOptions
from models_init.sources.http.errors import NotTlsError
from models_init.sources.oci.credential_files import RegistryCredentials
from models_init.sources.oci.registry import RegistryAccess
from models_init.sources.oci.source import OciSource
from tests.registry.conftest import PREFIX, push_packs
from tests.services.connect import ConnectProxy
from tests.services.registry import PASSWORD, USER, serve
from tests.site import COMMON, DUTCH

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.services.certificates import Certificates
    from tests.services.registry import Registry
    from tests.site import Packs, Site

_KEY = f"{DUTCH.name}/{DUTCH.version}/manifest.json"
_USER = RegistryCredentials(USER, PASSWORD)


@pytest.fixture(scope="module")
def tls_registry(
    tmp_path_factory: pytest.TempPathFactory, certificates: Certificates, packs: Packs
) -> Iterator[Registry]:
    """Run a registry with TLS and a password, whose certificate a private authority has issued."""
    with serve(tmp_path_factory.mktemp("tls"), password=True, certificates=certificates) as served:
        push_packs(served, packs, COMMON, DUTCH)
        yield served


@pytest.fixture
def tls_site(registry_site: Site, tls_registry: Registry, certificates: Certificates) -> Site:
    """Prepare a site of that registry."""
    return registry_site.but(
        MODELS_URL=f"oci://{tls_registry.host}/{PREFIX}",
        MODELS_REGISTRY_USERNAME=USER,
        MODELS_REGISTRY_PASSWORD=PASSWORD,
        MODELS_CA_FILE=str(certificates.authority),
    )


async def _read(access: RegistryAccess) -> bytes:
    source = OciSource(access)
    try:
        return await source.read(_KEY, 1 << 20)
    finally:
        await source.close()


def test_registry_with_a_private_authority_is_used(tls_site: Site, packs: Packs) -> None:
    checked = tls_site.run("--check")
    assert checked.code == 0
    assert "TLSv1.3" in checked.out
    assert tls_site.run().code == 0
    assert packs.differences(tls_site, COMMON, DUTCH) == []


@pytest.mark.parametrize("allow_http", ["", "yes"])
def test_untrusted_certificate_is_refused_also_if_http_is_allowed(tls_site: Site, allow_http: str) -> None:
    done = tls_site.but(MODELS_CA_FILE="", MODELS_ALLOW_HTTP=allow_http).run()
    assert done.code == 20
    assert "is not trusted: " in done.fault
    assert "set MODELS_CA_FILE to the file with your CA's certificate" in done.fault


async def test_registry_is_reached_through_a_proxy(tls_site: Site, tls_registry: Registry, packs: Packs) -> None:
    async with ConnectProxy(tls_registry.port) as proxy:
        site = tls_site.but(
            MODELS_URL=f"oci://localhost:{tls_registry.port}/{PREFIX}", HTTPS_PROXY=f"http://127.0.0.1:{proxy.port}"
        )
        done = await asyncio.to_thread(site.run)
    assert done.code == 0
    assert packs.differences(tls_site, COMMON, DUTCH) == []
    assert {(seen.method, seen.path) for seen in proxy.seen} == {("CONNECT", f"localhost:{tls_registry.port}")}


async def test_plain_http_is_used_only_if_it_is_allowed(open_registry: Registry) -> None:
    url = f"https://{open_registry.host}"
    assert b"schema" in await _read(RegistryAccess(url, PREFIX, allow_http=True))
    with pytest.raises(NotTlsError, match=r"does not answer as a TLS server; check .* or set MODELS_ALLOW_HTTP=yes if"):
        await _read(RegistryAccess(url, PREFIX))


def test_check_reports_a_connection_without_encryption(registry_site: Site, open_registry: Registry) -> None:
    done = registry_site.run("--check", MODELS_URL=f"oci://{open_registry.host}/{PREFIX}")
    assert done.code == 0
    assert "directly, without encryption" in done.out


@contextmanager
def _wiretap(port: int) -> Iterator[tuple[int, bytearray]]:
    """Forward connections to a port, and yield the port to connect to and everything that clients send."""
    sent = bytearray()

    class WiretapHandler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection(("127.0.0.1", port)) as upstream:
                back = threading.Thread(target=self._copy_back, args=(upstream,), daemon=True)
                back.start()
                while data := self.request.recv(1 << 16):
                    sent.extend(data)
                    upstream.sendall(data)
                upstream.shutdown(socket.SHUT_WR)
                back.join()

        def _copy_back(self, upstream: socket.socket) -> None:
            while data := upstream.recv(1 << 16):
                self.request.sendall(data)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), WiretapHandler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield server.server_address[1], sent
        finally:
            server.shutdown()


async def test_password_is_encrypted_if_the_server_speaks_tls(
    tls_registry: Registry, certificates: Certificates
) -> None:
    """Even if plain http is allowed, no byte of a request is sent unencrypted."""
    with _wiretap(tls_registry.port) as (port, sent):
        transport = TransportOptions(ca_file=str(certificates.authority))
        access = RegistryAccess(f"https://127.0.0.1:{port}", PREFIX, lambda _: _USER, transport, allow_http=True)
        assert b"schema" in await _read(access)
    assert len(sent) > 1000
    assert b"HTTP/1" not in sent
    assert b"Authorization" not in sent


async def test_server_other_than_a_registry_gets_no_credentials() -> None:
    """The server speaks neither TLS nor HTTP, so the error is the one about TLS."""
    received = bytearray()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.extend(await reader.read(1 << 16))
        writer.write(b"220 mail.example ESMTP\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(NotTlsError):
            await _read(RegistryAccess(f"https://127.0.0.1:{port}", PREFIX, lambda _: _USER, allow_http=True))
    assert b"GET /v2/ HTTP/1.1" in received
    assert b"Authorization" not in received


@pytest.mark.parametrize(
    ("url", "setting", "allowed"),
    [
        ("oci://registry.example/models", "", False),
        ("oci://registry.example/models", "yes", True),
        ("oci://127.0.0.1:5000/models", "", True),
        ("oci://localhost/models", "", True),
        ("oci://127.0.0.1.example/models", "", False),
    ],
)
def test_plain_http_is_allowed_on_loopback_and_by_the_setting(url: str, setting: str, allowed: bool) -> None:  # noqa: FBT001 - a column of the table
    access = registry_access(load({"MODELS_URL": url, "MODELS_ALLOW_HTTP": setting}, with_packs=False))
    assert (access.url.startswith("https://"), access.allow_http) == (True, allowed)


def test_tls_registry_answers_a_request_without_tls_with_400(tls_registry: Registry) -> None:
    """A server that answers 400 is not taken for a registry with plain http."""
    status, *_ = tls_registry.call("GET", f"http://{tls_registry.host}/v2/")
    assert status == 400
