"""Fixtures: packs in a container, and clients behind a site cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests import services
from tests.cache.measure import build
from tests.samples import MIB
from tests.site import stocked

if TYPE_CHECKING:
    from tests.services.azurite import Azurite
    from tests.site import Packs


@pytest.fixture(scope="package")
def served(tmp_path_factory: pytest.TempPathFactory) -> Packs:
    """Build packs of 15 MiB, and a newer version of one."""
    services.require_tool("nginx")
    return build(tmp_path_factory.mktemp("served"), 12 * MIB)


@pytest.fixture(scope="package")
def origin(azurite: Azurite, served: Packs) -> Azurite:
    """Publish the packs in a separate container."""
    return stocked(azurite, served)
