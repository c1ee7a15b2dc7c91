"""Requests through real proxies to real servers: squid with and without TLS and passwords; nginx and Azurite."""

from __future__ import annotations

import asyncio
import os
import ssl
from typing import TYPE_CHECKING

import pytest

from models_init.core.errors import SourceError, UnavailableError
from models_init.publish.upload.container import UploadTarget, opened
from models_init.sources.wrappers.retry import Retrier, RetryPolicy
from tests import services
from tests.bench.servers import nginx
from tests.eventually import eventually
from tests.network.fetching import fetch_via
from tests.services import squid
from tests.site import COMMON, DUTCH, Site, in_container, stocked

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.bench.servers import Nginx
    from tests.services.azurite import Azurite
    from tests.services.certificates import Certificates
    from tests.services.squid import Squid
    from tests.site import Packs

_DATA = b"0123456789" * 1000
_WRONG = "us%40er:kanarie"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the proxy variables of the machine's environment."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def proxy(certificates: Certificates) -> Iterator[Squid]:
    """A squid with a certificate of the authority of all tests."""
    with squid.serve(certificates) as running:
        yield running


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the servers, with the files they serve."""
    services.require_tool("nginx")
    directory = tmp_path_factory.mktemp("servers")
    (directory / "site/models").mkdir(parents=True)
    (directory / "site/models/object").write_bytes(_DATA)
    return directory


@pytest.fixture(scope="module")
def server(directory: Path) -> Iterator[Nginx]:
    """An nginx with TLS and its own authority."""
    with nginx(directory / "site", directory / "tls", tls=True) as running:
        yield running


@pytest.fixture(scope="module")
def old_server(directory: Path) -> Iterator[Nginx]:
    """Another nginx, whose authority has no key identifiers."""
    with nginx(directory / "site", directory / "old", tls=True, key_identifiers=False) as running:
        yield running


@pytest.fixture(scope="module")
def plain_server(directory: Path) -> Iterator[Nginx]:
    """Another nginx, without TLS."""
    with nginx(directory / "site", directory / "plain") as running:
        yield running


@pytest.fixture(scope="module")
def ca_file(directory: Path, server: Nginx, old_server: Nginx, certificates: Certificates) -> Path:
    """One file with the authorities of the proxy and of both servers."""
    file, issued = directory / "all.pem", (certificates.authority, server.authority, old_server.authority)
    file.write_bytes(b"".join(path.read_bytes() for path in issued if path))
    return file


def there(server: Nginx, host: str = "127.0.0.1") -> str:
    return f"{server.origin}/models/object".replace("127.0.0.1", host)


# -- through a proxy


@pytest.mark.parametrize("userinfo", ["", f"{squid.USERINFO}@"], ids=["without a password", "with a password"])
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_proxy_tunnel_is_reused(
    scheme: str, userinfo: str, *, proxy: Squid, server: Nginx, ca_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy may use TLS itself (TLS in TLS) and require a password, percent-encoded in its URL."""
    ports = {"http": (proxy.plain, proxy.members), "https": (proxy.tls, proxy.tls_members)}
    port = ports[scheme][bool(userinfo)]
    monkeypatch.setenv("HTTPS_PROXY", f"{scheme}://{userinfo}127.0.0.1:{port}")
    before = len(proxy.tunnels())
    found = await fetch_via(there(server), ca_file=ca_file, times=3)
    assert (found.status, found.data) == (200, _DATA)
    assert found.way.startswith(f"through the proxy 127.0.0.1:{port}, TLSv1.3, certificate by test authority, ")
    await eventually(lambda: len(proxy.tunnels()) > before)
    user = squid.USER if userinfo else "-"
    assert proxy.tunnels()[before:] == [f"127.0.0.1:{server.port} {user}"]


