"""The token is in no output and no file of the program, nor in the list of processes."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.eventually import eventually
from tests.services.faults import (
    Answer,
    Cut,
    FlippedBit,
    Raw,
    Stall,
    WholeObject,
    expired,
    redirect,
    refused,
    throttled,
)
from tests.services.faulty import FOREVER, FaultyServer, Reply
from tests.site import COMMON, DUTCH, archive_key, in_container
from tests.tokens import CANARY, leaks, token

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.services.faulty import Fault
    from tests.site import Done, Packs, Site

_HEADERS = {"x-ms-error-code": token(), "Content-Type": "application/xml"}
_ECHO = Answer(Reply(400, _HEADERS, f"<Error><Code>{CANARY}</Code></Error>".encode()), times=FOREVER)

_BUGS = """
import asyncio, logging, os, sys, threading, urllib.parse, warnings
from models_init.sources.azure import source as azure

def fail(text):
    raise RuntimeError(text)

def chained(text):
    try:
        fail(text)
    except RuntimeError as error:
        raise KeyError("bug") from error

def noted(text):
    error = RuntimeError("bug")
    error.add_note(text)
    raise error

def in_thread(text):
    thread = threading.Thread(target=fail, args=[text])
    thread.start()
    thread.join()

async def bug(self, key, start, stop, sink):
    query = self._token.query
    {
        "raised": lambda: fail(f"GET https://host/x?{query} failed"),
        "raised decoded": lambda: fail(urllib.parse.unquote(query)),
        "raised encoded twice": lambda: fail(urllib.parse.quote(query, safe="")),
        "raised signature": lambda: fail(self._token.field("sig")),
        "raised repr": lambda: fail(repr({"url": [query], "sig": self._token.field("sig")})),
        "chained": lambda: chained(query),
        "noted": lambda: noted(self._token.field("sig")),
        "printed": lambda: print(query, self._token.field("sig"), file=sys.stderr),
        "warned": lambda: warnings.warn(query),
        "logged": lambda: logging.getLogger("library").error("GET %s", query),
        "handler": lambda: asyncio.get_running_loop().call_exception_handler({"message": query}),
        "in a thread": lambda: in_thread(query),
    }[os.environ["BUG"]]()
    raise RuntimeError("bug")

