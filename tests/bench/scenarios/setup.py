"""Datasets, servers and helpers that several scenarios share."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from models_init.formats.manifest import MIB
from tests.bench import peers, servers, tools, trees
from tests.bench.bench import Run, require_same
from tests.bench.datasets import COMMON, Dataset
from tests.bench.peers import OURS, Transfer
from tests.services import certificates

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.bench.bench import Bench, Figures, Row
    from tests.bench.datasets import DatasetFiles
    from tests.bench.servers import Nginx
    from tests.services.azurite import Azurite

GIB = 1 << 30

FEW = 2
"""Rounds for a slow peer that no goal refers to."""

SHELL = 16 * MIB
"""Size in bytes of packs of which only the number matters."""


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


def small_files(count: int) -> Dataset:
    """A given number of small files."""
    return Dataset(f"files-{count}", trees.Small(count=count, low=200, high=20_000))


@contextmanager
def served(bench: Bench, files: DatasetFiles, *, tls: bool = False) -> Iterator[Nginx]:
    """Serve a dataset with nginx; read it into the page cache first."""
    with bench.directory() as directory, servers.nginx(files.site, directory / "nginx", tls=tls) as server:
        case = Transfer(files, directory, server.origin, authority=server.authority)
        bench.measure(peers.nowhere(case), directory)
        yield server


@contextmanager
def published(bench: Bench, packs: Mapping[str, DatasetFiles]) -> Iterator[Nginx]:
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


@contextmanager
def blob_service(bench: Bench, row: Row, *, tls: bool) -> Iterator[Azurite | None]:
    """Run Azurite; yield None, and note the remedy, if the machine lacks what it needs."""
    from tests.services import azurite as part  # noqa: PLC0415 - only these rows need the SDK

    if lacking := tools.absent(["node", "npm"]):
        row.skipped["Azurite"] = tools.remedy(lacking)
        yield None
        return
    with bench.directory() as directory:
        issued = certificates.issue(directory) if tls else None
        with part.serve(part.install(), certificates=issued) as service:
            yield service


def from_nginx(files: DatasetFiles, server: Nginx, directory: Path) -> Transfer:
    """Return an install from nginx into a directory."""
    return Transfer(files, directory, server.origin, authority=server.authority)


def from_azurite(files: DatasetFiles, service: Azurite, directory: Path) -> Transfer:
    """Return an install from Azurite into a directory."""
    return Transfer(
        files,
        directory,
        "",
        authority=service.certificate_authority,
        container=service.container_url,
        query=service.sas("rl"),
    )


def install(bench: Bench, case: Transfer) -> None:
    """Install without measuring."""
    bench.measure(bench.program.command(case), case.directory)
    require_same(OURS, peers.installed(case), case.files.listing(case.version))


def run(case: str, contender: str, number: int, figures: Figures, sent: int = 0, **facts: float) -> Run:
    """Return a run of a program in one round of a case, with its figures."""
    return Run(case, contender, number, figures.wall, figures.cpu, figures.rss, sent, facts)
