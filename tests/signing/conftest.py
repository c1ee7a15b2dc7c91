"""Signed packs: built once, copied for each test."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.signing.vendor import SignedPacks, build_signed_packs

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def original_packs(tmp_path_factory: pytest.TempPathFactory) -> SignedPacks:
    """Build and sign packs; tests must not change them."""
    return build_signed_packs(tmp_path_factory.mktemp("signed"))


@pytest.fixture
def signed_packs(original_packs: SignedPacks, tmp_path: Path) -> SignedPacks:
    """Copy the packs, so that the test may change them."""
    return SignedPacks(shutil.copytree(original_packs.directory, tmp_path / "signed_packs"))
