"""Runs after an install: with nothing to do, `--verify`, `--rollback` and `--prune`."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.bench import peers, trees
from tests.bench.bench import enter
from tests.bench.datasets import Dataset
from tests.bench.peers import OURS, Transfer
from tests.bench.scenarios.setup import SHELL, install, large, run, served, small, upgrades
from tests.bench.thresholds import BARE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.bench import Bench, Row


@contextmanager
def _site(bench: Bench, dataset: Dataset) -> Iterator[Transfer]:
    """A site with the first version of the dataset installed."""
    files = dataset.stocked(bench.work, foreign=False)
    with served(bench, files) as server, bench.directory() as directory:
        case = Transfer(files, directory, server.origin)
        install(bench, case)
        yield case


def restart(bench: Bench, row: Row) -> None:
    """Start with nothing to do, compared with a bare Python that imports one module."""
    bare = peers.PeerCommand([str(bench.program.python), "-c", "import json"])
    with _site(bench, Dataset("shell", trees.Small(size=SHELL))) as case:
        again = bench.program.command(case)
        for number in range(4 * bench.pairs):
            for name, command in ((OURS, again), (BARE, bare)):
                enter(bench, row, run("restart", name, number, bench.measure(command, case.directory)))


def verify(bench: Bench, row: Row) -> None:
    """Verify everything installed, compared with sha256sum on all cores."""
    for dataset in (small(bench), large(bench)):
        with _site(bench, dataset) as case:
            tree = peers.installed(case)
            hashing = peers.parallel_sha256sum(tree, len(case.files.listing()))
            for number in range(bench.pairs):
                for name, command in ((OURS, bench.program.command(case, "--verify")), ("sha256sum", hashing)):
                    enter(bench, row, run(dataset.name, name, number, bench.measure(command, case.directory)))


def back(bench: Bench, row: Row) -> None:
    """Roll back; prune, compared with rm -r of the same tree."""
    dataset = upgrades(bench)
    files = dataset.stocked(bench.work, foreign=False)
    with served(bench, files) as server:
        for number in range(bench.pairs):
            with bench.directory() as directory:
                case = Transfer(files, directory, server.origin)
                install(bench, case)
                for version in ("inserted", "one-in-ten"):
                    install(bench, replace(case, version=version))
                newest = replace(case, version="one-in-ten")
                figures = bench.measure(bench.program.command(newest, "--rollback"), directory)
                enter(bench, row, run("rollback", OURS, number, figures))
                shutil.copytree(files.tree(), directory / "copy")
                figures = bench.measure(bench.program.command(newest, "--prune", "--keep", "2"), directory)
                enter(bench, row, run("prune", OURS, number, figures))
                figures = bench.measure(peers.PeerCommand(["rm", "-r", str(directory / "copy")]), directory)
                enter(bench, row, run("prune", "rm -r", number, figures))
