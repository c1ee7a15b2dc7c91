"""The gateway of the chart in a real nginx, in front of two WebSocket servers."""

from __future__ import annotations

import subprocess
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import aiohttp
import yaml
from aiohttp import web

from tests import services
from tests.eventually import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path


_ENGINE = "asr-realtime-asr-{language}:8890"


def _configuration(rendered: dict[str, Path], directory: Path, port: int, engines: dict[str, int]) -> str:
    """Return the configuration in the ConfigMap, with the addresses and directories of this machine."""
    objects = yaml.safe_load_all(rendered["site-cache-values"].read_text())
    (found,) = [thing for thing in objects if thing and thing["kind"] == "ConfigMap"]
    text: str = found["data"]["gateway.conf"]
    replaced = {"listen 8890": f"listen 127.0.0.1:{port}", "/tmp/": f"{directory}/"}
    replaced |= {_ENGINE.format(language=name): f"127.0.0.1:{engine}" for name, engine in engines.items()}
    for old, new in replaced.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


@contextmanager
def _nginx(configuration: Path) -> Iterator[None]:
    command = [services.require_tool("nginx"), "-e", "stderr", "-c", str(configuration)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.terminate()


@asynccontextmanager
async def _engine(name: str) -> AsyncIterator[int]:
    """Serve WebSockets that answer each message with the name, the path and the message; yield the port."""

    async def converse(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_json([name, request.path_qs, message.data])
        return socket

    app = web.Application()
    app.router.add_get("/{path:.*}", converse)
    runner = web.AppRunner(app)
    await runner.setup()
    port = services.free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield port
    finally:
        await runner.cleanup()


async def test_gateway_routes_each_language_and_removes_it_from_the_path(
    rendered: dict[str, Path], tmp_path: Path
) -> None:
    async with _engine("en-us") as english, _engine("nl-nl") as dutch, aiohttp.ClientSession() as session:
        port = services.free_port()
        engines = {"en-us": english, "nl-nl": dutch}
        (tmp_path / "gateway.conf").write_text(_configuration(rendered, tmp_path, port, engines))

        async def say(path: str) -> object:
            async with session.ws_connect(f"http://127.0.0.1:{port}{path}") as socket:
                await socket.send_str("hallo")
                return await socket.receive_json()

        with _nginx(tmp_path / "gateway.conf"):
            await eventually((tmp_path / "nginx.pid").exists, "nginx has started")
            assert await say("/nl-nl") == ["nl-nl", "/", "hallo"]
            assert await say("/en-us/v1/listen?rate=16000") == ["en-us", "/v1/listen?rate=16000", "hallo"]
            async with session.get(f"http://127.0.0.1:{port}/healthz") as answer:
                assert answer.status == 200
            async with session.get(f"http://127.0.0.1:{port}/nl-nlx") as answer:
                assert (answer.status, await answer.text()) == (404, "unknown language; available: /en-us /nl-nl\n")
