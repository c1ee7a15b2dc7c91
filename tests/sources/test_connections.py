"""Connections are reused, closed and replaced correctly, through proxies and TLS; none is left open."""

from __future__ import annotations

import asyncio
import base64
import gc
import hashlib
import itertools
import os
import random
import signal
import socket
import sys
import threading
import time
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from models_init.core.errors import SourceError, UnavailableError, UsageError
from models_init.sources.http import client as clients
from models_init.sources.http.client import Credentials, HttpClient, TransportOptions
from tests.eventually import eventually
from tests.samples import MIB, Shape, write_tree
from tests.services.connect import CONNECTED, ConnectProxy
from tests.services.faults import Answer, Cut, Headers, Reset, Stall
from tests.services.faulty import FOREVER, Fault, FaultyServer, Reply
from tests.site import COMMON, DUTCH, Packs, Site, build_packs, in_container
from tests.sources.collecting_sink import Collected
from tests.tokens import leaks, token

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.services import faulty
    from tests.services.certificates import Certificates

_KEY = "nl-nl/2026.04/manifest.json"
_DATA = b"0123456789" * 1000
_ESTABLISHED = "01"  # a state in /proc/net/tcp
_BIG = random.Random("big").randbytes(MIB) * 80
_DIGEST = hashlib.sha256(_BIG).hexdigest()


@dataclass(frozen=True)
class Said(Fault):
    """A raw response on a connection that stays open."""

    data: bytes

    async def send(self, _reply: Reply, line: faulty.ServerConnection) -> None:
        """Send the response."""
        await line.write(self.data)


@dataclass(frozen=True)
class SaidTwice(Fault):
    """A response, and after `delay` seconds an unsolicited second one."""

    first: bytes
    second: bytes
    delay: float

    async def send(self, _reply: Reply, line: faulty.ServerConnection) -> None:
        """Send both responses."""
        await line.write(self.first if self.delay else self.first + self.second)
        if self.delay and not await line.server_closes(self.delay):
            await line.write(self.second)


@dataclass(frozen=True)
class Dripping(Fault):
    """A response head that is sent byte by byte and never ends."""

    async def send(self, _reply: Reply, line: faulty.ServerConnection) -> None:
        """Send single bytes until the server closes or the client has disconnected."""
        for byte in itertools.cycle(b"HTTP/1.1 200 OK\r\n"):
            await line.write(bytes([byte]))
            if await line.server_closes(0.02):
                break


@dataclass(frozen=True)
class Truncated(Fault):
    """A connection that ends after `at` bytes of the body, without a TLS close alert but with a normal TCP close."""

    at: int

    async def send(self, reply: Reply, line: faulty.ServerConnection) -> None:
        """Send a part of the response and close."""
        await line.send(reply, self.at)
        await eventually(lambda: not _unsent(line.writer.transport))
        line.writer.transport.abort()


def _unsent(transport: Any) -> int:
    if not transport:  # the client has disconnected
        return 0
    below = getattr(transport, "_ssl_protocol", None)
    return int(transport.get_write_buffer_size()) + (_unsent(below._transport) if below else 0)  # noqa: SLF001 - of asyncio


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the proxy variables of the machine's environment."""
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@asynccontextmanager
async def opened(url: str, *, idle_limit: float = 30.0, ca_file: object = "") -> AsyncIterator[HttpClient]:
    client = HttpClient(url, TransportOptions(idle_limit, str(ca_file)))
    try:
        yield client
    finally:
        await client.close()


async def got(client: HttpClient, url: str, **headers: str) -> bytes:
    """Send a request and read the response to its end."""
    response = await client.get(f"{url}/{_KEY}", headers, Credentials(token()))
    try:
        return await response.body(1 << 20, "it")
    finally:
        response.release()


