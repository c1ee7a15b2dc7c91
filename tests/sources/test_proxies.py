"""Selection of the proxy for a server from the environment, and exemptions by NO_PROXY."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import TYPE_CHECKING

import pytest

from models_init.core.errors import UsageError
from models_init.sources.http.origin import Origin
from models_init.sources.http.proxies import is_exempt, proxy_for, unusable_no_proxy_entries
from tests import services

if TYPE_CHECKING:
    from collections.abc import Iterator

_PROXY = "http://proxy.example:3128"

EXEMPT = [  # NO_PROXY, and a server that is reached directly
    ("example.com", "http://example.com"),
    ("example.com", "http://www.example.com"),
    ("example.com", "http://a.b.example.com:8080"),
    (".example.com", "http://example.com"),
    (".example.com", "http://www.example.com"),
    ("EXAMPLE.com", "http://www.example.COM"),
    ("example.com.", "http://example.com"),
    ("example.com", "http://example.com."),
    ("other.example, example.com", "http://example.com"),
    (" other.example ,\texample.com ", "http://example.com"),
    ("other.example example.com", "http://example.com"),
    (",,example.com,", "http://example.com"),
    ("my_host-1", "http://my_host-1"),
    ("localhost", "http://localhost:8080"),
    ("*", "http://example.com"),
    ("*", "http://[::1]:8080"),
    ("10.1.2.3", "http://10.1.2.3"),
    ("10.0.0.0/8", "http://10.1.2.3"),
    ("10.9.9.9/8", "http://10.1.2.3"),
    ("::1", "http://[::1]:8080"),
]

EXEMPT_HERE = [  # the same, in forms for which curl 7.88 uses the proxy
    ("0.0.0.0/0", "http://10.1.2.3"),
    ("[::1]", "http://[::1]:8080"),
    ("fd00::/8", "http://[fd00::1]"),
    ("FD00::/8", "http://[fd00::1]"),
    ("*.example.com", "http://www.example.com"),
    ("*.example.com", "http://example.com"),
    ("other.example, *", "http://example.com"),
    ("example.com:8080", "http://www.example.com:8080"),
    ("example.com:80", "http://example.com"),
    ("example.com:443", "https://example.com"),
    (".example.com:8080", "http://www.example.com:8080"),
    ("*.example.com:8080", "http://www.example.com:8080"),
    ("10.1.2.3:8080", "http://10.1.2.3:8080"),
    ("[::1]:8080", "http://[::1]:8080"),
    ("0:0::1", "http://[::1]:8080"),
    ("10.0.0.0/255.0.0.0", "http://10.1.2.3"),
    ("10.1.2.3.", "http://10.1.2.3"),
    ("[fd00::/8]", "http://[fd00::1]"),
]

PROXIED = [  # NO_PROXY, and a server that is reached through the proxy
    ("", "http://example.com"),
    ("example.com", "http://badexample.com"),
    ("www.example.com", "http://example.com"),
    (".example.com", "http://badexample.com"),
    ("*.example.com", "http://badexample.com"),
    ("example", "http://example.com"),
    ("10.1.2.3", "http://10.1.2.30"),
    ("10.0.0.0/8", "http://11.1.2.3"),
    ("10.0.0.0/8", "http://[fd00::1]"),
    ("::1", "http://[::2]"),
    ("fd00::/8", "http://10.1.2.3"),
    ("127.0.0.1", "http://localhost"),
    ("127.0.0.0/8", "http://localhost"),
    ("localhost", "http://127.0.0.1"),
    ("example.com:8080", "http://example.com"),
    ("[::1]:8080", "http://[::1]"),
    ("10.0.*", "http://10.0.0.1"),
    ("*example.com", "http://www.example.com"),
    ("http://example.com", "http://example.com"),
    ("example.com/path", "http://example.com"),
    ("10.0.0.0/33", "http://10.0.0.1"),
    ("2.3", "http://10.1.2.3"),
]


def origin(url: str) -> Origin:
    return Origin.of(url)


@pytest.mark.parametrize(("no_proxy", "url"), EXEMPT + EXEMPT_HERE)
def test_no_proxy_entry_exempts_server(no_proxy: str, url: str) -> None:
    """All common forms work; names match themselves and their subdomains."""
    environment = {"HTTP_PROXY": _PROXY, "HTTPS_PROXY": _PROXY, "NO_PROXY": no_proxy}
    assert proxy_for(origin(url), environment) == ""
    assert unusable_no_proxy_entries(environment) == ()


@pytest.mark.parametrize(("no_proxy", "url"), PROXIED)
def test_no_proxy_entry_does_not_exempt_other_server(no_proxy: str, url: str) -> None:
    """A part of a name, the address of a name and another port do not match."""
    assert proxy_for(origin(url), {"HTTP_PROXY": _PROXY, "NO_PROXY": no_proxy}) == _PROXY


@pytest.mark.parametrize(
    "entry",
    [
        *(
            "http://example.com",
            "https://10.0.0.1",
            "example.com/path",
            "10.0.*",
            "10.*",
            "*example.com",
            "a.*.com",
            "**",
        ),
        *("*.", ".", "10.0.0.0/33", "10.0.0.0/8/8", "10.0.0/8", "10.0.0.0/8:443", "fd00::/129", "fd00:::1", "[::1"),
        *("::1]:80", "[example.com]", "[fd00::]/8", "example.com:", "example.com:http", "example.com:0"),
        *(
            "example.com:65536",
            "a:1:2",
            "10.0",
            "10.",
            "1.2.3",
            "1.2.3.4.5",
            "256.1.1.1",
            "a;b",
            "a|b",
            "<local>",
            "a..b",
        ),
        *("büro.example", "a?b"),
    ],
)
def test_unusable_no_proxy_entry_is_reported(entry: str) -> None:
    """Exactly the unusable entry is reported, as it is written, whatever other entries there are."""
    environment = {"no_proxy": f"example.com, {entry}, 10.0.0.0/8"}
    assert unusable_no_proxy_entries(environment) == (entry,)
    assert not is_exempt(origin("https://models.example"), environment)
    assert is_exempt(origin("https://example.com"), environment)


def test_password_in_no_proxy_entry_is_masked() -> None:
    """NO_PROXY may contain the URL of the proxy by mistake."""
    entries = unusable_no_proxy_entries({"NO_PROXY": "http://user:secret@proxy:3128,user:secret@host"})
    assert entries == ("***@proxy:3128", "***@host")


@pytest.mark.parametrize(
    ("environment", "url", "proxy"),
    [
        ({}, "https://x", ""),
        ({"HTTPS_PROXY": "http://a:1"}, "https://x", "http://a:1"),
        ({"HTTPS_PROXY": "http://a:1"}, "http://x", ""),
        ({"HTTP_PROXY": "http://a:1"}, "http://x", "http://a:1"),
        ({"HTTPS_PROXY": "http://a:1", "https_proxy": "http://b:1"}, "https://x", "http://b:1"),
        ({"HTTPS_PROXY": "http://a:1", "https_proxy": ""}, "https://x", ""),
        ({"https_proxy": "https://a:1"}, "https://x", "https://a:1"),
        ({"https_proxy": "a:3128"}, "https://x", "http://a:3128"),
        ({"https_proxy": "user:p%40ss@a:3128"}, "https://x", "http://user:p%40ss@a:3128"),
        ({"https_proxy": " http://a:1/ "}, "https://x", "http://a:1/"),
        ({"https_proxy": "[::1]:3128"}, "https://x", "http://[::1]:3128"),
        ({"ALL_PROXY": "http://a:1"}, "https://x", "http://a:1"),
        ({"ALL_PROXY": "http://a:1"}, "http://x", "http://a:1"),
        ({"ALL_PROXY": "http://a:1", "all_proxy": "http://b:1"}, "http://x", "http://b:1"),
        ({"all_proxy": "http://a:1", "HTTPS_PROXY": "http://b:1"}, "https://x", "http://b:1"),
        ({"all_proxy": "socks5://a:1", "HTTPS_PROXY": "http://b:1"}, "https://x", "http://b:1"),
        ({"all_proxy": "http://a:1", "HTTPS_PROXY": ""}, "https://x", ""),
        ({"all_proxy": "http://a:1", "no_proxy": "x"}, "https://x", ""),
        ({"https_proxy": "http://a:1", "NO_PROXY": "x", "no_proxy": ""}, "https://x", "http://a:1"),
        ({"https_proxy": "socks5://a:1", "NO_PROXY": "x"}, "https://x", ""),
        ({"HTTP_PROXY": "http://a:1", "REQUEST_METHOD": "GET"}, "http://x", ""),
        ({"http_proxy": "http://a:1", "REQUEST_METHOD": "GET"}, "http://x", "http://a:1"),
        ({"HTTP_PROXY": "http://a:1", "all_proxy": "http://b:1", "REQUEST_METHOD": "GET"}, "http://x", "http://b:1"),
        ({"HTTPS_PROXY": "http://a:1", "REQUEST_METHOD": "GET"}, "https://x", "http://a:1"),
    ],
)
def test_proxy_is_chosen_by_scheme_and_variables(environment: dict[str, str], url: str, proxy: str) -> None:
    """Lower case takes precedence, ALL_PROXY is the fallback, and a CGI client cannot set a proxy."""
    assert proxy_for(origin(url), environment) == proxy


@pytest.mark.parametrize("variable", ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])
@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("socks5://secret@h:1080", "names a SOCKS proxy, which is not supported; use an HTTP proxy, such as http://"),
        ("SOCKS5h://secret@h:1080", "names a SOCKS proxy, which is not supported"),
        ("ftp://secret@h", "is not the address of a proxy; use one such as http://proxy.example:3128"),
        ("http://secret@:3128", "is not the address of a proxy"),
        ("http://secret@h:p", "is not the address of a proxy"),
        ("http://secret@[::1", "is not the address of a proxy"),
        ("secret@h:0", "is not the address of a proxy"),
        ("http://secret@h h", "is not the address of a proxy"),
    ],
)
def test_value_that_is_not_an_http_proxy_is_rejected(variable: str, value: str, words: str) -> None:
    """The variable is named as it was set, and its value is not shown."""
    with pytest.raises(UsageError, match=f"^{variable} {words}") as error:
        proxy_for(origin("https://models.example"), {variable: value})
    assert "secret" not in str(error.value)


# -- comparison with curl


@dataclass
class Servers:
    """A proxy that refuses to connect, and a server in place of all others; they record which one curl contacts."""

    proxy: HTTPServer
    direct: HTTPServer
    asked: list[int]

    def curl(self, url: str, environment: dict[str, str]) -> str:
        """Request a URL with curl; return which server received the request."""
        self.asked.clear()
        there = f"::127.0.0.1:{self.direct.server_port}"
        command = [services.require_tool("curl"), "-sS", "--max-time", "5", "--connect-to", there, url]
        subprocess.run(command, env=environment, capture_output=True, check=False)
        return {self.proxy.server_port: "proxy", self.direct.server_port: "direct"}[self.asked[0]]


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    asked: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.connection.getsockname()[1])
            self.send_response(204)
            self.end_headers()

        def do_CONNECT(self) -> None:
            asked.append(self.connection.getsockname()[1])
            self.send_error(403)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as proxy, HTTPServer(("127.0.0.1", 0), Handler) as direct:
        for server in (proxy, direct):
            Thread(target=server.serve_forever, args=(0.01,)).start()
        yield Servers(proxy, direct, asked)
        for server in (proxy, direct):
            server.shutdown()


@pytest.mark.parametrize(
    ("no_proxy", "url", "way"),
    [
        *((*case, "direct") for case in EXEMPT),
        *((*case, "proxy") for case in PROXIED),
    ],
)
def test_no_proxy_rules_agree_with_curl(servers: Servers, no_proxy: str, url: str, way: str) -> None:
    """The forms known to curl mean the same; those of `EXEMPT_HERE` are an intentional extension."""
    proxy = f"http://127.0.0.1:{servers.proxy.server_port}"
    assert servers.curl(url, {"http_proxy": proxy, "no_proxy": no_proxy}) == way


def test_all_proxy_rules_agree_with_curl(servers: Servers) -> None:
    """ALL_PROXY is for schemes without their own variable. curl ignores an empty one; Python then uses no proxy."""
    proxy = f"http://127.0.0.1:{servers.proxy.server_port}"
    assert servers.curl("http://x", {"ALL_PROXY": proxy}) == "proxy"
    assert servers.curl("http://x", {"ALL_PROXY": "http://127.0.0.1:1", "http_proxy": proxy}) == "proxy"
    assert servers.curl("http://x", {"ALL_PROXY": proxy, "http_proxy": ""}) == "proxy"
