"""Fixtures: packs of two sizes in a real container, for all tests of this directory."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.network.trial import build_incompressible, publish
from tests.samples import MIB

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.network.trial import PublishedPacks
    from tests.services.azurite import Azurite


@pytest.fixture(scope="package")
def ground() -> Iterator[Path]:
    """A temporary directory that is removed at the end; pytest would keep the data longer."""
    with tempfile.TemporaryDirectory(prefix="network-") as directory:
        yield Path(directory)


@pytest.fixture(scope="package")
def published(azurite: Azurite, ground: Path) -> PublishedPacks:
    """Publish a pack whose archive is fetched in four ranges."""
    return publish(build_incompressible(ground / "small", 24 * MIB), azurite)


@pytest.fixture(scope="package")
def large(azurite: Azurite, ground: Path) -> PublishedPacks:
    """Publish a pack whose archive is fetched in fourteen ranges."""
    return publish(build_incompressible(ground / "large", 96 * MIB), azurite)


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """The path of a site's volume, which does not exist yet."""
    return tmp_path / "models"