async def test_slow_response_head_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Single bytes would keep an idle limit from firing for days, so the head as a whole has a limit."""
    monkeypatch.setattr(clients, "CONNECT_LIMIT", 0.2)
    async with FaultyServer({}, [Dripping()]) as server, opened(server.url, idle_limit=0.2) as client:
        with pytest.raises(UnavailableError, match="did not answer in time"):
            await got(client, server.url)
        assert server.carried < 50


# -- reuse of connections


@pytest.mark.parametrize(
    ("answer", "connections"),
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", 1, id="whole"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 1, id="empty"),
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", 1, id="no content"),
        pytest.param(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", 1, id="not modified"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", 1, id="chunks"),
        pytest.param(b"HTTP/1.1 103 \r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 1, id="announced"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: Close\r\n\r\nhi", 3, id="close"),
        pytest.param(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", 3, id="version 1.0"),
    ],
)
async def test_connection_is_reused_only_after_complete_body(answer: bytes, connections: int) -> None:
    """Connections are reused after a complete response without excess bytes, if both sides keep them open."""
    async with FaultyServer({}, [Said(answer, times=3)]) as server, opened(server.url) as client:
        for _ in range(3):
            await got(client, server.url)
        assert (len(server.seen), server.connections) == (3, connections)


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi!", id="more than announced"),
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\nhi", id="more than nothing"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nhi", id="more than chunks"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi!", id="two lengths"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
            id="a length and chunks",
        ),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nhi", id="a length with a sign"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n2\r\nhi\r\n0\r\n\r\n", id="other coding"),
        pytest.param(b"HTTP/1.1 200 OK\r\nA\x00: b\r\nContent-Length: 2\r\n\r\nhi", id="NUL in a name"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: " + b"y" * (70 << 10) + b"\r\nContent-Length: 2\r\n\r\nhi", id="70 KiB"),
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n\r\n", id="no HTTP"),
    ],
)
async def test_response_of_ambiguous_length_is_rejected(raw: bytes) -> None:
    """A retry uses a new connection, because an intermediary may have parsed the response differently."""
    async with FaultyServer({_KEY: _DATA}, [Said(raw)]) as server, opened(server.url, idle_limit=0.5) as client:
        with pytest.raises(UnavailableError, match=r"other than HTTP|closed the connection"):
            await got(client, server.url)
        assert await got(client, server.url) == _DATA
        assert server.connections == 2


@pytest.mark.parametrize("rest", [b"zzzz\r\nno size", b"-5\r\nhello\r\n", b"5\r\nhello world", b"3"])
async def test_malformed_transfer_chunk_is_error(rest: bytes) -> None:
    """An incomplete body is an error, and the wait for the rest is limited."""
    raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
    fault = SaidTwice(raw, rest, 0.02)
    async with FaultyServer({_KEY: _DATA}, [fault]) as server, opened(server.url, idle_limit=0.2) as client:
        with pytest.raises(UnavailableError):
            await got(client, server.url)
        assert await got(client, server.url) == _DATA


@pytest.mark.parametrize(("ending", "connections"), [(b"0\r\n\r\n", 1), (b"0\r\nX: y\r\n\r\n", 1), (b"", 2)])
async def test_body_of_known_length_needs_no_read_at_its_end(ending: bytes, connections: int) -> None:
    """A chunked response whose bytes were all read is complete, if its end has already been received."""
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n" + ending
    async with FaultyServer({}, [Said(answer, times=2)]) as server, opened(server.url) as client:
        for _ in range(2):
            response = await client.get(f"{server.url}/x")
            sink = Collected()
            assert await response.read_into(sink, 2) == 2
            assert sink.data == b"hi"
            response.release()
        assert server.connections == connections


async def test_unread_response_closes_its_connection() -> None:
    """Otherwise the rest of the body would be parsed as the next response."""
    async with FaultyServer({_KEY: _DATA, "big": _BIG}) as server, opened(server.url) as client:
        (await client.get(f"{server.url}/big")).release()
        assert await got(client, server.url) == _DATA
        assert server.connections == 2


async def test_connection_closed_by_server_is_replaced() -> None:
    """A connection that was closed while idle is not tried."""
    async with FaultyServer({_KEY: _DATA}, [Cut(at=FOREVER)]) as server, opened(server.url) as client:
        await got(client, server.url)
        await eventually(lambda: not established(server.port), "the client notices that the server has closed")
        assert await got(client, server.url) == _DATA
        assert (len(server.seen), server.connections) == (2, 2)


@pytest.mark.parametrize("fault", [Cut(after=1), Reset(after=1), Said(b"", after=1)], ids=["FIN", "RST", "silence"])
async def test_connection_closed_during_request_is_replaced(fault: Fault) -> None:
    """If the server closes during reuse, the request is repeated; if it is silent, it is not."""
    async with FaultyServer({_KEY: _DATA}, [fault]) as server, opened(server.url, idle_limit=0.2) as client:
        await got(client, server.url)
        if isinstance(fault, Said):
            with pytest.raises(UnavailableError, match="did not answer in time"):
                await got(client, server.url)
        assert await got(client, server.url) == _DATA
        assert (len(server.seen), server.connections) == (3, 2)


async def test_request_without_response_is_repeated_once() -> None:
    """If the connection ends before the response, aiohttp silently repeats a GET once; a second failure is an error."""
    async with FaultyServer({_KEY: _DATA}, [Cut(times=2)]) as server, opened(server.url) as client:
        with pytest.raises(UnavailableError, match="closed the connection before the end"):
            await got(client, server.url)
        assert len(server.seen) == 2


@pytest.mark.parametrize("delay", [0.0, 0.02], ids=["at once", "on the idle connection"])
async def test_unsolicited_response_is_discarded(delay: float) -> None:
    """Excess bytes after a response, complete or not, close the connection: a proxy may have mixed up responses."""
    first = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
    forged = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"
    async with FaultyServer({_KEY: _DATA}, [SaidTwice(first, forged, delay)]) as server, opened(server.url) as client:
        assert await got(client, server.url) == b"hi"
        await eventually(lambda: server.carried >= len(first + forged), "the server has sent everything")
        assert await got(client, server.url) == _DATA
        assert server.connections == 2


async def test_idle_connection_is_not_reused_after_keep_alive_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A firewall may have forgotten it, and the request would be lost silently."""
    monkeypatch.setattr(clients, "KEEP_ALIVE", 0.0)
    async with FaultyServer({_KEY: _DATA}) as server, opened(server.url) as client:
        assert [await got(client, server.url) for _ in range(3)] == [_DATA] * 3
        assert server.connections == 3


