"""Installs of releases as large as those of sites."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, NamedTuple

from models_init.formats.manifest import MIB
from tests.bench import peers, trees
from tests.bench.bench import enter, require_same
from tests.bench.datasets import COMMON, Dataset
from tests.bench.peers import OURS, Transfer
from tests.bench.scenarios.setup import FEW, GIB, published, run
from tests.bench.thresholds import WRITING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.bench.bench import Bench, Row
    from tests.bench.datasets import DatasetFiles
    from tests.bench.servers import Nginx

_PARTS = {"nl-nl": 5, "fr-fr": 5, COMMON.name: 1, "whisper-large": 5}
"""The packs of a site, and how many sixteenths of the release each has."""

_ROOM = 2.0
"""Free space that a release needs on the disk, as a multiple of its size: for the archives and the volume."""


def sites(bench: Bench, row: Row) -> None:
    """Install 13 and 30 GiB (two languages, common, whisper) on a disk, verify them, and write equally many bytes."""
    for size in (13 * GIB, 30 * GIB):
        name = f"{size // GIB} GiB"
        scaled = size if bench.full else size // 512
        free = shutil.disk_usage(bench.work).free
        if free < _ROOM * scaled:
            row.skipped[name] = f"{bench.work} has {free // GIB} GiB free of {_ROOM * scaled / GIB:.0f} GiB; use --work"
            continue
        with bench.directory(on_disk=True) as work:  # removed after the row: few disks have room for both sizes
            packs = {pack: _part(pack, scaled * part // 16).published(work) for pack, part in _PARTS.items()}
            with published(bench, packs) as server:
                for number in range(min(FEW, bench.pairs)):
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
        enter(bench, row, run(site.name, OURS, number, figures, site.server.sent(), bytes=size))
        for name, files in site.packs.items():
            require_same(name, (directory / "volume" / "current" / name).resolve(), files.listing())
        figures = bench.measure(bench.program.command(case, "--verify"), directory)
        enter(bench, row, run(f"{site.name}, --verify", OURS, number, figures))
    with bench.directory(on_disk=True) as directory:
        writing = peers.PeerCommand(["bash", "-euc", f"head -c {size} /dev/zero >written"])
        enter(bench, row, run(site.name, WRITING, number, bench.measure(writing, directory, sync=True)))
