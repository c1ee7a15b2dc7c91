"""Packs of two sizes in a real container, for all tests of this folder."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.network.trial import build_packs, publish
from tests.samples import MIB

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.network.trial import Stock
    from tests.services.azurite import Azurite


@pytest.fixture(scope="package")
def ground() -> Iterator[Path]:
    """A folder for what pytest would keep too long."""
    with tempfile.TemporaryDirectory(prefix="network-") as folder:
        yield Path(folder)


@pytest.fixture(scope="package")
def stock(azurite: Azurite, ground: Path) -> Stock:
    """Publish an archive of four ranges."""
    return publish(build_packs(ground / "small", 24 * MIB), azurite)


@pytest.fixture(scope="package")
def large(azurite: Azurite, ground: Path) -> Stock:
    """Publish an archive of fourteen ranges."""
    return publish(build_packs(ground / "large", 96 * MIB), azurite)


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """Where a site's volume will be."""
    return tmp_path / "models"