azure.AzureSource.get_range = bug
"""


@dataclass(frozen=True)
class SiteWithToken:
    """A site with the canary as its token, at level debug."""

    site: Site
    packs: Packs

    async def run(self, server: FaultyServer, *arguments: str, **variables: str) -> Done:
        """Run the program against a server."""
        served = self.site.but(**in_container(self.packs, server.url, token()), MODELS_LOG_LEVEL="debug")
        return await asyncio.to_thread(served.run, *arguments, **variables)

    def leaks(self, done: Done) -> list[str]:
        """Return the places of the canary: a stream, a file of the volume, or a name in it."""
        found = [name for name, text in (("stdout", done.out), ("stderr", done.err)) if leaks(text)]
        files = sorted(self.site.volume.rglob("*"))
        return found + [
            str(path) for path in files if leaks(str(path)) or (path.is_file() and leaks(path.read_bytes()))
        ]


@pytest.fixture
def with_token(site: Site, packs: Packs) -> SiteWithToken:
    return SiteWithToken(site, packs)


@pytest.mark.parametrize(
    ("arguments", "log_format"),
    [([], "text"), (["--json"], "json"), (["--plan"], "json"), (["--plan", "--json"], "text"), (["--status"], "text")],
)
async def test_successful_run_does_not_show_the_token(
    with_token: SiteWithToken, arguments: list[str], log_format: str
) -> None:
    """The token is in no result, no log and no file of the volume."""
    async with FaultyServer(with_token.packs.objects(), [throttled(times=2)], token=token()) as server:
        done = await with_token.run(server, *arguments, MODELS_LOG_FORMAT=log_format)
    assert done.code == 0
    assert with_token.leaks(done) == []


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (expired(), 22),
        (refused(403, "AuthenticationFailed", f"Signature did not match. sig={CANARY}"), 22),
        (_ECHO, 20),
        (throttled(times=FOREVER), 20),
        (redirect(f"https://elsewhere.invalid/?{token()}"), 20),
        (Raw(f"HTTP/1.1 {token()}\r\n\r\n".encode(), times=FOREVER), 20),
        (WholeObject(on="*.zst", times=FOREVER), 20),
        (FlippedBit(at=1000, on="*.zst", times=FOREVER), 30),
        (Answer(Reply(200, {}, token().encode()), on="*.json", times=FOREVER), 10),
        (Answer(Reply(200, {}, f'{{"schema": "{token()}"}}'.encode()), on="*.json", times=FOREVER), 10),
        (Answer(Reply(404, _HEADERS), times=FOREVER), 21),
    ],
    ids=repr,
)
async def test_errors_of_a_source_do_not_show_the_token(with_token: SiteWithToken, fault: Fault, code: int) -> None:
    """The errors include refusals, wrong bytes, and a server that returns the token."""
    async with FaultyServer(with_token.packs.objects(), [fault]) as server:
        done = await with_token.run(server, "--json", MODELS_LOG_FORMAT="json", MODELS_RETRY_SECONDS="0.1")
    assert done.code == code
    assert with_token.leaks(done) == []


@pytest.mark.parametrize(
    ("arguments", "variables", "code"),
    [
        ([f"--sas-token={token()}"], {}, 2),
        ([token()], {}, 2),
        (["--url", f"https://host/models?{token()}"], {}, 2),
        ([], {"MODELS_PREFIX": f"?{token()}"}, 21),
        ([], {"REALTIME_LANGUAGES": token()}, 2),
        ([], {"MODELS_LOG_FORMAT": token()}, 2),
        ([], {"MODELS_SAS_TOKEN_FILE": token()}, 2),
        ([], {"MODELS_CA_FILE": f"/{token()}"}, 2),
        ([], {"MODELS_SAS_TOKEN": token()[:-4]}, 22),
        ([], {"MODELS_SAS_TOKEN": f"{token()} {token()}"}, 22),
        ([], {"REALTIME_LANGUAGE_VERSION": "1999.01"}, 21),
        ([], {"MODELS_DIR": "/proc/models"}, 40),
    ],
)
async def test_invalid_settings_do_not_show_the_token(
    with_token: SiteWithToken, arguments: list[str], variables: Mapping[str, str], code: int
) -> None:
    """The token is in a setting that must not contain it."""
    async with FaultyServer(with_token.packs.objects(), token=token()) as server:
        done = await with_token.run(server, *arguments, **variables)
    assert done.code // 10 == code // 10
    assert with_token.leaks(done) == []


@pytest.mark.parametrize(
    "bug",
    [
        *("raised", "raised decoded", "raised encoded twice", "raised signature", "raised repr", "chained", "noted"),
        *("printed", "warned", "logged", "handler", "in a thread"),
    ],
)
async def test_traceback_of_a_bug_does_not_show_the_token(with_token: SiteWithToken, tmp_path: Path, bug: str) -> None:
    """A bug raises, prints, logs or warns with the token in a variable.

    The token comes from a file, which the program reads late.
    """
    (tmp_path / "bugs").mkdir()
    (tmp_path / "bugs/sitecustomize.py").write_text(_BUGS)
    (tmp_path / "token").write_text(token() + "\n")
    secret = {"MODELS_SAS_TOKEN": "", "MODELS_SAS_TOKEN_FILE": str(tmp_path / "token")}
    async with FaultyServer(with_token.packs.objects(), token=token()) as server:
        done = await with_token.run(server, PYTHONPATH=str(tmp_path / "bugs"), BUG=bug, **secret)
    assert done.code == 1
    assert "Traceback (most recent call last)" in done.err
    assert "this is a bug in this program" in done.err
    assert "[redacted]" in done.err
    assert with_token.leaks(done) == []


async def test_development_mode_of_python_does_not_show_the_token(with_token: SiteWithToken) -> None:
    """The debug mode of asyncio is on as well."""
    faults = [Cut(at=1000, on=archive_key(DUTCH)), throttled(), expired(times=FOREVER)]
    async with FaultyServer(with_token.packs.objects(), faults) as server:
        done = await with_token.run(server, PYTHONDEVMODE="1", PYTHONASYNCIODEBUG="1")
    assert done.code == 22
    assert with_token.leaks(done) == []


async def test_list_of_processes_does_not_show_the_token(with_token: SiteWithToken) -> None:
    """During the download, no command line of the process or its children has it."""
    stall = Stall(on=archive_key(COMMON), times=FOREVER)
    async with FaultyServer(with_token.packs.objects(), [stall]) as server:
        served = with_token.site.but(**in_container(with_token.packs, server.url, token()))
        with served.start() as process:
            await eventually(lambda: any(seen.key == archive_key(COMMON) for seen in server.seen), "the first range")
            shown = b"".join(_command_lines())
            assert str(process.pid).encode() in shown
    assert b"models_init" in shown
    assert not leaks(shown)


def _command_lines() -> list[bytes]:
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            found.append(directory.name.encode() + b" " + (directory / "cmdline").read_bytes())
        except OSError:  # it has ended meanwhile
            continue
    return found


async def test_search_finds_a_token_in_output(with_token: SiteWithToken) -> None:
    """The search of these tests finds a token on a stream, in a name, and in a file."""
    async with FaultyServer(with_token.packs.objects()) as server:
        done = await with_token.run(server)
    assert with_token.leaks(replace(done, err=done.err + token(), out=CANARY)) == ["stdout", "stderr"]
    (with_token.site.volume / f"x-{token()}").touch()
    (with_token.site.volume / "packs/common/2026.04/y").write_text(f"y{CANARY}")
    assert len(with_token.leaks(done)) == 2
    shutil.rmtree(with_token.site.volume)  # otherwise the search of the session finds it


_SAMPLE = """
import logging, subprocess, sys
from tests.tokens import real, token

