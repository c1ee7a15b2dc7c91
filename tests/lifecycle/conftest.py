"""Fixtures: two fork servers, tiny packs, and a directory in memory, where syncing is fast."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.lifecycle import summary
from tests.lifecycle.crash_points import MEMORY
from tests.lifecycle.fork_server import Pool
from tests.lifecycle.sample_packs import stock
from tests.lifecycle.site import LifecycleSite

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lifecycle.sample_packs import SamplePacks


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> SamplePacks:
    """Build the tiny packs."""
    return stock(tmp_path_factory.mktemp("samples"))


@pytest.fixture(scope="session")
def pool() -> Iterator[Pool]:
    """Start two fork servers."""
    pool = Pool()
    yield pool
    pool.close()


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """Create a directory in memory if the machine has one, because syncing is fast there."""
    directory = Path(tempfile.mkdtemp(dir=MEMORY)) if MEMORY.is_dir() else tmp_path
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def site(memory: Path, samples: SamplePacks, pool: Pool) -> LifecycleSite:
    """Create a site with an empty volume."""
    return LifecycleSite(memory / "models", samples, pool)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the coverage."""
    if summary.LINES:
        terminalreporter.section("covered")
        for line in summary.LINES:
            terminalreporter.line(line)
