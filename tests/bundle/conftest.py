"""Bundles of the sample packs, made once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.bundle import vendor

if TYPE_CHECKING:
    from pathlib import Path

    from tests.site import Packs


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory, packs: Packs) -> Path:
    """A bundle with the packs COMMON and DUTCH; tests must not change it."""
    out = tmp_path_factory.mktemp("bundle") / "site.tar"
    vendor.bundled("--out", out, **packs.environment)
    return out


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory, packs: Packs) -> Path:
    """The directory of the same bundle in five parts; tests must not change it."""
    directory = tmp_path_factory.mktemp("parts")
    vendor.bundled("--out", directory / "site.tar", "--split", "2500KB", **packs.environment)
    assert sorted(path.name for path in directory.iterdir()) == [f"site.tar.00{number}" for number in range(1, 6)]
    return directory
