"""The fault proxy forwards correct responses unchanged, applies the configured faults, and counts both."""

from __future__ import annotations

import asyncio
import http.client
import signal
import sys
from pathlib import Path

import pytest

from tests import services
from tests.eventually import eventually
from tests.services.faultproxy import FaultProxy
from tests.services.faulty import FaultyServer
from tests.services.proxyfaults import CATALOGUE, fault
from tests.services.test_parts import HttpResult, fetch

_KEY = "nl-nl/2026.04/pack.tar.zst"
_DATA = bytes(range(256)) * 40
_RANGE = {"Range": "bytes=1000-1999"}


async def _ask(proxy: FaultProxy, server: FaultyServer, number: int = 0) -> HttpResult | str:
    """Request a range through the proxy; return the response or the name of the error."""
    headers = {"Range": f"bytes={1000 + number}-1999"}
    try:
        return await asyncio.to_thread(fetch, f"{proxy.url(server.url)}/{_KEY}?sig=secret", headers)
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__


async def test_proxy_without_faults_changes_nothing() -> None:
    """Status, headers and body of ranges, HEAD and errors are the server's; bytes and requests are counted."""
    async with FaultyServer({_KEY: _DATA}) as server, FaultProxy(server.origin) as proxy:
        through = f"{proxy.url(server.url)}/{_KEY}?sig=secret"
        direct = f"{server.url}/{_KEY}?sig=secret"
        for method, headers in (("GET", _RANGE), ("GET", {}), ("HEAD", {}), ("GET", {"Range": "bytes=99999-"})):
            got, right = [await asyncio.to_thread(fetch, url, headers, method=method) for url in (through, direct)]
            assert (got.status, got.body) == (right.status, right.body)
            for name in ("ETag", "Content-Range", "Content-Length", "x-ms-error-code"):
                assert got.headers[name] == right.headers[name]
        assert len(proxy.seen) == 4
        assert len(_DATA) + 1000 < proxy.carried < len(_DATA) + 3000
        assert server.seen[0].headers["host"] == f"127.0.0.1:{server.port}"
        assert server.seen[0].query == "sig=secret"


async def test_same_seed_affects_same_responses() -> None:
    """The affected responses depend on the seed and the requests, not on the order of the requests."""

    async def struck(seed: int, numbers: list[int]) -> set[int]:
        async with FaultyServer({_KEY: _DATA}) as server:
            async with FaultProxy(server.origin, fault("500"), share=0.3, seed=seed) as proxy:
                got = [(number, await _ask(proxy, server, number)) for number in numbers]
            return {number for number, each in got if isinstance(each, HttpResult) and each.status == 500}

    first = await struck(1, list(range(40)))
    assert first == await struck(1, list(reversed(range(40))))
    assert first != await struck(2, list(range(40)))
    assert 4 <= len(first) <= 20


async def test_fault_respects_its_limits() -> None:
    """A fault applies only to matching paths, after the given bytes, and the given number of times; it is counted."""
    limited = fault("503", "date", on="*.zst", after=1000, times=2)
    async with FaultyServer({_KEY: _DATA}) as server, FaultProxy(server.origin, limited) as proxy:
        got = [await _ask(proxy, server) for _ in range(4)]
        assert [each.status for each in got if isinstance(each, HttpResult)] == [206, 503, 503, 206]
        assert isinstance(got[1], HttpResult)
        assert got[1].headers["Retry-After"].endswith("GMT")
        assert limited.met == 2


@pytest.mark.parametrize(
    ("name", "value", "seen"),
    [
        ("hangup", "", "RemoteDisconnected"),
        ("reset", "10", "ConnectionResetError"),
        ("cut", "10", "IncompleteRead"),
        ("garbage", "", "BadStatusLine"),
        ("no-status", "", "BadStatusLine"),
        ("huge-header", "", "LineTooLong"),
        ("bad-chunks", "10", "IncompleteRead"),
    ],
)
async def test_each_connection_fault_breaks_connection_as_described(name: str, value: str, seen: str) -> None:
    """A basic client gets the error that corresponds to the fault, and the next response is correct."""
    async with FaultyServer({_KEY: _DATA}) as server, FaultProxy(server.origin, fault(name, value, times=1)) as proxy:
        assert await _ask(proxy, server) == seen
        after = await _ask(proxy, server)
        assert isinstance(after, HttpResult)
        assert after.body == _DATA[1000:2000]


