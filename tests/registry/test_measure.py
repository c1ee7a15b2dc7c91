"""The measurement behind scripts/measure-registry, with small packs; no speed is judged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests import upgrades
from tests.registry import measure
from tests.services import cloud_registry, registry
from tests.site import DUTCH, Packs, Site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.services.registry import Registry


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Packs:
    """Build two versions of a pack of ten files, of which one differs."""
    return upgrades.build(tmp_path_factory.mktemp("weights"), 1 << 20)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, weights: Packs) -> Iterator[Registry]:
    """Run a registry with these packs."""
    with registry.serve(tmp_path_factory.mktemp("weights-registry")) as served:
        measure.publish(weights, served.host, "")
        yield served


def test_upgrade_fetches_little_more_than_the_changed_file(
    weights: Packs, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with registry.serve(tmp_path_factory.mktemp("basic"), password=True) as served:
        measure.publish(weights, served.host, served.password)
        figures, ratio = measure.with_basic(Site(tmp_path / "models", weights.environment), weights, served)
    assert (figures.differences, figures.failed) == ([], 0)
    assert 1 <= ratio <= 1.02


def test_expiring_tokens_and_links_fail_no_range(weights: Packs, served: Registry, tmp_path: Path) -> None:
    """Tokens and links expire after a number of requests here, because the install takes less than a second."""
    with cloud_registry.serve(served, token_uses=2, link_uses=2) as cloud:
        figures = measure.with_expiry(Site(tmp_path / "models", weights.environment), weights, cloud, "")
    assert (figures.differences, figures.failed, figures.authorizations) == ([], 0, 0)
    assert figures.tokens > 2


def test_install_that_is_killed_repeatedly_fetches_little_twice(
    weights: Packs, served: Registry, tmp_path: Path
) -> None:
    """A kill loses only data in flight."""
    with cloud_registry.serve(served) as cloud:
        figures = measure.with_kills(Site(tmp_path / "models", weights.environment), weights, cloud, kills=3)
    assert (figures.differences, figures.authorizations) == ([], 0)
    assert figures.sent < 3 * weights.manifest(DUTCH).archive.size
