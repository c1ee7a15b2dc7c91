"""The test services behave as the other tests require."""

from __future__ import annotations

import asyncio
import http.client
import os
import signal
import socket
import ssl
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import pytest

from tests import services
from tests.eventually import eventually
from tests.services.faults import (
    Cut,
    FlippedBit,
    Headers,
    OtherRange,
    Raw,
    Reset,
    Stall,
    Trickle,
    WholeObject,
    expired,
    not_authenticated,
    not_public,
    redirect,
    throttled,
)
from tests.services.faulty import FaultyServer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.services.azurite import Azurite
    from tests.services.certificates import Certificates
    from tests.services.faulty import Fault

_KEY = "nl-nl/2026.04/pack"
_DATA = bytes(range(256)) * 40
_RANGE = {"Range": "bytes=1000-1999"}
_ASKED = _DATA[1000:2000]


class HttpResult(NamedTuple):
    """A response received by a client."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes


def fetch(
    url: str, headers: Mapping[str, str] | None = None, *, method: str = "GET", trust: ssl.SSLContext | None = None
) -> HttpResult:
    parts = urlsplit(url)
    assert parts.hostname
    if parts.scheme == "https":
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(parts.hostname, parts.port, context=trust)
    else:
        connection = http.client.HTTPConnection(parts.hostname, parts.port)
    with closing(connection):
        connection.request(method, f"{parts.path}?{parts.query}", headers=dict(headers or {}))
        response = connection.getresponse()
        return HttpResult(response.status, response.headers, response.read())


@pytest.fixture(scope="module")
def stocked(azurite: Azurite) -> Azurite:
    container = azurite.fresh_container()
    container.put(_KEY, _DATA)
    container.put("other", b"x")
    return container


def test_token_grants_access_to_its_container(stocked: Azurite) -> None:
    """A container token with rl can read ranges of every blob, and list the container."""
    got = fetch(f"{stocked.container_url}/{_KEY}?{stocked.sas()}", _RANGE)
    assert (got.status, got.headers["Content-Range"], got.body) == (206, f"bytes 1000-1999/{len(_DATA)}", _ASKED)
    listed = fetch(f"{stocked.container_url}?restype=container&comp=list&{stocked.sas()}")
    assert listed.status == 200
    assert _KEY.encode() in listed.body


@pytest.mark.parametrize(
    ("what", "code"),
    [
        ("expired", "AuthorizationFailure"),
        ("not yet valid", "AuthorizationFailure"),
        ("other container", "AuthorizationFailure"),
        ("other blob", "AuthorizationFailure"),
        ("forged", "AuthorizationFailure"),
        ("none", "AuthorizationFailure"),
        ("list only", "AuthorizationPermissionMismatch"),
        ("https only", "AuthorizationProtocolMismatch"),
    ],
)
def test_invalid_token_is_refused(stocked: Azurite, what: str, code: str) -> None:
    """Azurite enforces a token's time, scope, signature, permission and protocol."""
    tokens = {
        "expired": stocked.sas(expires_in=-60),
        "not yet valid": stocked.sas(starts_in=600),
        "other container": stocked.fresh_container().sas(),
        "other blob": stocked.blob_sas("other"),
        "forged": stocked.sas("l").replace("sp=l", "sp=rl"),
        "none": "",
        "list only": stocked.sas("l"),
        "https only": stocked.sas(protocol="https"),
    }
    got = fetch(f"{stocked.container_url}/{_KEY}?{tokens[what]}")
    assert (got.status, got.headers["x-ms-error-code"]) == (403, code)


def test_blob_token_grants_access_to_its_blob_only(stocked: Azurite) -> None:
    """A blob token can read its blob."""
    assert fetch(f"{stocked.container_url}/{_KEY}?{stocked.blob_sas(_KEY)}").body == _DATA


def test_read_token_cannot_write(stocked: Azurite) -> None:
    """A token with rl cannot delete."""
    got = fetch(f"{stocked.container_url}/{_KEY}?{stocked.sas()}", method="DELETE")
    assert (got.status, stocked.get(_KEY)) == (403, _DATA)


def test_containers_are_independent(azurite: Azurite, tmp_path: Path) -> None:
    """A new container is empty, objects in one container are in no other, and objects can be deleted."""
    one, other = azurite.fresh_container(), azurite.fresh_container()
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/één file").write_bytes(_DATA)
    one.put_tree(tmp_path, "pre/")
    assert (one.keys(), other.keys()) == (["pre/sub/één file"], [])
    assert one.get("pre/sub/één file") == _DATA
    one.delete("pre/sub/één file")
    assert one.keys() == []


def test_requests_are_counted(azurite: Azurite) -> None:
    """The access log has every request to this container, and none to another one."""
    one, other = azurite.fresh_container(), azurite.fresh_container()
    other.put("a b", b"x")
    fetch(f"{one.container_url}/a%20b?{one.sas()}")
    assert [request[:3] for request in one.requests()] == [("PUT", "", 201), ("GET", "a b", 404)]


