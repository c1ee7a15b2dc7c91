"""Upgrades from the first version of a dataset to a later one."""

from __future__ import annotations

import re
import shutil
import subprocess
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from models_init.core.events import NullObserver
from models_init.publish.inspection.chunk_sizes import estimates, recommended
from models_init.publish.pack.version_directory import VersionDirectory
from tests.bench import servers, tools, trees
from tests.bench.bench import able, enter, require_same, rounds
from tests.bench.datasets import FIRST, PACK
from tests.bench.peers import ARIA2, CASYNC, CURL, OURS, PEERS, RSYNC, RSYNC_C, ZCHUNK, Transfer
from tests.bench.scenarios.setup import FEW, install, large, run, served, upgrades

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.bench.bench import Bench, Row, Run
    from tests.bench.datasets import Dataset, DatasetFiles
    from tests.bench.peers import Contender
    from tests.bench.servers import Nginx


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
        install(bench, Transfer(files, before, server.origin))
        shutil.copytree(files.tree(), before / "old")
        first = Transfer(files, before, server.origin, old=before / "old", old_zck=files.zck(), rsync=address)
        for version in versions or dataset.changes:
            for number, contender in rounds(bench, asked):
                if contender.name not in {CASYNC, ZCHUNK} or number < FEW:
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
    return run(case.version, contender.name, number, figures, sent, **facts)


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