@pytest.mark.parametrize("variable", ["ALL_PROXY", "all_proxy"])
async def test_all_proxy_is_used(
    variable: str, proxy: Squid, server: Nginx, ca_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ALL_PROXY applies if the scheme has no separate variable, as in curl."""
    monkeypatch.setenv(variable, f"127.0.0.1:{proxy.plain}")
    assert (await fetch_via(there(server), ca_file=ca_file)).way.startswith("through the proxy")


async def test_http_request_uses_proxy_with_password(
    proxy: Squid, plain_server: Nginx, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without TLS, the request to the proxy contains the whole URL."""
    monkeypatch.setenv("http_proxy", f"http://{squid.USERINFO}@127.0.0.1:{proxy.members}")
    found = await fetch_via(there(plain_server), times=2)
    assert found == (200, _DATA, f"through the proxy 127.0.0.1:{proxy.members}, without encryption")


# -- proxy errors


@pytest.mark.parametrize("userinfo", ["", f"{_WRONG}@"], ids=["no password", "a wrong password"])
@pytest.mark.parametrize("kind", ["http", "https", "without TLS"])
async def test_wrong_proxy_password_is_reported(
    kind: str,
    userinfo: str,
    *,
    proxy: Squid,
    server: Nginx,
    plain_server: Nginx,
    ca_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The error is permanent, because the operator has to act. The password is not in the message."""
    variable = "HTTP_PROXY" if kind == "without TLS" else "HTTPS_PROXY"
    address = f"https://{userinfo}127.0.0.1:{proxy.tls_members}"
    if kind != "https":
        address = f"http://{userinfo}127.0.0.1:{proxy.members}"
    monkeypatch.setenv(variable, address)
    with pytest.raises(SourceError, match=f"the proxy refuses to connect to .* 407; check {variable}") as error:
        await fetch_via(there(plain_server if kind == "without TLS" else server), ca_file=ca_file)
    assert (type(error.value), "kanarie" in str(error.value)) == (SourceError, False)


async def test_server_forbidden_by_proxy_is_reported(
    proxy: Squid, server: Nginx, ca_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 403 to CONNECT comes from the proxy and is permanent."""
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.refusing}")
    with pytest.raises(SourceError, match=r"the proxy refuses to connect to .* 403; check HTTPS_PROXY") as error:
        await fetch_via(there(server), ca_file=ca_file)
    assert type(error.value) is SourceError


@pytest.mark.parametrize("host", ["127.0.0.1", "nowhere.invalid"])
async def test_proxy_without_connection_to_server_is_transient(
    host: str, proxy: Squid, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer of squid for an unused port or an unknown name is 503 or 500, which is retried."""
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.plain}")
    with pytest.raises(
        UnavailableError, match=rf"the proxy cannot connect to {host}:[0-9]+ at present: it answered 50[03]"
    ):
        await fetch_via(f"https://{host}:{services.free_port()}/object")


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_unreachable_squid_is_reported(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the proxy, not the server; the error is transient."""
    monkeypatch.setenv("HTTPS_PROXY", f"{scheme}://user:kanarie@127.0.0.1:{services.free_port()}")
    with pytest.raises(UnavailableError, match=r"the proxy cannot be reached; check HTTPS_PROXY") as error:
        await fetch_via("https://models.invalid/object")
    assert "kanarie" not in str(error.value)


async def test_untrusted_certificate_of_proxy_is_reported(
    proxy: Squid, server: Nginx, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A CA file with only the server's authority does not make the proxy trusted."""
    monkeypatch.setenv("HTTPS_PROXY", f"https://127.0.0.1:{proxy.tls}")
    with pytest.raises(SourceError, match=r"certificate of .* is not trusted.*MODELS_CA_FILE") as error:
        await fetch_via(there(server), ca_file=server.authority)
    assert type(error.value) is SourceError


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_wrong_scheme_of_proxy_is_error(
    scheme: str, proxy: Squid, server: Nginx, ca_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With http:// for a proxy that requires TLS, or https:// for one without, no certificate is blamed."""
    port = proxy.plain if scheme == "https" else proxy.tls
    monkeypatch.setenv("HTTPS_PROXY", f"{scheme}://127.0.0.1:{port}")
    with pytest.raises(SourceError) as error:
        await fetch_via(there(server), ca_file=ca_file)
    assert "certificate" not in str(error.value)


# -- certificates


@pytest.mark.parametrize("way", ["directly", "through the proxy"])
async def test_authority_without_key_identifier_is_accepted(
    way: str, proxy: Squid, old_server: Nginx, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many corporate authorities have none; the file may contain only such an authority."""
    if way != "directly":
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.plain}")
    found = await fetch_via(there(old_server), ca_file=old_server.authority)
    assert (found.data, found.way.startswith(way)) == (_DATA, True)


async def test_ca_file_in_der_format_is_used(server: Nginx, tmp_path: Path) -> None:
    """The connection summary names the file that made the certificate trusted."""
    assert server.authority
    file = tmp_path / "ca.der"
    file.write_bytes(ssl.PEM_cert_to_DER_cert(server.authority.read_text()))
    found = await fetch_via(there(server), ca_file=file)
    assert found == (200, _DATA, f"directly, TLSv1.3, certificate by test authority, trusted by {file}")


@pytest.mark.parametrize("trusted", ["nothing of ours", "another authority"])
async def test_untrusted_certificate_is_reported(trusted: str, server: Nginx, certificates: Certificates) -> None:
    """The message names the remedy; the error is permanent."""
    with pytest.raises(SourceError, match=r"certificate of .* is not trusted.*MODELS_CA_FILE") as error:
        await fetch_via(there(server), ca_file=certificates.authority if trusted == "another authority" else "")
    assert type(error.value) is SourceError


# -- NO_PROXY


@pytest.mark.parametrize(
    ("host", "exempt"),
    [
        *(("127.0.0.1", exempt) for exempt in ("127.0.0.1", "127.0.0.1:{port}", "127.0.0.0/8", "*", "x, 127.0.0.1")),
        *(("localhost", exempt) for exempt in ("localhost", "LocalHost.", ".localhost", "*.localhost:{port}", "x,*")),
    ],
)
async def test_server_in_no_proxy_is_reached_directly(
    host: str, exempt: str, server: Nginx, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exempt server is reached although the proxy is down."""
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{services.free_port()}")
    monkeypatch.setenv("NO_PROXY", exempt.format(port=server.port))
    found = await fetch_via(there(server, host), ca_file=server.authority)
    assert (found.data, found.way.startswith("directly, ")) == (_DATA, True)


@pytest.mark.parametrize(
    ("host", "exempt"),
    [
        *(("127.0.0.1", exempt) for exempt in ("127.0.0.1:1", "localhost", "10.0.0.0/8", "127.0.*", "0.0.1")),
        *(("localhost", exempt) for exempt in ("127.0.0.1", "127.0.0.0/8", "host", "https://localhost")),
    ],
)
async def test_server_not_in_no_proxy_uses_proxy(
    host: str, exempt: str, proxy: Squid, server: Nginx, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy's refusal shows that the proxy was used."""
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.refusing}")
    monkeypatch.setenv("NO_PROXY", exempt)
    with pytest.raises(SourceError, match="the proxy refuses"):
        await fetch_via(there(server, host), ca_file=server.authority)


# -- the programs


@pytest.fixture(scope="module")
def container(azurite_tls: Azurite, packs: Packs) -> Azurite:
    """Packs in a container with https."""
    return stocked(azurite_tls, packs)


async def test_install_uses_proxy(
    tmp_path: Path, packs: Packs, container: Azurite, proxy: Squid, certificates: Certificates
) -> None:
    """An install works with TLS in TLS, a password and a DER CA file; one warning lists unusable NO_PROXY entries."""
    file = tmp_path / "ca.der"
    file.write_bytes(ssl.PEM_cert_to_DER_cert(certificates.authority.read_text()))
    site = Site(tmp_path / "models", in_container(packs, container.container_url, container.sas())).but(
        HTTPS_PROXY=f"https://{squid.USERINFO}@127.0.0.1:{proxy.tls_members}",
        NO_PROXY="10.0.*, example.com, http://127.0.0.1",
        MODELS_CA_FILE=str(file),
    )
    before = len(proxy.tunnels())
    done = await asyncio.to_thread(site.run, "--json")
    assert (done.code, done.json["activated"], packs.differences(site, COMMON, DUTCH)) == (0, True, []), done.err
    assert done.steps.count("no_proxy_ignored") == 1
    assert "entries=10.0.*,http://127.0.0.1" in done.err
    await eventually(lambda: len(proxy.tunnels()) > before)


@pytest.mark.parametrize("exempt", ["", "10.0.*", "127.0.0.0/8"])
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_upload_uses_same_proxy(
    scheme: str,
    exempt: str,
    *,
    azurite_tls: Azurite,
    proxy: Squid,
    certificates: Certificates,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An upload follows the same rules as an install, including NO_PROXY."""
    fresh = azurite_tls.fresh_container()
    port = {"http": proxy.members, "https": proxy.tls_members}[scheme]
    monkeypatch.setenv("HTTPS_PROXY", f"{scheme}://{squid.USERINFO}@127.0.0.1:{port}")
    monkeypatch.setenv("NO_PROXY", exempt)
    before = len(proxy.tunnels())
    target = UploadTarget(
        fresh.container_url, fresh.sas("rw"), Retrier(RetryPolicy(attempts=1)), str(certificates.authority)
    )
    async with opened(target) as container:
        await container.put("a/b", _DATA, "text/plain")
    assert fresh.get("a/b") == _DATA
    if exempt == "127.0.0.0/8":
        assert len(proxy.tunnels()) == before
    else:
        await eventually(lambda: len(proxy.tunnels()) > before)
