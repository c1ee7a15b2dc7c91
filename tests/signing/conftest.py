"""Signed packs: built once, copied for each test."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.signing.vendor import SignedPacks, stock

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def stocked_shelf(tmp_path_factory: pytest.TempPathFactory) -> SignedPacks:
    """Build and sign packs; nobody changes them."""
    return stock(tmp_path_factory.mktemp("signed"))


@pytest.fixture
def signed_packs(stocked_shelf: SignedPacks, tmp_path: Path) -> SignedPacks:
    """Copy the packs, to be tampered with."""
    return SignedPacks(shutil.copytree(stocked_shelf.directory, tmp_path / "signed_packs"))