def test_azurite_supports_tls(azurite_tls: Azurite) -> None:
    """Only clients that trust the authority of this run accept its certificate."""
    azurite_tls.put(_KEY, _DATA)
    url = f"{azurite_tls.container_url}/{_KEY}?{azurite_tls.sas()}"
    trusting = ssl.create_default_context(cafile=azurite_tls.certificate_authority)
    assert fetch(url, trust=trusting).body == _DATA
    with pytest.raises(ssl.SSLCertVerificationError):
        fetch(url, trust=ssl.create_default_context())


async def ask(
    *faults: Fault, headers: Mapping[str, str] = _RANGE, key: str = _KEY, method: str = "GET", token: str | None = None
) -> HttpResult:
    async with FaultyServer({_KEY: _DATA}, faults, token=token) as server:
        return await asyncio.to_thread(fetch, f"{server.url}/{key}?sig=secret", headers, method=method)


async def test_faulty_server_without_faults_serves_objects() -> None:
    """Without faults, the server returns objects, ranges, HEAD responses, and Azure's errors."""
    assert (await ask(headers={})).body == _DATA
    ranged = await ask()
    assert (ranged.status, ranged.headers["Content-Range"], ranged.body) == (206, "bytes 1000-1999/10240", _ASKED)
    assert (await ask(headers={"x-ms-range": "bytes=10000-"})).body == _DATA[10000:]
    assert (await ask(headers={"Range": "bytes=10240-"})).status == 416
    assert (await ask(key="none")).status == 404
    head = await ask(headers={}, method="HEAD")
    assert (head.status, head.headers["Content-Length"], head.body) == (200, "10240", b"")
    assert (await ask(headers={"If-Match": head.headers["ETag"]})).status == 200
    assert (await ask(headers={"If-Match": '"old"'})).status == 412


async def test_faulty_server_can_require_token() -> None:
    """With `token`, requests with any other query are refused as by Azure."""
    assert (await ask(token="sig=secret")).status == 206
    refused = await ask(token="sig=other")
    assert (refused.status, refused.headers["x-ms-error-code"]) == (403, "AuthenticationFailed")
    assert b"<AuthenticationErrorDetail>Signature did not match" in refused.body


async def test_error_responses_match_azure() -> None:
    """Error responses have Azure's status, the code in a header, and the detail in the body."""
    got = await ask(expired())
    assert (got.status, got.headers["x-ms-error-code"]) == (403, "AuthenticationFailed")
    assert b"Signature not valid in the specified time frame" in got.body
    assert (await ask(not_authenticated())).status == 401
    assert (await ask(not_public())).headers["x-ms-error-code"] == "PublicAccessNotPermitted"
    busy = await ask(throttled(429, retry_after=7))
    assert (busy.status, busy.headers["Retry-After"]) == (429, "7")
    assert (await ask(redirect("http://127.0.0.2/"))).headers["Location"] == "http://127.0.0.2/"


async def test_corrupting_faults_keep_response_consistent() -> None:
    """Each faulty response differs from the correct one only by its fault."""
    assert (await ask(Headers({"ETag": '"new"'}))).headers["ETag"] == '"new"'
    assert "ETag" not in (await ask(Headers({"ETag": ""}))).headers
    later = await ask(OtherRange(later=5))
    assert (later.headers["Content-Range"], later.body) == ("bytes 1005-2004/10240", _DATA[1005:2005])
    short = await ask(OtherRange(shorter=1))
    assert (short.headers["Content-Range"], short.body) == ("bytes 1000-1998/10240", _DATA[1000:1999])
    whole = await ask(WholeObject())
    assert (whole.status, whole.body) == (200, _DATA)
    flipped = (await ask(FlippedBit(at=3))).body
    assert [at for at in range(1000) if flipped[at] != _ASKED[at]] == [3]


async def test_connection_faults_break_connection() -> None:
    """Closed, reset and garbage connections each cause the corresponding error in the client."""
    with pytest.raises(http.client.IncompleteRead) as cut:
        await ask(Cut(at=10))
    assert cut.value.partial == _ASKED[:10]
    with pytest.raises(http.client.RemoteDisconnected):
        await ask(Cut())
    with pytest.raises(ConnectionResetError):
        await ask(Reset(at=10))
    with pytest.raises(ConnectionResetError):
        await ask(Reset())
    with pytest.raises(http.client.BadStatusLine):
        await ask(Raw())


