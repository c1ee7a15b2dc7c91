"""First installs: from nginx, Azurite and a registry, of many small files, and on a disk."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING

from models_init.core.events import NullObserver
from models_init.publish.pack.version_directory import VersionDirectory
from models_init.publish.upload.registry import PushOptions, push_all
from models_init.sources.oci.registry import RegistryAccess
from models_init.sources.wrappers.retry import Retrier, RetryPolicy
from tests.bench import peers, tools, trees
from tests.bench.bench import Contest, Run, compete, enter
from tests.bench.datasets import COMMON, Dataset
from tests.bench.peers import (
    ARIA2,
    AZCOPY,
    CASYNC,
    CURL,
    ORAS,
    PEERS,
    RCLONE,
    RCLONE_AZURE,
    SDK,
    SKOPEO,
    ZCHUNK,
    Contender,
    Transfer,
)
from tests.bench.scenarios.setup import (
    FEW,
    GIB,
    blob_service,
    dense,
    from_azurite,
    from_nginx,
    large,
    run,
    served,
    small,
    small_files,
)
from tests.bench.thresholds import LIMIT, WITH_TRANSFER

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bench.bench import Bench, Row
    from tests.bench.datasets import DatasetFiles


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
            setting = partial(from_nginx, files, server)
            compete(bench, row, Contest(dataset.name, setting, server), asked)
            if not tls:
                compete(
                    bench, row, Contest(dataset.name, setting, server), [PEERS[RCLONE]], pairs=min(FEW, bench.pairs)
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
            Contest(dataset.name, partial(from_nginx, files, server), server),
            asked,
            pairs=min(FEW, bench.pairs),
        )


def _limits(bench: Bench, row: Row, contest: Contest) -> None:
    """Measure the limit: the necessary work on all cores, without and with the transfer on the same cores."""
    name, server = contest.name, contest.server
    assert server
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
            enter(bench, row, Run(name, LIMIT, number, total / tools.cores(), total, 0, facts=spent))
            before = server.cpu()
            figures = bench.measure(peers.nowhere(case), directory)
            enter(bench, row, run(name, "into nowhere", number, figures))
            spent |= {"receiving": figures.cpu, "sending": server.cpu() - before}
            total = sum(spent.values())
            enter(bench, row, Run(name, WITH_TRANSFER, number, total / tools.cores(), total, 0, facts=spent))


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
            setting = partial(from_azurite, files, service)
            compete(bench, row, Contest(dataset.name, setting), asked)


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


def many(bench: Bench, row: Row) -> None:
    """100,000 small files from nginx, compared with tar from a local file."""
    dataset = small_files(100_000 if bench.full else 2000)
    files = dataset.stocked(bench.work, foreign=False)
    local = Contender("tar", partial(_tar, files.archive()), ("tar", "zstd"))
    with served(bench, files) as server:
        contest = Contest("many", partial(from_nginx, files, server), server)
        compete(bench, row, contest, [bench.program.contender(), local, PEERS[ARIA2]])


def _tar(archive: Path, _case: Transfer) -> peers.PeerCommand:
    return peers.PeerCommand(["bash", "-euc", f"mkdir tree; tar --zstd -xf '{archive}' -C tree"])


def disk(bench: Bench, row: Row) -> None:
    """First install on a real disk, with sync after each run."""
    files = large(bench).stocked(bench.work, foreign=False)
    with served(bench, files) as server:
        asked = [bench.program.contender(), PEERS[ARIA2], PEERS[CURL]]
        compete(bench, row, Contest("large", partial(from_nginx, files, server), server), asked, on_disk=True)