@pytest.mark.parametrize(
    ("name", "value", "status", "named", "length"),
    [
        ("short", "10", 206, "bytes 1000-1999/10240", 10),
        ("short-range", "10", 206, "bytes 1000-1009/10240", 10),
        ("other-range", "5", 206, "bytes 1005-2004/10240", 1000),
        ("flip", "3", 206, "bytes 1000-1999/10240", 1000),
        ("whole", "", 200, None, 10240),
        ("two-lengths", "", 206, "bytes 1000-1999/10240", 1000),
        ("latency", "0.01", 206, "bytes 1000-1999/10240", 1000),
        ("rate", "1000000", 206, "bytes 1000-1999/10240", 1000),
        ("portal", "", 200, None, 72),
        ("429", "1", 429, None, None),
        ("403", "", 403, None, None),
        ("redirect", "http://127.0.0.2", 307, None, 0),
    ],
)
async def test_each_response_fault_changes_response_as_described(
    name: str, value: str, status: int, named: str | None, length: int | None
) -> None:
    """Each modified response has the status, Content-Range and length of its fault."""
    async with FaultyServer({_KEY: _DATA}) as server, FaultProxy(server.origin, fault(name, value)) as proxy:
        got = await _ask(proxy, server)
    assert isinstance(got, HttpResult)
    assert (got.status, got.headers["Content-Range"]) == (status, named)
    assert length in (None, len(got.body))
    differing = [at for at, (one, other) in enumerate(zip(got.body, _DATA[1000:], strict=False)) if one != other]
    assert differing == ([3] if name == "flip" else []) or status != 206


async def test_silent_connection_sends_nothing_until_closed() -> None:
    """A silent connection stays open; the proxy can still be closed."""
    async with FaultyServer({_KEY: _DATA}) as server:
        async with FaultProxy(server.origin, fault("stall", "10", times=1), fault("hang", after=1)) as proxy:
            asking = [asyncio.create_task(_ask(proxy, server))]
            await proxy.carries(10)
            asking.append(asyncio.create_task(_ask(proxy, server)))
            await eventually(lambda: proxy.faults[1].met, "the second request")
            assert not any(task.done() for task in asking)
        assert all(isinstance(got, str) for got in await asyncio.gather(*asking))


async def test_command_line_proxy_runs_until_interrupted() -> None:
    """`scripts/fault-proxy` prints its address, each fault applied, and the counts, but never a token."""
    root = Path(services.__file__).parents[2]
    command = ["-m", "tests.services.proxymain", "--listen", "0", "--fault", "500", "--share", "1"]
    async with FaultyServer({_KEY: _DATA}) as server:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *command, "--to", server.origin, cwd=root, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout
        origin = (await process.stdout.readline()).split()[-1].decode()
        got = await asyncio.to_thread(fetch, f"{origin}/models/{_KEY}?sig=secret", _RANGE)
        process.send_signal(signal.SIGTERM)
        output = (await process.communicate())[0].decode()
    assert got.status == 500
    assert output.splitlines()[0] == f"500 on GET /models/{_KEY} bytes=1000-1999"
    assert [line.split() for line in output.splitlines()[1:]] == [output.splitlines()[1].split(), ["500", "1"]]
    assert "secret" not in output


def test_every_fault_has_a_description() -> None:
    """Every fault has a help text, and an unknown name is refused with the list of faults."""
    assert all(output for output, _ in CATALOGUE.values())
    with pytest.raises(ValueError, match="there is no fault 'none'"):
        fault("none")
