"""Run many clients at the same time, and count what they and the origin transfer.

This module does not need pytest, because scripts/measure-cache uses it too.
"""

from __future__ import annotations

import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any

from tests.site import Done, Site

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tests.services.azurite import Azurite

_LIMIT = 900.0  # seconds for one client: 32 of them share the cores of a build machine


@dataclass(frozen=True)
class Round:
    """One run of all clients: their results, the bytes that the origin sent, and the seconds."""

    done: Sequence[Done]
    origin_bytes: int
    origin_requests: int
    seconds: float

    @property
    def results(self) -> list[dict[str, Any]]:
        """The results of the clients, which must have succeeded."""
        assert [one.err for one in self.done if one.code] == []
        return [one.json for one in self.done]

    @property
    def fetched(self) -> int:
        """The bytes that all clients received."""
        return sum(result["bytes_fetched"] for result in self.results)


@dataclass(frozen=True)
class Fleet:
    """Sites with a volume each, which install from `environment`, and the container behind it."""

    directory: Path
    origin: Azurite
    environment: Mapping[str, str]
    size: int

    def __post_init__(self) -> None:
        """Create the directory of all volumes."""
        self.directory.mkdir(exist_ok=True)

    @property
    def sites(self) -> list[Site]:
        """All sites."""
        return [Site(self.directory / f"site-{number}", self.environment) for number in range(self.size)]

    def run(self, *arguments: str, **variables: str) -> Round:
        """Run the program once at all sites, at the same time."""
        before, began = sent(self.origin), monotonic()
        with ThreadPoolExecutor(self.size) as threads:
            done = list(threads.map(lambda site: _run(site.but(**variables), arguments), self.sites))
        seconds = monotonic() - began
        after = sent(self.origin)
        return Round(done, after[0] - before[0], after[1] - before[1], seconds)

    def forget(self) -> None:
        """Remove all volumes."""
        for site in self.sites:
            shutil.rmtree(site.volume, ignore_errors=True)


def sent(origin: Azurite) -> tuple[int, int]:
    """Return the bytes and the number of the responses to all GET requests so far."""
    answered = [request for request in origin.requests() if request.method == "GET"]
    return sum(request.sent for request in answered), len(answered)


def _run(site: Site, arguments: Sequence[str]) -> Done:
    with site.start("--json", *arguments) as process:
        try:
            out, err = process.communicate(timeout=_LIMIT)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
    return Done(process.returncode, out, err)