async def test_non_ascii_header_is_decoded() -> None:
    """Header values are bytes, decoded as Latin-1, so that any ETag can be compared."""
    async with FaultyServer({_KEY: _DATA}, [Headers({"ETag": '"\xe9"'})]) as server, opened(server.url) as client:
        response = await client.get(f"{server.url}/{_KEY}")
        response.release()
        assert response.header("ETag") == '"\xe9"'


# -- TLS


@asynccontextmanager
async def serving(
    way: str,
    certificates: Certificates,
    monkeypatch: pytest.MonkeyPatch,
    *faults: Fault,
    objects: dict[str, bytes] | None = None,
) -> AsyncIterator[tuple[FaultyServer, str]]:
    """Run a server and yield it with its URL: plain HTTP, TLS, TLS through a proxy, or through a proxy with TLS."""
    tls = None if way == "plain" else certificates.server_context()
    async with FaultyServer(objects or {_KEY: _DATA}, faults, tls=tls) as server:
        if way in {"plain", "TLS"}:
            yield server, server.url
            return
        inner = certificates.server_context() if way == "TLS in TLS" else None
        async with ConnectProxy(server.port, tls=inner) as proxy:
            monkeypatch.setenv("https_proxy", f"{'https' if inner else 'http'}://127.0.0.1:{proxy.port}")
            yield server, server.url


_WAYS = ["plain", "TLS", "TLS through a proxy", "TLS in TLS"]


