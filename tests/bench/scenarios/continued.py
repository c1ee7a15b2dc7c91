"""Installs that are killed and run again: the time of the second run, and the bytes of both."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from tests import services
from tests.bench import peers, servers, tools
from tests.bench.bench import able, enter, require_same, rounds
from tests.bench.peers import ARIA2, AZCOPY, CASYNC, CURL, RSYNC, ZCHUNK, Transfer
from tests.bench.scenarios.relay import relay
from tests.bench.scenarios.setup import FEW, blob_service, from_azurite, large, run, served, upgrades

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tests.bench.bench import Bench, Row, Run
    from tests.bench.datasets import DatasetFiles
    from tests.bench.peers import Contender
    from tests.bench.scenarios.relay import NearEnd
    from tests.bench.servers import Nginx
    from tests.services.azurite import Azurite

_SAVED = 1.5  # seconds after which aria2 has saved its progress


def resume(bench: Bench, row: Row) -> None:
    """Resume after SIGKILL at 90 % of the archive, on a disk, with sync."""
    dataset = large(bench)
    files = dataset.stocked(bench.work, foreign=False)
    again = peers.RESUMING[ARIA2]
    with served(bench, files) as server:
        for number, contender in rounds(bench, able(row, [bench.program.contender(), again])):
            with bench.directory(on_disk=True) as directory:
                case = Transfer(files, directory, server.origin)
                _killed(contender.make(case), case, server)
                server.forget()
                figures = bench.measure(contender.make(case), directory, sync=True)
                sent = server.sent()
                require_same(contender.name, contender.result(case), files.listing())
            enter(bench, row, run("resume", contender.name, number, figures, sent))


def _killed(command: peers.PeerCommand, case: Transfer, server: Nginx) -> None:
    """Kill the command and everything it started at 90 % of the archive."""
    enough = case.files.archive().stat().st_size * 9 // 10
    with relay(server.port, "--only", str(enough)) as near_end:
        origin = f"http://127.0.0.1:{near_end.port}"
        environment = {name: text.replace(case.origin, origin) for name, text in command.environment.items()}
        arguments = [part.replace(case.origin, origin) for part in command.arguments]
        _kill_at_limit(replace(command, arguments=arguments, environment=environment), case.directory, near_end)


def _kill_at_limit(command: peers.PeerCommand, directory: Path, near_end: NearEnd) -> None:
    """Run a command until the proxy has sent the allowed bytes, then kill it and everything that it started."""
    with subprocess.Popen(
        command.arguments,
        cwd=command.cwd or directory,
        env={**os.environ, **command.environment},
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        near_end.await_limit()
        time.sleep(_SAVED)
        os.killpg(process.pid, signal.SIGKILL)


def interrupted(bench: Bench, row: Row) -> None:
    """Bytes received by an install that is killed at half of the archive and run again, both runs together."""
    files = upgrades(bench).stocked(bench.work, foreign=True)
    with served(bench, files) as server:
        setting = partial(_from_port, files)
        _interrupted(bench, row, Interruption("nginx", server.port, setting), (ARIA2, CURL, CASYNC, ZCHUNK))
    if not tools.absent(["rsync"]):
        with bench.directory() as directory, servers.rsync(files.directory / "trees", directory / "rsync") as url:
            port = urlsplit(url).port or 0
            _interrupted(bench, row, Interruption("rsync", port, setting), (RSYNC,))
    with blob_service(bench, row, tls=False) as service:
        if service:
            service.put_tree(files.site / "models")
            port = urlsplit(service.origin).port or 0
            setting = partial(_from_azurite_port, files, service)
            _interrupted(bench, row, Interruption("Azurite", port, setting), (AZCOPY,))


class Interruption(NamedTuple):
    """An install to interrupt: its name, the server's port, and its setup for a proxy's port and a directory."""

    name: str
    port: int
    setting: Callable[[int, Path], Transfer]


def _interrupted(bench: Bench, row: Row, wanted: Interruption, names: Sequence[str]) -> None:
    contenders = [peers.RESUMING[name] for name in names]
    if wanted.name != "rsync":
        contenders.insert(0, bench.program.contender())
    for number, contender in rounds(bench, able(row, contenders), min(FEW, bench.pairs)):
        with bench.directory() as directory:
            enter(bench, row, _killed_and_run_again(bench, wanted, contender, directory, number))


def _killed_and_run_again(
    bench: Bench, wanted: Interruption, contender: Contender, directory: Path, number: int
) -> Run:
    """Kill a run, run it again through a proxy at the same port, and count the bytes of both."""
    port = services.free_port()
    case = wanted.setting(port, directory)
    size = case.files.archive().stat().st_size
    with relay(wanted.port, "--port", str(port), "--only", str(size // 2)) as near_end:
        _kill_at_limit(contender.make(case), directory, near_end)
        first = near_end.received()
    with relay(wanted.port, "--port", str(port)) as near_end:
        figures = bench.measure((contender.again or contender.make)(case), directory)
        both = first + near_end.received()
    require_same(contender.name, contender.result(case), case.files.listing())
    return run(wanted.name, contender.name, number, figures, both, archive=size, first=first)


def _from_port(files: DatasetFiles, port: int, directory: Path) -> Transfer:
    return Transfer(files, directory, f"http://127.0.0.1:{port}", rsync=f"rsync://127.0.0.1:{port}/trees")


def _from_azurite_port(files: DatasetFiles, service: Azurite, port: int, directory: Path) -> Transfer:
    near_end = replace(service, origin=f"http://127.0.0.1:{port}")
    return from_azurite(files, near_end, directory)
