"""Directories as sources: errors of the directory itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from models_init.core.errors import NotFoundError, SourceError
from models_init.sources.directory import DirectorySource
from tests.site import Site
from tests.sources.collecting_sink import Collected

if TYPE_CHECKING:
    from pathlib import Path

    from tests.site import Packs

_KEY = "nl-nl/2026.04/manifest.json"


@pytest.mark.parametrize("is_file", [False, True], ids=["nothing", "a file"])
async def test_missing_directory_is_reported_instead_of_missing_object(
    tmp_path: Path,
    is_file: bool,  # noqa: FBT001 - a test's table
) -> None:
    """The setting is wrong or a mount is missing, whatever the name of the pack is."""
    if is_file:
        (tmp_path / "nosuch").write_bytes(b"")
    source = DirectorySource(tmp_path / "nosuch")
    for call in (source.read(_KEY, 100), source.get_range(_KEY, 0, 1, Collected()), source.names("")):
        with pytest.raises(SourceError, match=r"the directory /\S+/nosuch does not exist; mount .*MODELS_URL"):
            await call


async def test_missing_object_in_directory_is_not_found(tmp_path: Path) -> None:
    """The message names the file."""
    source = DirectorySource(tmp_path)
    with pytest.raises(NotFoundError, match=r"nl-nl/2026\.04/manifest\.json does not exist"):
        await source.read(_KEY, 100)


def test_install_from_missing_directory_names_the_directory(packs: Packs, tmp_path: Path) -> None:
    """The message does not suggest that the version is wrong."""
    site = Site(tmp_path / "models", {**packs.environment, "MODELS_URL": (tmp_path / "nosuch").as_uri()})
    done = site.run()
    assert done.code == 20
    assert done.fault.startswith(f"the directory {tmp_path}/nosuch does not exist; mount the disk or share")
