"""Translation of file-system errors: the path that is named, and the remedy."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from models_init.core.errors import NoSpaceError, NotWritableError, VolumeError
from models_init.fs.files import make_link, temp_path
from models_init.fs.os_errors import volume_errors

_STAGING = Path("/models/staging")


def message(number: int, *paths: str | Path) -> str:
    first, *second = map(str, paths)
    with pytest.raises(VolumeError) as caught, volume_errors("/models"):
        raise OSError(number, os.strerror(number), first, None, *second)
    return str(caught.value)


def test_temporary_name_is_replaced_by_its_directory() -> None:
    assert message(errno.EIO, temp_path(_STAGING, "probe")).startswith("/models/staging failed: Input/output error")
    assert message(errno.EIO, temp_path(_STAGING, "release") / "nl-nl").startswith("/models/staging failed")


def test_error_with_two_paths_names_the_new_one() -> None:
    text = message(errno.EIO, temp_path(_STAGING, "file"), "/models/releases/x/release.json")
    assert text.startswith("/models/releases/x/release.json failed")


def test_link_error_names_the_link_and_not_its_target(tmp_path: Path) -> None:
    with pytest.raises(VolumeError) as caught, volume_errors(tmp_path):
        make_link("target", tmp_path / "missing/link")
    assert str(caught.value).startswith(f"{tmp_path}/missing/link failed: No such file")


def test_error_with_two_paths_names_the_one_in_an_unwritable_directory(tmp_path: Path) -> None:
    for name in ("writable", "closed"):
        (tmp_path / name).mkdir()
    paths = [tmp_path / "writable/a", tmp_path / "closed/b"]
    closed = str(tmp_path / "closed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "access", lambda directory, *_args, **_options: directory != closed)
        for pair in (paths, paths[::-1]):
            assert message(errno.EACCES, *pair).startswith(f"{tmp_path}/closed/b cannot be written: Permission denied")


def test_error_without_path_names_the_given_one() -> None:
    full = "the volume is full at /models/packs: No space left"
    with pytest.raises(NoSpaceError, match=full), volume_errors("/models/packs"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("number", [errno.EEXIST, errno.ENOTDIR, errno.EISDIR])
def test_entry_of_wrong_type_is_not_a_fault_of_the_disk(number: int) -> None:
    assert "move it away" in message(number, "/models/packs")


def test_used_up_quota_is_named() -> None:
    text = message(errno.EDQUOT, "/models/packs")
    assert text.startswith("the quota of the volume is used up at /models/packs: Disk quota exceeded; raise the quota")


def test_lack_of_inodes_is_distinguished_from_lack_of_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = tmp_path / "missing/file"
    assert message(errno.ENOSPC, missing).startswith("the volume is full")
    free = os.statvfs(tmp_path)
    fields = {name: getattr(free, name) for name in dir(free) if name.startswith("f_")}
    used_up = SimpleNamespace(**fields | {"f_files": 100, "f_favail": 0, "f_bavail": 10})
    monkeypatch.setattr(os, "statvfs", lambda _path: used_up)
    assert message(errno.ENOSPC, missing).startswith(f"the volume has no inodes left at {missing}: No space left")


def test_too_long_path_asks_for_a_shorter_one_and_is_shortened() -> None:
    long = "/models/" + "x" * 5000
    text = message(errno.ENAMETOOLONG, long)
    assert text.startswith("…xxx")
    assert "File name too long (5008 bytes); set MODELS_DIR to a shorter path" in text
    assert len(text) < 500


@pytest.mark.parametrize(
    ("number", "user", "remedy"),
    [
        (errno.EROFS, 0, "mount the volume read-write"),
        (errno.EROFS, 10001, "mount the volume read-write"),
        (errno.EACCES, 10001, "give the volume to user 10001"),
        (errno.EPERM, 0, "check its owner, its mount options and, on NFS, root_squash"),
    ],
)
def test_remedy_suits_cause_and_user(number: int, user: int, remedy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    assert message(number, "/models/packs").endswith(f"; {remedy}")


def test_rename_to_another_file_system_is_explained() -> None:
    with pytest.raises(NotWritableError, match="MODELS_DIR must be one file system"), volume_errors("/models"):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), "/models/packs/a", None, "/models/staging/b")
