"""Signed packs: built once, copied for each test."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.signing.vendor import Shelf, stock

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def stocked_shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    """Build and sign packs; nobody changes them."""
    return stock(tmp_path_factory.mktemp("signed"))


@pytest.fixture
def shelf(stocked_shelf: Shelf, tmp_path: Path) -> Shelf:
    """Copy the packs, to be tampered with."""
    return Shelf(shutil.copytree(stocked_shelf.directory, tmp_path / "shelf"))
