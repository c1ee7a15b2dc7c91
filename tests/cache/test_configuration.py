"""Tests of start.sh and nginx.conf: refused settings, forwarded requests, logs, a new token."""

from __future__ import annotations

import shutil
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests import services
from tests.cache import site_cache
from tests.eventually import eventually
from tests.site import COMMON, manifest_key
from tests.tokens import leaks, token

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cache.site_cache import SiteCache
    from tests.services.azurite import Azurite

_PATH = "/usr/sbin:/usr/bin:/bin"
_SCRIPT = Path(__file__).parents[2] / "deploy/cache/start.sh"


def get(url: str, method: str = "GET", **headers: str) -> tuple[int, bytes]:
    """Return status and body of a response."""
    request = urllib.request.Request(url, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def refusal(tmp_path: Path, **variables: str) -> str:
    """Return the message with which start.sh ends."""
    environment = {"PATH": _PATH, "CACHE_RUN": str(tmp_path / "run"), **variables}
    done = subprocess.run(["sh", _SCRIPT], env=environment, check=False, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    return done.stderr.strip()


@pytest.fixture(scope="module")
def cache(origin: Azurite) -> Iterator[SiteCache]:
    """A cache with its own token."""
    with site_cache.serve(origin.container_url, origin.sas()) as cache:
        yield cache


@pytest.mark.parametrize(
    "url",
    [
        *("", "https://host.example", "https://host.example/", "host.example/models"),
        *("https://host.example/models?sv=1&sig=x", "https://user:x@host.example/models", "https://host.example/a%20b"),
    ],
)
def test_origin_without_container_is_refused(tmp_path: Path, url: str) -> None:
    message = refusal(tmp_path, CACHE_ORIGIN=url)
    assert message.startswith("models-cache: CACHE_ORIGIN is not a container URL such as https://")
    assert "sig=" not in message, "it may be a token"


def test_certificate_without_key_is_refused(tmp_path: Path) -> None:
    message = refusal(tmp_path, CACHE_ORIGIN="https://host.example/models", CACHE_CERTIFICATE="/tls.crt")
    assert message == "models-cache: CACHE_KEY is not set; set it to the private key of CACHE_CERTIFICATE"


@pytest.mark.parametrize("shell", [("sh",), ("busybox", "sh")], ids=" ".join)
@pytest.mark.parametrize(
    ("url", "address", "name"),
    [
        ("https://[::1]/models", "[::1]:443", "[::1]"),
        ("http://[::1]/models", "[::1]:80", "[::1]"),
        ("https://[::1]:10000/models", "[::1]:10000", "[::1]"),
        ("https://127.0.0.1/models", "127.0.0.1:443", "127.0.0.1"),
        ("http://127.0.0.1:10000/models/", "127.0.0.1:10000", "127.0.0.1"),
    ],
)
def test_nginx_accepts_the_settings_of_an_origin_below_directories_with_spaces(
    tmp_path: Path, shell: tuple[str, ...], url: str, address: str, name: str
) -> None:
    services.require_tool("nginx")
    services.require_tool(shell[0])
    run, slices = tmp_path / "a run", tmp_path / 'the "slices"'
    slices.mkdir()
    # nginx tests the settings instead of serving them.
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "nginx").write_text(f'#!/bin/sh\nexec {shutil.which("nginx", path=_PATH)} -t "$@"\n')
    (tools / "nginx").chmod(0o755)
    environment = {"PATH": f"{tools}:{_PATH}", "CACHE_RUN": str(run), "CACHE_ORIGIN": url}
    environment |= {"CACHE_DIRECTORY": str(slices), "CACHE_POLL": "1"}
    done = subprocess.run([*shell, _SCRIPT], env=environment, check=False, capture_output=True, text=True, timeout=30)
    assert (done.returncode, "syntax is ok" in done.stderr) == (0, True), done.stderr
    origin = (run / "origin.conf").read_text()
    assert f"server {address};" in origin
    assert f"proxy_ssl_name {name};" in origin


@pytest.mark.parametrize(
    "text",
    ["", 'sv=1&sig=1;} server { "', "sv=1&sig=$origin", "a token", "sig=" + "a" * 2000],
    ids=["empty", "configuration", "variable", "without signature", "too long"],
)
def test_text_that_is_not_a_token_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "token"
    file.write_text(f"{text}\n")
    message = refusal(tmp_path, CACHE_ORIGIN="https://host.example/models", CACHE_TOKEN_FILE=str(file))
    assert message == f"models-cache: {file} contains no SAS token; write the token into it as you received it"


def test_health_needs_no_origin(cache: SiteCache) -> None:
    assert get(f"{cache.address}/healthz") == (200, b"ok\n")
    assert cache.errors() == "", "nginx warns of nothing in the configuration"


def test_token_of_a_client_is_neither_forwarded_nor_logged(cache: SiteCache, origin: Azurite) -> None:
    """The cache answers with its own token; the origin would refuse that of the client."""
    status, body = get(f"{cache.url(origin.container_url)}/{manifest_key(COMMON)}?{token()}")
    assert (status, body) == (200, origin.get(manifest_key(COMMON)))
    assert manifest_key(COMMON) in cache.accesses()
    assert leaks(cache.accesses() + cache.errors()) == []
    assert "sig=" not in cache.accesses()


def test_headers_of_a_client_do_not_change_cached_content(cache: SiteCache, origin: Azurite) -> None:
    """Azure prefers x-ms-range to Range."""
    key = "batch/large.bin"
    url = f"{cache.url(origin.container_url)}/{key}"
    spoiled = get(url, Range="bytes=0-9", **{"x-ms-range": "bytes=5-9", "If-None-Match": "*"})
    assert get(url, Range="bytes=0-9") == (206, origin.get(key)[:10])
    assert spoiled[0] in {206, 304}


def test_only_the_container_is_served(cache: SiteCache, origin: Azurite) -> None:
    account = urlsplit(origin.container_url).path.rpartition("/")[0]
    for path in ("/", account, f"{account}/other/x", f"{urlsplit(origin.container_url).path}-2/x"):
        assert get(f"{cache.address}{path}")[0] == 404, path


@pytest.mark.parametrize("method", ["PUT", "DELETE", "POST"])
def test_other_methods_are_refused(cache: SiteCache, origin: Azurite, method: str) -> None:
    seen = len(origin.requests())
    assert get(f"{cache.url(origin.container_url)}/{manifest_key(COMMON)}", method)[0] in {403, 405}
    assert len(origin.requests()) == seen


def test_encoded_line_break_stays_encoded(cache: SiteCache, origin: Azurite) -> None:
    seen = len(origin.requests())
    status, _ = get(f"{cache.url(origin.container_url)}/x%0d%0aDELETE%20/y/manifest.json")
    assert status >= 400
    assert [request.method for request in origin.requests()[seen:]] == ["GET"]


async def test_new_token_is_used_without_a_restart(origin: Azurite) -> None:
    with site_cache.serve(origin.container_url, origin.sas(expires_in=-60)) as cache:
        url = f"{cache.url(origin.container_url)}/{manifest_key(COMMON)}"
        assert get(url)[0] == 403
        cache.write_token(f"{origin.container_url}?{origin.sas()}\n")
        await eventually(lambda: get(url)[0] == 200, "the new token")
        assert "token or certificate has changed" in cache.errors()


async def test_unusable_new_token_changes_nothing(origin: Azurite) -> None:
    with site_cache.serve(origin.container_url, origin.sas()) as cache:
        cache.write_token("none yet\n")
        await eventually(lambda: "contains no SAS token" in cache.errors(), "the message")
        assert get(f"{cache.url(origin.container_url)}/{manifest_key(COMMON)}")[0] == 200
