"""Directories as sources: errors of the directory itself."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, NoReturn

import pytest

from models_init.core.errors import AccessError, NotFoundError, SourceError, UnavailableError
from models_init.sources.directory import DirectorySource
from models_init.sources.open_source import SourceAccess, open_source
from tests.site import Site
from tests.sources.collecting_sink import Collected

if TYPE_CHECKING:
    from pathlib import Path

    from tests.site import Packs

_KEY = "nl-nl/2026.04/manifest.json"


@pytest.fixture
def no_access() -> SourceAccess:
    """The access of local sources, which need none."""

    def fail() -> NoReturn:
        raise AssertionError("a local source needs no access")

    return SourceAccess(fail, fail)


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


@pytest.mark.parametrize("name", ["packs", "site.tar", "site.tar.001"])
async def test_directory_without_permission_is_reported_when_it_is_read(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_access: SourceAccess
) -> None:
    """A disk of another user: the message names the path, whatever kind of source it may be."""
    (tmp_path / name).mkdir()

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    for function in ("listdir", "open", "stat"):
        monkeypatch.setattr(os, function, refuse)
    source = open_source((tmp_path / name).as_uri(), "", no_access)
    with pytest.raises(AccessError, match=rf"{name}.* cannot be read: Permission denied; give the running user"):
        await source.read(_KEY, 100)


async def test_path_that_cannot_be_examined_is_reported_when_it_is_read(
    tmp_path: Path, no_access: SourceAccess
) -> None:
    """Here the name is too long; the mount of a server that is gone has other errors."""
    source = open_source((tmp_path / ("a" * 300)).as_uri(), "", no_access)
    with pytest.raises(UnavailableError, match=r"cannot be read: File name too long; check the disk or the mount"):
        await source.read(_KEY, 100)