@pytest.mark.parametrize("way", _WAYS)
@pytest.mark.parametrize("fault", [Fault(), Cut(at=FOREVER), Truncated(at=FOREVER)], ids=["kept", "closed", "cut"])
async def test_slow_sink_receives_all_bytes(
    way: str, fault: Fault, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader of 80 MiB pauses repeatedly until nothing more is received, and the server closes at the end."""
    async with (
        serving(way, certificates, monkeypatch, fault, objects={_KEY: _BIG}) as (_, url),
        opened(url, ca_file=certificates.authority) as client,
    ):
        response = await client.get(f"{url}/{_KEY}", credentials=Credentials(token()))
        digest, read = hashlib.sha256(), 0
        while read < len(_BIG):
            if len(_BIG) - read > 8 * MIB:
                await eventually(lambda: unread_bytes() > 0, "the kernel holds bytes that are not read")
            sink = Collected(digest.update, size=70_001)
            read += await response.read_into(sink, min(len(_BIG) - read, 8 * MIB))
        assert await response.read_into(Collected(), 1) == 0
        response.release()
        assert (read, digest.hexdigest()) == (len(_BIG), _DIGEST)


def unread_bytes() -> int:
    """Return the number of unread bytes in the kernel's buffers of this process's TCP sockets."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    own = {_target(number) for number in os.listdir("/proc/self/fd")}
    return sum(int(row[4].split(":")[1], 16) for row in rows if row[3] == _ESTABLISHED and f"socket:[{row[9]}]" in own)


def established(port: int) -> bool:
    """Return whether a client of this machine has a connection to the port that neither side has closed."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(row[2].endswith(f":{port:04X}") and row[3] == _ESTABLISHED for row in rows)


@pytest.mark.parametrize("end", [0, 1, 100_000, 255 << 10, 256 << 10, 400_000, MIB - 1])
@pytest.mark.parametrize("fault", [Cut(at=FOREVER), Truncated(at=FOREVER)], ids=["closed", "cut"])
async def test_bytes_before_tls_close_are_kept(end: int, fault: Fault, certificates: Certificates) -> None:
    """The end of a connection discards no data that is still to be decrypted, however much is unread."""
    data = _BIG[: 3 * MIB + end]
    async with (
        FaultyServer({_KEY: data}, [fault], tls=certificates.server_context()) as server,
        opened(server.url, ca_file=certificates.authority) as client,
    ):
        response = await client.get(f"{server.url}/{_KEY}", credentials=Credentials(token()))
        await eventually(lambda: unread_bytes() > 0, "the kernel holds bytes that are not read")
        sink = Collected()
        assert await response.read_into(sink, len(data)) == len(data)
        response.release()
        assert sink.data == data


@pytest.mark.parametrize("way", _WAYS)
@pytest.mark.parametrize("fault", [Truncated(at=5_000), Reset(at=5_000), Cut(at=5_000)], ids=["cut", "RST", "closed"])
async def test_incomplete_body_is_reported(
    way: str, fault: Fault, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A truncated body is an error, with or without a TLS close alert."""
    async with (
        serving(way, certificates, monkeypatch, fault) as (server, url),
        opened(url, ca_file=certificates.authority) as client,
    ):
        with pytest.raises(UnavailableError, match="closed the connection before the end"):
            await got(client, url)
        assert await got(client, url) == _DATA
        assert len(server.seen) == 2


async def test_host_name_with_trailing_dot_is_accepted(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trailing dot keeps the resolver from searching; the certificate has no such dot."""
    async with FaultyServer({_KEY: _DATA}, tls=certificates.server_context()) as server:
        url = server.url.replace("127.0.0.1", "localhost.")
        async with opened(url, ca_file=certificates.authority) as client:
            with resolved(monkeypatch, "127.0.0.1"):
                assert await got(client, url) == _DATA
            assert server.seen[0].headers["host"] == f"localhost:{server.port}"


_PROGRAM = """
import asyncio, sys
from models_init.sources.http.client import HttpClient, TransportOptions

async def main(url):
    client = HttpClient(url, TransportOptions())
    try:
        response = await client.get(url)
        print(len(await response.body(1 << 20, "it")), client.connection_summary)
        response.release()
    finally:
        await client.close()

asyncio.run(main(sys.argv[1]))
"""


async def test_system_authorities_are_trusted_by_default(certificates: Certificates) -> None:
    """Without MODELS_CA_FILE, OpenSSL's default list applies, which SSL_CERT_FILE may replace."""
    async with FaultyServer({_KEY: _DATA}, tls=certificates.server_context()) as server:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", _PROGRAM, f"{server.url}/{_KEY}"),
            env={"PATH": os.environ["PATH"], "SSL_CERT_FILE": str(certificates.authority)},
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await process.communicate()
    assert out.decode().startswith(f"{len(_DATA)} directly, TLSv1.3, certificate by test authority, trusted by ")


@pytest.mark.parametrize("way", ["TLS", "TLS through a proxy"])
async def test_large_pack_is_installed_over_tls(
    way: str, certificates: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program itself installs over 64 MiB in little memory, with the system's authorities."""
    packs = _large(tmp_path)
    async with serving(way, certificates, monkeypatch, objects=packs.objects()) as (server, url):
        site = Site(tmp_path / "models", in_container(packs, url, token())).but(
            SSL_CERT_FILE=str(certificates.authority),
            HTTPS_PROXY=os.environ.get("https_proxy", ""),
            MODELS_MEMORY="8MiB",
        )
        done = await asyncio.to_thread(site.run, "--json")
        assert (done.code, done.json["activated"]) == (0, True), done.err
        assert done.json["bytes_fetched"] > 64 * MIB
        assert server.connections <= 17  # at most 16 concurrent connections, which are reused
    assert packs.differences(site, COMMON, DUTCH) == []


@pytest.mark.parametrize("way", ["TLS", "TLS in TLS"])
async def test_sigterm_during_transfers_ends_within_two_seconds(
    way: str, certificates: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With every connection in the middle of a range, the exit code is 143, and only the stop is reported."""
    packs = _large(tmp_path)
    stalled = Stall(on="*/pack.tar.zst", at=100_000, times=FOREVER)
    async with serving(way, certificates, monkeypatch, stalled, objects=packs.objects()) as (server, url):
        site = Site(tmp_path / "models", in_container(packs, url, token())).but(
            MODELS_CA_FILE=str(certificates.authority), HTTPS_PROXY=os.environ.get("https_proxy", "")
        )
        with site.start() as process:
            await eventually(lambda: sum("pack.tar.zst" in seen.key for seen in server.seen) >= 4, "four ranges")
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            out, err = await asyncio.to_thread(process.communicate)
            assert time.monotonic() - began < 2.0
    assert (process.returncode, out) == (143, "")
    assert err.splitlines()[-1].split()[1:3] == ["info", "stopped"]
    assert "Traceback" not in err


def _large(directory: Path) -> Packs:
    shapes = {COMMON: Shape(texts=6, weights=(), dense=()), DUTCH: Shape(texts=6, weights=(), dense=(70 * MIB,))}
    trees = {ref: write_tree(directory / "trees" / ref.name, shape, ref.name) for ref, shape in shapes.items()}
    return build_packs(directory, trees, level=1)


# -- proxies


@pytest.mark.parametrize("userinfo", ["", "us%40er:p%3Ass@", "user@"])
async def test_https_request_uses_connect_through_proxy(
    userinfo: str, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """User and password of its URL are sent to the proxy but not to the server; one tunnel serves many requests."""
    async with (
        FaultyServer({_KEY: _DATA}, tls=certificates.server_context()) as server,
        ConnectProxy(server.port) as proxy,
        opened(server.url, ca_file=certificates.authority) as client,
    ):
        monkeypatch.setenv("HTTPS_PROXY", f"http://{userinfo}127.0.0.1:{proxy.port}")
        assert [await got(client, server.url) for _ in range(3)] == [_DATA] * 3
        assert client.connection_summary.startswith(f"through the proxy 127.0.0.1:{proxy.port}, TLSv1.3, ")
        assert [seen.headers.get("proxy-authorization") for seen in server.seen] == [None] * 3
        address = f"127.0.0.1:{server.port}"
    [asked] = proxy.seen
    assert (asked.method, asked.path, asked.headers["host"], server.connections) == ("CONNECT", address, address, 1)
    expected = {"": None, "us%40er:p%3Ass@": b"us@er:p:ss", "user@": b"user:"}[userinfo]
    credentials = asked.headers.get("proxy-authorization")
    assert credentials == (expected and f"Basic {base64.b64encode(expected).decode()}")
    assert not leaks(f"{asked}")


@pytest.mark.parametrize("exempt", ["127.0.0.1", "127.0.0.1:{port}", "example.com, 127.0.0.1", "*"])
async def test_server_in_no_proxy_is_reached_directly(
    exempt: str, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exempt host, with its port or without, is contacted directly."""
    async with (
        FaultyServer({_KEY: _DATA}, tls=certificates.server_context()) as server,
        ConnectProxy(server.port) as proxy,
        opened(server.url, ca_file=certificates.authority) as client,
    ):
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("no_proxy", exempt.format(port=server.port))
        assert await got(client, server.url) == _DATA
        assert client.connection_summary.startswith("directly, ")
    assert proxy.seen == []


async def test_response_of_proxy_to_connect_is_not_taken_for_server_response(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes that a proxy sends after its response, before TLS, are not parsed as the server's response."""
    forged = CONNECTED + b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"
    async with (
        FaultyServer({_KEY: _DATA}, tls=certificates.server_context()) as server,
        ConnectProxy(server.port, forged) as proxy,
        opened(server.url, ca_file=certificates.authority) as client,
    ):
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
        assert await got(client, server.url) == _DATA
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (b"HTTP/1.1 407 Who are you?\r\n\r\n", SourceError, "refuses to connect to .* 407; check HTTPS_PROXY"),
        (b"HTTP/1.1 302 Elsewhere\r\nLocation: http://x/\r\n\r\n", SourceError, "refuses to connect to .* 302"),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", UnavailableError, "the proxy cannot connect to .* 502"),
        (b"HTTP/1.1 429 Slowly\r\n\r\n", UnavailableError, "the proxy cannot connect to .* 429"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", UnavailableError, "other than HTTP; check MODELS_URL and the proxy"),
        (b"", UnavailableError, r"\(through a proxy\) did not answer in time"),
    ],
)
async def test_proxy_that_does_not_connect_is_reported(
    answer: bytes, kind: type[SourceError], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Transient errors are retried; errors that need an operator are not."""
    monkeypatch.setattr(clients, "CONNECT_LIMIT", 0.3)
    async with (
        ConnectProxy(1, answer) as proxy,
        opened("https://models.invalid/x", idle_limit=0.2) as client,
    ):
        monkeypatch.setenv("https_proxy", f"http://user:secret@127.0.0.1:{proxy.port}")
        with pytest.raises(SourceError, match=words) as error:
            await got(client, "https://models.invalid/x")
    assert (type(error.value), "secret" in str(error.value)) == (kind, False)


async def test_password_is_sent_to_http_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without TLS, a 407 comes from the proxy, not from the server."""
    async with FaultyServer({}, [Answer(Reply(407, {}))]) as proxy, opened("http://models.invalid/x") as client:
        monkeypatch.setenv("http_proxy", f"user:secret@127.0.0.1:{proxy.port}")
        with pytest.raises(SourceError, match=r"the proxy refuses .* 407; check HTTP_PROXY"):
            await got(client, "http://models.invalid/x")
        [seen] = proxy.seen
    assert (seen.path, seen.headers["host"]) == (f"http://models.invalid/x/{_KEY}", "models.invalid")
    assert seen.headers["proxy-authorization"] == f"Basic {base64.b64encode(b'user:secret').decode()}"


@pytest.mark.parametrize(
    "proxy", ["http://secret@:3128", "http://secret@h:p", "socks5://secret@h:1080", "http://secret@[::1", "secret@h:0"]
)
async def test_invalid_proxy_setting_is_reported(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is one line without the proxy's URL, which may contain a password."""
    monkeypatch.setenv("https_proxy", proxy)
    async with opened("https://models.invalid/x") as client:
        with pytest.raises(UsageError, match=r"https_proxy (is not the address of a|names a SOCKS) proxy") as error:
            await got(client, "https://models.invalid/x")
    assert "secret" not in str(error.value)


# -- names and addresses


@contextmanager
def resolved(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> Iterator[None]:
    """Resolve every name to these addresses, in this order."""

    async def look_up(_loop: object, _host: str, port: int, **_more: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    with monkeypatch.context() as patch:
        patch.setattr(asyncio.BaseEventLoop, "getaddrinfo", look_up)
        yield


@contextmanager
def silent(address: str, port: int) -> Iterator[None]:
    """Fill the queue of an address, so that it answers no connection attempt, as behind a firewall."""
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind((address, port))
        full.listen(0)
        for client in (first, second):
            client.setblocking(False)
            client.connect_ex((address, port))
        yield


async def test_unresponsive_address_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """If one of several addresses does not answer, the next one is tried long before the limit."""
    async with FaultyServer({_KEY: _DATA}) as server:
        url = server.url.replace("127.0.0.1", "models.invalid")
        with silent("127.0.0.2", server.port), resolved(monkeypatch, "127.0.0.2", "127.0.0.1"):
            async with opened(url) as client:
                assert await got(client, url) == _DATA
        assert server.connections == 1


async def test_refusal_by_all_addresses_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason is reported for one address as well as for several."""
    with resolved(monkeypatch, "127.0.0.1", "127.0.0.2"):
        async with opened("http://models.invalid:1/x") as client:
            with pytest.raises(UnavailableError, match=r"models\.invalid:1 cannot be reached: Connection refused"):
                await got(client, "http://models.invalid:1/x")


async def test_connection_attempt_has_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connecting has a separate limit."""
    monkeypatch.setattr(clients, "CONNECT_LIMIT", 0.1)
    with socket.socket() as probe:
        probe.bind(("127.0.0.2", 0))
        port = probe.getsockname()[1]
    with silent("127.0.0.2", port):
        async with opened(f"http://127.0.0.2:{port}/x") as client:
            with pytest.raises(UnavailableError, match="did not answer in time"):
                await got(client, f"http://127.0.0.2:{port}/x")


@pytest.mark.parametrize("host", ["a..b", f"{'a' * 64}.invalid", f"{'a.' * 200}invalid"])
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_invalid_host_name_is_reported(scheme: str, host: str) -> None:
    """A name that is invalid in DNS is reported as not found, without another exception."""
    url = f"{scheme}://{host}/x"
    async with opened(url) as client:
        with pytest.raises(UnavailableError, match="cannot be resolved"):
            await got(client, url)


async def test_ipv6_address_is_shown_in_brackets() -> None:
    """The brackets are in the Host header and in messages, with the port."""
    try:
        server = await asyncio.start_server(_tell_host, "::1", 0)
    except OSError:
        pytest.skip("no IPv6 on this machine")
    async with server:
        url = f"http://user:secret@[::1]:{server.sockets[0].getsockname()[1]}/x"
        async with opened(url) as client:
            assert await got(client, url) == client.host.encode()
            assert client.host == url.removeprefix("http://user:secret@").removesuffix("/x")


async def _tell_host(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    lines = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
    [host] = [line.removeprefix(b"Host: ") for line in lines if line.startswith(b"Host: ")]
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(host), host))
    await writer.drain()
    writer.close()


# -- cleanup


@pytest.mark.parametrize("way", _WAYS)
async def test_cancelled_request_leaves_no_connection(
    way: str, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request may be cancelled at any iteration of the event loop; its connection is closed or kept for reuse."""
    async with serving(way, certificates, monkeypatch) as (_, url):
        before, turns = _sockets(), 0
        for turns in itertools.count():
            async with opened(url, ca_file=certificates.authority) as client:
                task = asyncio.create_task(got(client, url))
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                done = (await asyncio.gather(task, return_exceptions=True))[0]
                if done == _DATA:
                    break
                assert isinstance(done, asyncio.CancelledError)
            gc.collect()  # an unclosed transport would warn
        assert turns > 3
        await eventually(lambda: _sockets() <= before, "closing every socket")


def _target(number: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{number}")
    except FileNotFoundError:
        return ""


def _sockets() -> int:
    return sum(_target(number).startswith("socket:") for number in os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("way", _WAYS)
async def test_no_thread_remains_after_requests(
    way: str, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After closing, no thread is left, whatever errors occurred before."""
    faults = [Cut(times=2), Reset(times=2), Cut(at=10), Reset(at=10), Truncated(at=10)]
    async with serving(way, certificates, monkeypatch, *faults) as (_, url):
        async with opened(url, ca_file=certificates.authority) as client:
            for _ in faults:
                with pytest.raises(UnavailableError):
                    await got(client, url)
            assert await got(client, url) == _DATA
        assert [thread for thread in threading.enumerate() if thread.name.startswith("source")] == []
