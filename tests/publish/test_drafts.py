"""Drafts of archives, manifests and bundles: locked while written, renamed when complete."""

from __future__ import annotations

import fcntl
from typing import TYPE_CHECKING

import pytest

from models_init.core.errors import LockedError
from models_init.publish.bundle.part_files import PartFiles
from models_init.publish.pack import drafts
from models_init.publish.pack.drafts import draft, open_part, part_path, publish, sync

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def published_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that another run publishes after this run has opened its draft and before it locks the draft."""
    path, pending = tmp_path / "site.tar", [True]
    part_path(path).write_bytes(b"complete")

    def lock(descriptor: int, flags: int) -> None:
        if pending:
            pending.clear()
            part_path(path).rename(path)
        fcntl.flock(descriptor, flags)

    monkeypatch.setattr(drafts, "fcntl", type("", (), {**vars(fcntl), "flock": staticmethod(lock)}))
    return path


def test_file_published_meanwhile_is_not_overwritten_by_draft(published_meanwhile: Path) -> None:
    with draft(published_meanwhile) as file:
        file.write(b"other")
        file.flush()
        assert part_path(published_meanwhile).read_bytes() == b"other"
    assert published_meanwhile.read_bytes() == b"complete"


def test_bundle_published_meanwhile_is_not_overwritten(published_meanwhile: Path) -> None:
    with PartFiles([published_meanwhile], [5]).opened() as files:
        files.write(0, b"other")
    assert published_meanwhile.read_bytes() == b"complete"
    assert part_path(published_meanwhile).read_bytes() == b"other"


def test_draft_is_locked(tmp_path: Path) -> None:
    with draft(tmp_path / "a"), pytest.raises(LockedError, match=r"a\.part is being written by another run"):
        open_part(tmp_path / "a")


def test_published_draft_is_complete_and_others_are_removed(tmp_path: Path) -> None:
    with draft(tmp_path / "a") as first, draft(tmp_path / "b") as second:
        first.write(b"first")
        sync(first, tmp_path / "a")
        publish(tmp_path / "a")
        second.write(b"second")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"first"}
