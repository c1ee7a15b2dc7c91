"""Several languages: the rendered overlay with a real nginx, over WebSockets."""

from __future__ import annotations

import socket
import subprocess
from typing import TYPE_CHECKING, Any

import aiohttp

from tests import services
from tests.container.site import ENGINE, LANGUAGES
from tests.container.test_compose import ask
from tests.eventually import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from tests.container.site import ContainerSite
    from tests.services.azurite import Azurite


def render(site: ContainerSite) -> None:
    """Render the overlay as docs/deploy-compose.md says."""
    text = site.run_init("--render-overlay")
    (site.directory / LANGUAGES).write_text(f"{text}\n")
    site.files.insert(2, LANGUAGES)


def judge(configuration: str, file: Path) -> None:
    """Check a configuration with nginx."""
    file.write_text(configuration)
    nginx = [services.require_tool("nginx"), "-e", "stderr", "-t", "-c", str(file)]
    judged = subprocess.run(nginx, check=False, capture_output=True, text=True)
    assert (judged.returncode, judged.stderr.count("successful"), "warn" in judged.stderr) == (0, 1, False), judged


def listens(address: str) -> bool:
    """Return True if a server accepts connections at `address`."""
    host, _, port = address.rpartition(":")
    with socket.socket() as connection:
        return connection.connect_ex((host, int(port))) == 0


async def say(address: str, path: str) -> dict[str, Any]:
    """Open a WebSocket, as soon as the gateway listens, send a message, return the answer."""
    await eventually(lambda: listens(address), f"a server at {address}")
    async with aiohttp.ClientSession() as session, session.ws_connect(f"ws://{address}{path}") as web_socket:
        await web_socket.send_str("hallo")
        answer: dict[str, Any] = await web_socket.receive_json(timeout=10)
        return answer


async def test_gateway_routes_each_language_to_its_engine(
    site: ContainerSite, stocked: Azurite, tmp_path: Path
) -> None:
    """The configuration is valid, and ws://…/LANGUAGE leads to the engine of the language."""
    site.use(stocked, REALTIME_LANGUAGES="nl-nl@2026.07,en-us")
    render(site)
    judge(site.config()["configs"]["gateway"]["content"].replace("$$", "$"), tmp_path / "nginx.conf")

    site.compose("up", "--detach")
    for language in ("nl-nl", "en-us"):
        assert ask(site, f"{ENGINE}-{language}")["language"] == language
    address = site.address()
    dutch, english = await say(address, "/nl-nl"), await say(address, "/en-us/v1/listen?token=secret&rate=16000")
    assert (dutch["packs"], dutch["path"], dutch["heard"]) == ({"nl-nl": "2026.07", "common": "2026.04"}, "/", "hallo")
    assert (english["language"], english["path"]) == ("en-us", "/v1/listen?token=secret&rate=16000")
    async with aiohttp.ClientSession() as session, session.get(f"http://{address}/nl-nlx") as answer:
        assert (answer.status, await answer.text()) == (404, "unknown language; available: /en-us /nl-nl\n")
    logged = [line.split('"')[1] for line in site.log(ENGINE)]
    assert logged == ["GET /nl-nl", "GET /en-us/v1/listen", "GET /nl-nlx"]


async def test_up_adds_and_removes_the_gateway(site: ContainerSite, stocked: Azurite) -> None:
    """From one language to two and back: asr-server becomes the gateway, then the engine again."""
    site.use(stocked)
    site.compose("up", "--detach")
    assert ask(site)["language"] == "nl-nl"
    site.set(REALTIME_LANGUAGES="nl-nl,en-us")
    render(site)
    site.compose("up", "--detach")
    assert ask(site, f"{ENGINE}-en-us")["language"] == "en-us"
    assert (await say(site.address(), "/en-us"))["language"] == "en-us"
    site.set(REALTIME_LANGUAGES="nl-nl")
    site.files.remove(LANGUAGES)
    site.compose("up", "--detach", "--remove-orphans")
    assert ask(site)["language"] == "nl-nl"
    assert "en-us" not in site.compose("ps", "--all", "--services")