def test_prints():
    print(token())

def test_logs():
    logging.getLogger("x").warning("https://host/x?%s", token())

def test_writes(tmp_path):
    (tmp_path / "some.log").write_text("GET /x?" + token())

def test_names(tmp_path):
    (tmp_path / token()).touch()

def test_links(tmp_path):
    (tmp_path / "link").symlink_to(token())

def test_runs_a_process():
    subprocess.run([sys.executable, "-c", "import sys; sys.stderr.write(sys.stdin.read())"], input=token(), text=True,
        capture_output=True)

def test_reads_its_own_output(capsys):
    print(token())
    capsys.readouterr()

def test_signs(tmp_path):
    signed = real("sv=1&sig=aaaaBBBBccccDDDDeeeeFFFF%2Bggg%3D")
    (tmp_path / "some.json").write_text("GET /x?" + signed.replace("%2B", "-"))

def test_is_innocent(tmp_path):
    print("nothing")
    (tmp_path / "token").write_text(token())
"""


_PLACES = [
    *("test_prints: Captured stdout call", "test_logs: Captured log call", "/some.log", "the name of a file in "),
    *("/link, a link", "test_runs_a_process: stderr of python", "test_reads_its_own_output: stdout", "/some.json"),
]


@pytest.mark.parametrize(("chosen", "places"), [("not innocent", _PLACES), ("innocent", [])])
def test_plugin_finds_tokens_in_the_whole_suite(chosen: str, places: list[str], tmp_path: Path) -> None:
    """Tests that leak a token fail the session, which names the places without the token."""
    (tmp_path / "test_sample.py").write_text(_SAMPLE)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.canary", "-p", "no:cacheprovider", "-k", chosen]
    command += ["-c", os.devnull, f"--rootdir={tmp_path}", f"--basetemp={tmp_path / 'base'}", "test_sample.py"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == bool(places), done.stdout
    assert f"{len(places) or 1} passed" in done.stdout
    assert [place for place in places if place not in done.stdout] == []
    assert not leaks(done.stdout + done.stderr)
    shutil.rmtree(tmp_path / "base", ignore_errors=True)
