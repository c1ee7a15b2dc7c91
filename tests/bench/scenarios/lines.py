"""First installs over simulated network lines, with different rates and round trips, and one slow connection."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from models_init.formats.manifest import MIB
from tests.bench import trees
from tests.bench.bench import able, enter, require_same, rounds
from tests.bench.datasets import Dataset
from tests.bench.peers import ARIA2, OURS, PEERS, Transfer
from tests.bench.scenarios.relay import relay
from tests.bench.scenarios.setup import FEW, large, run, served

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.bench.bench import Bench, Figures, Row
    from tests.bench.datasets import DatasetFiles
    from tests.bench.peers import Contender
    from tests.bench.servers import Nginx


@dataclass(frozen=True)
class NetworkLine:
    """A network line: payload in bytes per second, round trip in seconds, and the rates of connections."""

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
            if contender.name == OURS or number < FEW:
                for name, each in lines.items():
                    figures, sent = _carried(bench, Passage(files, server, each, contender))
                    ideal = files.archive().stat().st_size / each.rate
                    enter(bench, row, run(name, contender.name, number, figures, sent, ideal=ideal))


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
