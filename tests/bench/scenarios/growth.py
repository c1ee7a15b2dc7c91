"""The growth of an install with the size of the pack and the number of files, versions and packs."""

from __future__ import annotations

from functools import partial
from string import ascii_lowercase
from typing import TYPE_CHECKING

from models_init.formats.manifest import MIB
from tests.bench import peers, trees
from tests.bench.bench import Contest, compete, enter, require_same
from tests.bench.datasets import Dataset
from tests.bench.peers import OURS, Transfer
from tests.bench.scenarios.setup import SHELL, from_nginx, published, run, served, small_files

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.bench.bench import Bench, Row
    from tests.bench.datasets import DatasetFiles
    from tests.bench.servers import Nginx


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
        _grow(bench, row, f"files {count}", small_files(count))


def _grow(bench: Bench, row: Row, name: str, dataset: Dataset, *, pairs: int = 3) -> None:
    files = dataset.stocked(bench.work, foreign=False)
    with served(bench, files) as server:
        contest = Contest(name, partial(from_nginx, files, server), server)
        compete(bench, row, contest, [bench.program.contender()], pairs=min(pairs, bench.pairs))


def _growth_of_versions(bench: Bench, row: Row) -> None:
    """Upgrade a volume with this number of versions installed."""
    most = 50 if bench.full else 4
    changes = {str(number): partial(_touched, number) for number in range(2, most + 2)}
    files = Dataset("versions", trees.Small(size=SHELL, high=64 << 10), changes).stocked(bench.work, foreign=False)
    with served(bench, files) as server, bench.directory() as directory:
        for number in range(1, most + 2):
            case = Transfer(files, directory, server.origin, version=str(number))
            figures = bench.measure(bench.program.command(case), directory)
            require_same(OURS, peers.installed(case), files.listing(case.version))
            if number > 1:
                enter(bench, row, run(f"versions {number - 1}", OURS, 0, figures))


def _touched(number: int, directory: Path) -> None:
    for path in sorted(path for path in directory.rglob("*") if path.is_file())[number::50]:
        trees.write(path, f"{number} {path.name}", path.stat().st_size, trees.floats)


def _growth_of_packs(bench: Bench, row: Row) -> None:
    """Install releases of this number of packs and the common one."""
    names = tuple(f"aa-a{letter}" for letter in ascii_lowercase[: 20 if bench.full else 2])
    all_files = {
        name: Dataset(name, trees.Small(size=SHELL), pack=name).stocked(bench.work, foreign=False) for name in names
    }
    with published(bench, all_files) as server:
        for count in (1, 2, 5, 10, 20) if bench.full else (1, 2):
            for number in range(min(3, bench.pairs)):
                _grow_packs(bench, row, number, server, {name: all_files[name] for name in names[:count]})


def _grow_packs(bench: Bench, row: Row, number: int, server: Nginx, all_files: Mapping[str, DatasetFiles]) -> None:
    with bench.directory() as directory:
        case = Transfer(next(iter(all_files.values())), directory, server.origin, packs=tuple(all_files))
        figures = bench.measure(bench.program.command(case), directory)
        for name, files in all_files.items():
            require_same(name, (directory / "volume" / "current" / name).resolve(), files.listing())
    enter(bench, row, run(f"packs {len(all_files)}", OURS, number, figures))
