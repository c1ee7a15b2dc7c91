"""The scenarios: each prepares servers and packs, runs the programs in turn, and saves their figures."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from string import ascii_lowercase
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from models_init.core.events import NullObserver
from models_init.formats.manifest import MIB
from models_init.publish.inspection.chunk_sizes import estimates, recommended
from models_init.publish.pack.version_directory import VersionDirectory
from models_init.publish.upload.registry import PushOptions, push_all
from models_init.sources.oci.registry import RegistryAccess
from models_init.sources.wrappers.retry import Retrier, RetryPolicy
from tests import services
from tests.bench import peers, servers, tools, trees
from tests.bench.bench import Contest, Figures, Row, Run, able, compete, enter, require_same, rounds
from tests.bench.datasets import COMMON, FIRST, PACK, Dataset, DatasetFiles
from tests.bench.peers import (
    ARIA2,
    AZCOPY,
    CASYNC,
    CURL,
    ORAS,
    OURS,
    PEERS,
    RCLONE,
    RCLONE_AZURE,
    RSYNC,
    RSYNC_C,
    SDK,
    SKOPEO,
    ZCHUNK,
    Contender,
    Transfer,
)
from tests.bench.thresholds import WRITING
from tests.services import certificates

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from tests.bench.bench import Bench
    from tests.bench.servers import Nginx
    from tests.services.azurite import Azurite

GIB = 1 << 30
_SAVED = 1.5  # seconds after which aria2 has written down what it has
_FEW = 2  # rounds of a peer that takes long and of whom no goal speaks
_SHELL = 16 * MIB  # bytes of the packs of which only the number matters


def small(bench: Bench) -> Dataset:
    """1 GiB of many small files."""
    return Dataset("small", trees.Small(size=bench.scaled(GIB)))


def large(bench: Bench) -> Dataset:
    """2 GiB in a few large files of floats."""
    return Dataset("large", trees.Large(tuple(bench.scaled(part * GIB // 8) for part in (8, 4, 2, 1, 1))))


def dense(bench: Bench) -> Dataset:
    """1 GiB of incompressible data."""
    return Dataset("dense", trees.Large(tuple(bench.scaled(part * GIB // 4) for part in (2, 1, 1)), dense=True))


def upgrades(bench: Bench) -> Dataset:
    """Ten large files, and three later versions."""
    changes = {
        "one-in-ten": trees.one_changed,
        "one-percent": trees.places_changed,
        "inserted": trees.front_grown,
    }
    return Dataset("upgrades", trees.Large((bench.scaled(GIB) // 20,) * 10), changes)


@contextmanager
def served(bench: Bench, files: DatasetFiles, *, tls: bool = False) -> Iterator[Nginx]:
    """Serve a dataset with nginx; read it into the page cache first."""
    with bench.directory() as directory, servers.nginx(files.site, directory / "nginx", tls=tls) as server:
        case = Transfer(files, directory, server.origin, authority=server.authority)
        bench.measure(peers.nowhere(case), directory)
        yield server


# -- first install


def first_http(bench: Bench, row: Row) -> None:
    """First install from nginx, without TLS."""
    _first(bench, row, tls=False)


def first_tls(bench: Bench, row: Row) -> None:
    """First install from nginx with TLS; casync and zchunk cannot be given a CA file."""
    _first(bench, row, tls=True)


def _first(bench: Bench, row: Row, *, tls: bool) -> None:
    asked = [bench.program.contender(), PEERS[ARIA2], PEERS[CURL]]
    datasets = [small(bench), large(bench)] if tls else [small(bench), large(bench), dense(bench)]
    for dataset in datasets:
        files = dataset.stocked(bench.work, foreign=False)
        with served(bench, files, tls=tls) as server:
            setting = partial(_from, files, server)
            compete(bench, row, Contest(dataset.name, setting, server), asked)
            if not tls:
                compete(
                    bench, row, Contest(dataset.name, setting, server), [PEERS[RCLONE]], pairs=min(_FEW, bench.pairs)
                )
                _limits(bench, row, Contest(dataset.name, setting, server))
    if not tls:
        _first_in_chunks(bench, row)


def _first_in_chunks(bench: Bench, row: Row) -> None:
    """Compare with programs that have their own formats, on a pack that they can install in reasonable time."""
    dataset = Dataset("chunks", trees.Large((bench.scaled(GIB) // 4,)))
    files = dataset.stocked(bench.work, foreign=True)
    with served(bench, files) as server:
        asked = [bench.program.contender(), PEERS[CASYNC], PEERS[ZCHUNK]]
        compete(
            bench,
            row,
            Contest(dataset.name, partial(_from, files, server), server),
            asked,
            pairs=min(_FEW, bench.pairs),
        )


def _from(files: DatasetFiles, server: Nginx, directory: Path) -> Transfer:
    return Transfer(files, directory, server.origin, authority=server.authority)


def _limits(bench: Bench, row: Row, contest: Contest) -> None:
    """Measure the limit: the necessary work on all cores, without and with sending and receiving on these cores."""
    name, server = contest.name, contest.server
    assert isinstance(server, servers.Nginx)
    for number in range(bench.pairs):
        with bench.directory() as directory:
            case = contest.setting(directory)
            archive = case.files.archive()
            command = [
                sys.executable,
                "-m",
                "tests.bench.limit",
                str(archive),
                str(archive.with_name("manifest.json")),
                str(directory / "tree"),
            ]
            done = subprocess.run(command, check=True, capture_output=True)
            spent = json.loads(done.stdout)
            total = sum(spent.values())
            enter(bench, row, Run(name, "the limit", number, total / tools.cores(), total, 0, facts=spent))
            before = server.cpu()
            figures = bench.measure(peers.nowhere(case), directory)
            enter(bench, row, _run(name, "into nowhere", number, figures))
            spent |= {"receiving": figures.cpu, "sending": server.cpu() - before}
            total = sum(spent.values())
            enter(bench, row, Run(name, "with the transfer", number, total / tools.cores(), total, 0, facts=spent))


def azurite(bench: Bench, row: Row) -> None:
    """First install from Azurite, without TLS, compared with the clients for Azure."""
    _azurite(bench, row, tls=False)


def azurite_tls(bench: Bench, row: Row) -> None:
    """First install from Azurite with TLS, compared with the clients for Azure."""
    _azurite(bench, row, tls=True)


def _azurite(bench: Bench, row: Row, *, tls: bool) -> None:
    with blob_service(bench, row, tls=tls) as service:
        if service:
            dataset = Dataset("azurite", trees.Large((bench.scaled(GIB) // 4,) * 4))
            files = dataset.stocked(bench.work, foreign=False)
            service.put_tree(files.site / "models")
            names = (AZCOPY, ARIA2, CURL, RCLONE_AZURE, SDK)
            asked = [bench.program.contender(), *(PEERS[name] for name in names)]
            setting = partial(_from_azurite, files, service)
            compete(bench, row, Contest(dataset.name, setting, servers.BlobTraffic(service)), asked)


@contextmanager
def blob_service(bench: Bench, row: Row, *, tls: bool) -> Iterator[Azurite | None]:
    """Run Azurite; yield None, and note the remedy, if the machine lacks what it needs."""
    from tests.services import azurite as part  # noqa: PLC0415 - the SDK is needed by these rows alone

    if lacking := tools.absent(["node", "npm"]):
        row.skipped["Azurite"] = tools.remedy(lacking)
        yield None
        return
    with bench.directory() as directory:
        issued = certificates.issue(directory) if tls else None
        with part.serve(part.install(), certificates=issued) as service:
            yield service


def _from_azurite(files: DatasetFiles, service: Azurite, directory: Path) -> Transfer:
    return Transfer(
        files,
        directory,
        "",
        authority=service.certificate_authority,
        container=service.container_url,
        query=service.sas("rl"),
    )


def registry(bench: Bench, row: Row) -> None:
    """First install from a container registry, compared with skopeo and oras."""
    from tests.services import registry as part  # noqa: PLC0415 - only this scenario needs a registry

    if lacking := tools.absent(["docker-registry"]):
        row.skipped["docker-registry"] = tools.remedy(lacking)
        return
    for dataset in (small(bench), large(bench)):
        files = dataset.stocked(bench.work, foreign=False)
        with bench.directory(on_disk=True) as directory, part.serve(directory) as served:
            asyncio.run(_publish(files, served.host))
            contest = Contest(dataset.name, partial(_from_registry, files, served.host))
            compete(bench, row, contest, [bench.program.contender(), PEERS[SKOPEO], PEERS[ORAS]])


async def _publish(files: DatasetFiles, host: str) -> None:
    """Publish the first version and the common pack in a registry."""
    common = files.site / "models" / COMMON.name / COMMON.version
    found = [VersionDirectory(files.archive().parent), VersionDirectory(common)]
    access = RegistryAccess(f"http://{host}", "models")
    await push_all(found, access, PushOptions(Retrier(RetryPolicy(attempts=1))), NullObserver())


def _from_registry(files: DatasetFiles, host: str, directory: Path) -> Transfer:
    return Transfer(files, directory, "", registry=host)


# -- on a line


@dataclass(frozen=True)
class NetworkLine:
    """A line: payload in bytes per second, round trip in seconds, and the rates of connections."""

    rate: float
    round_trip: float
    each: float = 0.0
    throttled: float = 0.0


@contextmanager
def proxied(server: Nginx, line: NetworkLine) -> Iterator[str]:
    """Put a line before a server; yield the origin of its near end."""
    options = ["--rate", str(line.rate), "--round-trip", str(line.round_trip)]
    with relay(server.port, *options, "--each", str(line.each), "--throttled", str(line.throttled)) as near_end:
        yield f"http://127.0.0.1:{near_end.port}"


class NearEnd(NamedTuple):
    """The end of a line to which clients connect."""

    port: int
    process: subprocess.Popen[str]

    def await_limit(self) -> None:
        """Wait until the proxy has sent the bytes that `--only` allows."""
        self._line()

    def received(self) -> int:
        """Return the bytes that clients have received."""
        self.process.send_signal(signal.SIGUSR1)
        return int(self._line())

    def _line(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline()


@contextmanager
def relay(port: int, *options: str) -> Iterator[NearEnd]:
    """Put a proxy before the server at a port."""
    command = [sys.executable, "-m", "tests.bench.throttling_proxy", "--to", str(port), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield NearEnd(int(process.stdout.readline()), process)
        finally:
            process.kill()


def line(bench: Bench, row: Row) -> None:
    """Lines of 100 Mbit/s and 1 Gbit/s with round trips of 1 ms and 40 ms, and one with a slow connection."""
    gigabit, slow = 125e6, 12.5e6
    half = Dataset("line-512", trees.Large((bench.scaled(512 * MIB) // 2,) * 2))
    less = Dataset("line-64", trees.Large((bench.scaled(64 * MIB) // 2,) * 2))
    for dataset, rate in ((less, slow), (large(bench), gigabit)):
        lines = {
            f"{rate * 8 / 1e6:.0f} Mbit/s, {round_trip * 1000:.0f} ms": NetworkLine(rate, round_trip)
            for round_trip in (0.001, 0.04)
        }
        _on_lines(bench, row, dataset.stocked(bench.work, foreign=False), lines)
    even = NetworkLine(gigabit, 0.001, each=gigabit / 4)
    throttled = replace(even, throttled=even.each / 10)
    _on_lines(bench, row, half.stocked(bench.work, foreign=False), {"even": even, "one throttled": throttled})


def _on_lines(bench: Bench, row: Row, files: DatasetFiles, lines: Mapping[str, NetworkLine]) -> None:
    with served(bench, files) as server:
        for number, contender in rounds(bench, able(row, [bench.program.contender(), PEERS[ARIA2]])):
            if contender.name == OURS or number < _FEW:
                for name, each in lines.items():
                    figures, sent = _carried(bench, Passage(files, server, each, contender))
                    ideal = files.archive().stat().st_size / each.rate
                    enter(bench, row, _run(name, contender.name, number, figures, sent, ideal=ideal))


class Passage(NamedTuple):
    """An install of a dataset from a server over a line."""

    files: DatasetFiles
    server: Nginx
    line: NetworkLine
    contender: Contender


def _carried(bench: Bench, passage: Passage) -> tuple[Figures, int]:
    files, server, line, contender = passage
    with bench.directory() as directory, proxied(server, line) as origin:
        server.forget()
        case = Transfer(files, directory, origin)
        figures = bench.measure(contender.make(case), directory)
        sent = server.sent()
        require_same(contender.name, contender.result(case), files.listing())
    return figures, sent


# -- upgrade


def upgrade(bench: Bench, row: Row) -> None:
    """Upgrade from one version to the next."""
    _upgrades(bench, row, upgrades(bench), (ARIA2, CURL, CASYNC, ZCHUNK, RSYNC, RSYNC_C))


def in_place(bench: Bench, row: Row) -> None:
    """Upgrade after a change of one percent of every large file, with the chunk size that `compare` recommends."""
    dataset = upgrades(bench)
    files = dataset.stocked(bench.work, foreign=False)
    old, new = (VersionDirectory(files.archive(version).parent) for version in (FIRST, "one-percent"))
    best = recommended(estimates(old, new, NullObserver())).chunk_size
    _upgrades(bench, row, replace(dataset, chunk_size=best), (CASYNC, ZCHUNK, RSYNC_C), ("one-percent",))


def inserted(bench: Bench, row: Row) -> None:
    """Upgrade after an insertion at the beginning of larger files."""
    dataset = replace(large(bench), name="grown", changes={"inserted": trees.front_grown})
    _upgrades(bench, row, dataset, (CASYNC, RSYNC_C))


def _upgrades(bench: Bench, row: Row, dataset: Dataset, peers: Sequence[str], versions: Sequence[str] = ()) -> None:
    """Measure the upgrades to some versions of a dataset, or to all."""
    files = dataset.stocked(bench.work, foreign=True)
    asked = able(row, [bench.program.contender(), *(PEERS[name] for name in peers)])
    with ExitStack() as stack:
        server = stack.enter_context(served(bench, files))
        before = stack.enter_context(bench.directory())
        address = ""
        if not tools.absent(["rsync"]):
            address = stack.enter_context(servers.rsync(files.directory / "trees", before / "rsync"))
        _install(bench, Transfer(files, before, server.origin))
        shutil.copytree(files.tree(), before / "old")
        first = Transfer(files, before, server.origin, old=before / "old", old_zck=files.zck(), rsync=address)
        for version in versions or dataset.changes:
            for number, contender in rounds(bench, asked):
                if contender.name not in {CASYNC, ZCHUNK} or number < _FEW:
                    enter(bench, row, _upgraded(bench, replace(first, version=version), server, contender, number))


def _upgraded(bench: Bench, pattern: Transfer, server: Nginx, contender: Contender, number: int) -> Run:
    with bench.directory() as directory:
        case = replace(pattern, directory=directory)
        if contender.name == OURS:
            _copy_volume(pattern.directory / "volume", directory / "volume")
        server.forget()
        figures = bench.measure(contender.make(case), directory)
        sent = _bytes_of_rsync(bench.output()) if contender.name.startswith(RSYNC) else server.sent()
        archive = server.sent(f"/models/{PACK}/{case.version}/pack.tar.zst")
        require_same(contender.name, contender.result(case), case.files.listing(case.version))
    ideal = _ideal(case.files, case.version)
    facts = {"ideal": ideal, "archive": archive, "chunk_size": case.files.chunk_size}
    return _run(case.version, contender.name, number, figures, sent, **facts)


def _bytes_of_rsync(output: str) -> int:
    """Return the bytes that rsync reports, because its daemon is not behind the server that counts."""
    found = re.search(r"Total bytes received: ([0-9,]+)", output)
    return int(found[1].replace(",", "")) if found else 0


def _ideal(files: DatasetFiles, version: str) -> int:
    """Return the compressed size of the chunks that the first version does not have."""
    old = {chunk.digest for file in files.manifest().files for chunk in file.chunks}
    fresh = {
        chunk.digest: chunk.length
        for file in files.manifest(version).files
        for chunk in file.chunks
        if chunk.digest not in old
    }
    return sum(fresh.values())


def _copy_volume(old: Path, new: Path) -> None:
    """Copy a volume with hard links, which suffices because installed files are never changed."""
    subprocess.run(["cp", "-al", old, new], check=True)


# -- afterwards


def _install(bench: Bench, case: Transfer) -> None:
    """Install without measuring."""
    bench.measure(bench.program.command(case), case.directory)
    require_same(OURS, peers.installed(case), case.files.listing(case.version))


@contextmanager
def _site(bench: Bench, dataset: Dataset) -> Iterator[Transfer]:
    """A site with the first version of the dataset installed."""
    files = dataset.stocked(bench.work, foreign=False)
    with served(bench, files) as server, bench.directory() as directory:
        case = Transfer(files, directory, server.origin)
        _install(bench, case)
        yield case


def restart(bench: Bench, row: Row) -> None:
    """Start with nothing to do, compared with a bare Python that imports one module."""
    bare = peers.PeerCommand([str(bench.program.python), "-c", "import json"])
    with _site(bench, Dataset("shell", trees.Small(size=_SHELL))) as case:
        again = bench.program.command(case)
        for number in range(4 * bench.pairs):
            for name, command in ((OURS, again), ("python3 -c 'import json'", bare)):
                enter(bench, row, _run("restart", name, number, bench.measure(command, case.directory)))


def verify(bench: Bench, row: Row) -> None:
    """Verify everything installed, compared with sha256sum on all cores."""
    for dataset in (small(bench), large(bench)):
        with _site(bench, dataset) as case:
            tree = peers.installed(case)
            hashing = peers.parallel_sha256sum(tree, len(case.files.listing()))
            for number in range(bench.pairs):
                for name, command in ((OURS, bench.program.command(case, "--verify")), ("sha256sum", hashing)):
                    enter(bench, row, _run(dataset.name, name, number, bench.measure(command, case.directory)))


def back(bench: Bench, row: Row) -> None:
    """Roll back; prune, compared with rm -r of the same tree."""
    dataset = upgrades(bench)
    files = dataset.stocked(bench.work, foreign=False)
    with served(bench, files) as server:
        for number in range(bench.pairs):
            with bench.directory() as directory:
                case = Transfer(files, directory, server.origin)
                _install(bench, case)
                for version in ("inserted", "one-in-ten"):
                    _install(bench, replace(case, version=version))
                newest = replace(case, version="one-in-ten")
                figures = bench.measure(bench.program.command(newest, "--rollback"), directory)
                enter(bench, row, _run("rollback", OURS, number, figures))
                shutil.copytree(files.tree(), directory / "copy")
                figures = bench.measure(bench.program.command(newest, "--prune", "--keep", "2"), directory)
                enter(bench, row, _run("prune", OURS, number, figures))
                figures = bench.measure(peers.PeerCommand(["rm", "-r", str(directory / "copy")]), directory)
                enter(bench, row, _run("prune", "rm -r", number, figures))


def resume(bench: Bench, row: Row) -> None:
    """Resume after SIGKILL at nine tenths of the archive, on a disk, with sync."""
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
            enter(bench, row, _run("resume", contender.name, number, figures, sent))


def _killed(command: peers.PeerCommand, case: Transfer, server: Nginx) -> None:
    """Kill the command and everything it started at nine tenths of the archive."""
    enough = case.files.archive().stat().st_size * 9 // 10
    with relay(server.port, "--only", str(enough)) as near_end:
        origin = f"http://127.0.0.1:{near_end.port}"
        environment = {name: text.replace(case.origin, origin) for name, text in command.environment.items()}
        arguments = [part.replace(case.origin, origin) for part in command.arguments]
        _kill_at_limit(replace(command, arguments=arguments, environment=environment), case.directory, near_end)


def _kill_at_limit(command: peers.PeerCommand, directory: Path, near_end: NearEnd) -> None:
    """Run a command until the proxy has sent all that it may send, then kill it and everything that it started."""
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
    for number, contender in rounds(bench, able(row, contenders), min(_FEW, bench.pairs)):
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
    return _run(wanted.name, contender.name, number, figures, both, archive=size, first=first)


def _from_port(files: DatasetFiles, port: int, directory: Path) -> Transfer:
    return Transfer(files, directory, f"http://127.0.0.1:{port}", rsync=f"rsync://127.0.0.1:{port}/trees")


def _from_azurite_port(files: DatasetFiles, service: Azurite, port: int, directory: Path) -> Transfer:
    near_end = replace(service, origin=f"http://127.0.0.1:{port}")
    return _from_azurite(files, near_end, directory)


# -- growth


def growth(bench: Bench, row: Row) -> None:
    """Growth of an install with the size of the pack and the number of files, installed versions and packs."""
    _growth_of_size(bench, row)
    _growth_of_files(bench, row)
    _growth_of_versions(bench, row)
    _growth_of_packs(bench, row)


def _growth_of_size(bench: Bench, row: Row) -> None:
    for size in (64, 256, 1024, 4096, 8192) if bench.full else (4, 16):
        dataset = Dataset(f"size-{size}", trees.Large((size * MIB // 4,) * 4))
        _grow(bench, row, f"size {size}", dataset, pairs=1 if size > 4096 else 3)


def _growth_of_files(bench: Bench, row: Row) -> None:
    for count in (10, 100, 1000, 10_000, 100_000) if bench.full else (10, 100):
        _grow(bench, row, f"files {count}", _files(count))


def _files(count: int) -> Dataset:
    return Dataset(f"files-{count}", trees.Small(count=count, low=200, high=20_000))


def _grow(bench: Bench, row: Row, name: str, dataset: Dataset, *, pairs: int = 3) -> None:
    files = dataset.stocked(bench.work, foreign=False)
    with served(bench, files) as server:
        contest = Contest(name, partial(_from, files, server), server)
        compete(bench, row, contest, [bench.program.contender()], pairs=min(pairs, bench.pairs))


def _growth_of_versions(bench: Bench, row: Row) -> None:
    """Upgrade a volume with this number of versions installed."""
    most = 50 if bench.full else 4
    changes = {str(number): partial(_touched, number) for number in range(2, most + 2)}
    files = Dataset("versions", trees.Small(size=_SHELL, high=64 << 10), changes).stocked(bench.work, foreign=False)
    with served(bench, files) as server, bench.directory() as directory:
        for number in range(1, most + 2):
            case = Transfer(files, directory, server.origin, version=str(number))
            figures = bench.measure(bench.program.command(case), directory)
            require_same(OURS, peers.installed(case), files.listing(case.version))
            if number > 1:
                enter(bench, row, _run(f"versions {number - 1}", OURS, 0, figures))


def _touched(number: int, directory: Path) -> None:
    for path in sorted(path for path in directory.rglob("*") if path.is_file())[number::50]:
        trees.write(path, f"{number} {path.name}", path.stat().st_size, trees.floats)


def _growth_of_packs(bench: Bench, row: Row) -> None:
    """Install releases of this number of packs and the common one."""
    names = tuple(f"aa-a{letter}" for letter in ascii_lowercase[: 20 if bench.full else 2])
    all_files = {
        name: Dataset(name, trees.Small(size=_SHELL), pack=name).stocked(bench.work, foreign=False) for name in names
    }
    with _published(bench, all_files) as server:
        for count in (1, 2, 5, 10, 20) if bench.full else (1, 2):
            for number in range(min(3, bench.pairs)):
                _grow_packs(bench, row, number, server, {name: all_files[name] for name in names[:count]})


def _grow_packs(bench: Bench, row: Row, number: int, server: Nginx, all_files: Mapping[str, DatasetFiles]) -> None:
    with bench.directory() as directory:
        case = Transfer(next(iter(all_files.values())), directory, server.origin, packs=tuple(all_files))
        figures = bench.measure(bench.program.command(case), directory)
        for name, files in all_files.items():
            require_same(name, (directory / "volume" / "current" / name).resolve(), files.listing())
    enter(bench, row, _run(f"packs {len(all_files)}", OURS, number, figures))


def many(bench: Bench, row: Row) -> None:
    """100,000 small files from nginx, compared with tar from a local file."""
    dataset = _files(100_000 if bench.full else 2000)
    files = dataset.stocked(bench.work, foreign=False)
    local = Contender("tar", partial(_tar, files.archive()), ("tar", "zstd"))
    with served(bench, files) as server:
        contest = Contest("many", partial(_from, files, server), server)
        compete(bench, row, contest, [bench.program.contender(), local, PEERS[ARIA2]])


def _tar(archive: Path, _case: Transfer) -> peers.PeerCommand:
    return peers.PeerCommand(["bash", "-euc", f"mkdir tree; tar --zstd -xf '{archive}' -C tree"])


def disk(bench: Bench, row: Row) -> None:
    """First install on a real disk, with sync after each run."""
    files = large(bench).stocked(bench.work, foreign=False)
    with served(bench, files) as server:
        asked = [bench.program.contender(), PEERS[ARIA2], PEERS[CURL]]
        compete(bench, row, Contest("large", partial(_from, files, server), server), asked, on_disk=True)


# -- sizes of sites


_PARTS = {"nl-nl": 5, "fr-fr": 5, COMMON.name: 1, "whisper-large": 5}
"""The packs of a site, and how many sixteenths of the release each has."""

_ROOM = 2.0
"""Free space that a release needs on the disk, as a multiple of its size: for the archives and the volume."""


def sites(bench: Bench, row: Row) -> None:
    """Install 13 and 30 GiB (two languages, common, whisper) on a disk, verify them, and write as many bytes."""
    for size in (13 * GIB, 30 * GIB):
        name = f"{size // GIB} GiB"
        scaled = size if bench.full else size // 512
        free = shutil.disk_usage(bench.work).free
        if free < _ROOM * scaled:
            row.skipped[name] = f"{bench.work} has {free // GIB} GiB free of {_ROOM * scaled / GIB:.0f} GiB; use --work"
            continue
        with bench.directory(on_disk=True) as work:  # removed after the row: few disks have room for both sizes
            packs = {pack: _part(pack, scaled * part // 16).published(work) for pack, part in _PARTS.items()}
            with _published(bench, packs) as server:
                for number in range(min(_FEW, bench.pairs)):
                    _install_site(bench, row, SiteRelease(name, packs, server), number)


def _part(pack: str, size: int) -> Dataset:
    shares = tuple(size * share // 8 for share in (4, 2, 1, 1))
    return Dataset(f"site-{size // MIB}-{pack}", trees.Large(shares), pack=pack)


class SiteRelease(NamedTuple):
    """A release to install: its name, the files of its packs, and the server."""

    name: str
    packs: Mapping[str, DatasetFiles]
    server: Nginx


def _install_site(bench: Bench, row: Row, site: SiteRelease, number: int) -> None:
    languages = tuple(name for name in site.packs if name not in (COMMON.name, "whisper-large"))
    size = sum(facts[0] for files in site.packs.values() for facts in files.listing().values())
    with bench.directory(on_disk=True) as directory:
        first = site.packs[languages[0]]
        case = Transfer(first, directory, site.server.origin, packs=languages, whisper="large")
        site.server.forget()
        figures = bench.measure(bench.program.command(case), directory, sync=True)
        enter(bench, row, _run(site.name, OURS, number, figures, site.server.sent(), bytes=size))
        for name, files in site.packs.items():
            require_same(name, (directory / "volume" / "current" / name).resolve(), files.listing())
        figures = bench.measure(bench.program.command(case, "--verify"), directory)
        enter(bench, row, _run(f"{site.name}, --verify", OURS, number, figures))
    with bench.directory(on_disk=True) as directory:
        writing = peers.PeerCommand(["bash", "-euc", f"head -c {size} /dev/zero >written"])
        enter(bench, row, _run(site.name, WRITING, number, bench.measure(writing, directory, sync=True)))


@contextmanager
def _published(bench: Bench, packs: Mapping[str, DatasetFiles]) -> Iterator[Nginx]:
    """Serve several packs from one container."""
    with bench.directory() as site, bench.directory() as directory:
        (site / "models").mkdir()
        for name, files in packs.items():
            (site / "models" / name).symlink_to(files.archive().parents[1])
        if COMMON.name not in packs:
            files = next(iter(packs.values()))
            (site / "models" / COMMON.name).symlink_to(files.site / "models" / COMMON.name)
        with servers.nginx(site, directory / "nginx") as server:
            yield server


def _run(case: str, contender: str, number: int, figures: Figures, sent: int = 0, **facts: float) -> Run:
    return Run(case, contender, number, figures.wall, figures.cpu, figures.rss, sent, facts)


ROWS: dict[str, Callable[[Bench, Row], None]] = {
    "first-http": first_http,
    "first-tls": first_tls,
    "azurite": azurite,
    "azurite-tls": azurite_tls,
    "registry": registry,
    "disk": disk,
    "line": line,
    "upgrade": upgrade,
    "in-place": in_place,
    "inserted": inserted,
    "restart": restart,
    "resume": resume,
    "interrupted": interrupted,
    "verify": verify,
    "back": back,
    "many": many,
    "growth": growth,
    "sites": sites,
}
"""All scenarios by name, in the order in which they run."""