@pytest.mark.parametrize("fault", [Stall(at=10), Trickle(at=5, every=0.001)])
async def test_stalling_faults_send_no_end(fault: Fault) -> None:
    """A stalled or trickling response sends some bytes, stays open, and does not prevent the server from closing."""
    async with FaultyServer({_KEY: _DATA}, [fault]) as server:
        address = urlsplit(server.url)
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(f"GET {address.path}/{_KEY} HTTP/1.1\r\n\r\n".encode())
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
        assert await reader.readexactly(10) == _DATA[:10]
        assert not reader.at_eof()
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(len(_DATA) - 10)
    writer.close()


async def test_script_of_faults_is_followed() -> None:
    """Faults apply by key, `after` and `times`; a new script resets the counts; all requests are recorded."""
    faults = [throttled(times=2), Cut(on="b", after=1)]
    async with FaultyServer({"a": b"A", "b": b"B"}, faults) as server:
        for key in ("a", "a", "b", "a"):
            await asyncio.to_thread(fetch, f"{server.url}/{key}?sig=1", {"Range": "bytes=0-0"})
        with pytest.raises(http.client.RemoteDisconnected):
            await asyncio.to_thread(fetch, f"{server.url}/b")
        server.script(expired(times=1))
        await asyncio.to_thread(fetch, f"{server.url}/b")
        assert [(seen.key, seen.status) for seen in server.seen] == [
            ("a", 503), ("a", 503), ("b", 206), ("a", 206), ("b", 0), ("b", 403),
        ]  # fmt: skip
        assert [seen.signed for seen in server.seen] == [True] * 4 + [False] * 2
        assert server.seen[0].range == (0, 1)
        assert server.seen[5].range is None
        assert server.connections == 6


async def test_faulty_server_supports_tls(certificates: Certificates) -> None:
    """With a TLS context it is an https server, and connection faults work there too."""
    trust = ssl.create_default_context(cafile=certificates.authority)
    async with FaultyServer({_KEY: _DATA}, [Reset(at=10)], tls=certificates.server_context()) as server:
        with pytest.raises((ConnectionResetError, http.client.IncompleteRead)):
            await asyncio.to_thread(fetch, f"{server.url}/{_KEY}", trust=trust)
        assert (await asyncio.to_thread(fetch, f"{server.url}/{_KEY}", trust=trust)).body == _DATA


def run_pytest(directory: Path, ci: str) -> str:
    (directory / "conftest.py").write_text("from tests.conftest import *\n")
    root = Path(services.__file__).parents[2]
    environment = os.environ | {"CI": ci, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    plain = ["-ra", "-p", "no:cacheprovider", "-p", "no:asyncio", "-p", "no:hypothesispytest"]
    command = [sys.executable, "-m", "pytest", "--continue-on-collection-errors", *plain, str(directory)]
    done = subprocess.run(command, cwd=directory, env=environment, check=False, capture_output=True, text=True)
    return done.stdout


def test_missing_requirement_fails_in_ci(tmp_path: Path) -> None:
    """A missing service, any other skipped test and a skipped module are skipped outside CI, and fail in CI."""
    (tmp_path / "test_one.py").write_text(
        "import pytest\n"
        "from tests.services import require_tool\n"
        "def test_part(): require_tool('no-such-tool')\n"
        "@pytest.mark.skip(reason='do not feel like it')\n"
        "def test_mood(): pass\n"
        "@pytest.mark.xfail(reason='known')\n"
        "def test_known(): assert False\n"
    )
    (tmp_path / "test_two.py").write_text("import pytest\npytest.skip('not here', allow_module_level=True)\n")
    outside, inside = run_pytest(tmp_path, ""), run_pytest(tmp_path, "true")
    assert "3 skipped, 1 xfailed" in outside
    assert "no no-such-tool on PATH: apt-get install no-such-tool" in outside
    assert "1 failed, 1 xfailed, 2 errors" in inside
    for reason in ("no no-such-tool on PATH", "do not feel like it", "not here"):
        assert reason in inside


def test_required_tools_are_found() -> None:
    """An executable is found by name, and a free port can be bound."""
    assert Path(services.require_tool("sh")).is_file()
    with socket.socket() as server:
        server.bind(("127.0.0.1", services.free_port()))


async def test_azurite_ends_with_its_parent_process(tmp_path: Path) -> None:
    """Azurite ends and its data is deleted even when the process that started it is killed."""
    code = (
        "import os, signal, sys, tempfile\n"
        "tempfile.tempdir = sys.argv[1]\n"
        "from tests.services.azurite import install, serve\n"
        "with serve(install()):\n"
        "    print(os.listdir(sys.argv[1]), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    services.require_tool("node")
    services.require_tool("npm")
    killed = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        code,
        str(tmp_path),
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(services.__file__).parents[2],
    )
    said, _ = await killed.communicate()
    assert (killed.returncode, said[:10]) == (-signal.SIGKILL, b"['azurite-")
    await eventually(lambda: not list(tmp_path.iterdir()), "the end of Azurite")
