"""Scanning of directories that become packs."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from models_init.core.errors import UsageError
from models_init.publish.pack.source_tree import Directory, ScanOptions, SourceFile, scan
from tests.publish.packs import write

if TYPE_CHECKING:
    from pathlib import Path


def paths(directory: Path, *, dereference: bool = False) -> list[str]:
    return [entry.path for entry in scan(directory, ScanOptions(dereference=dereference)).entries]


def refusal(directory: Path, *, dereference: bool = False) -> str:
    with pytest.raises(UsageError) as caught:
        scan(directory, ScanOptions(dereference=dereference))
    return str(caught.value)


def test_entries_are_sorted_by_path(tmp_path: Path) -> None:
    """The whole path is compared as text: `a-b` comes before `a/b`."""
    directory = write(tmp_path / "src", {"b": b"", "a/b": b"", "a-b": b"", "a/é": b"", "c/d/": b""})
    assert paths(directory) == ["a", "a-b", "a/b", "a/é", "b", "c", "c/d"]


def test_execute_bit_of_owner_makes_file_executable(tmp_path: Path) -> None:
    directory = write(tmp_path / "src", {"tool": b"", "data": b"", "odd": b""})
    (directory / "tool").chmod(0o700)
    (directory / "data").chmod(0o666)
    (directory / "odd").chmod(0o611)
    found = {file.path: file.executable for file in scan(directory).files}
    assert found == {"tool": True, "data": False, "odd": False}


def test_empty_directories_have_no_entries(tmp_path: Path) -> None:
    directory = write(tmp_path / "src", {"a/b/": b"", "c/file": b"", "d/": b""})
    assert scan(directory).empty_directories == ["a/b", "d"]


def test_all_unsupported_entries_are_named_in_one_line(tmp_path: Path) -> None:
    directory = write(tmp_path / "src", {"file": b"", "sub/file": b""})
    (directory / "link").symlink_to("file")
    (directory / "sub/dangling").symlink_to("nowhere")
    os.mkfifo(directory / "sub/pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(directory / "socket"))
    text = refusal(directory)
    assert "link (a link), socket (a socket), sub/dangling (a broken link), sub/pipe (a fifo)" in text
    assert "--dereference" in text


def test_device_is_refused(tmp_path: Path) -> None:
    directory = write(tmp_path / "src", {"file": b""})
    try:
        os.mknod(directory / "null", 0o600 | 0o020000, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root makes devices")
    assert "null (a device)" in refusal(directory)


def test_long_list_of_faults_is_shortened(tmp_path: Path) -> None:
    directory = write(tmp_path / "src", {"file": b""})
    for number in range(1025):
        (directory / f"link{number:04}").symlink_to("file")
    text = refusal(directory)
    assert "link0019 (a link) and 1,005 more" in text
    assert "link0020" not in text


def test_invalid_names_are_refused_and_shown_escaped(tmp_path: Path) -> None:
    directory = write(tmp_path / "src", {"two\nlines": b"", "fine": b""})
    (directory / os.fsdecode(b"latin-\xe9")).write_bytes(b"")
    text = refusal(directory)
    assert r"'two\nlines'" in text
    assert r"latin-\udce9" in text
    assert "\n" not in text
    assert "fine" not in text


def test_empty_or_missing_directory_is_refused(tmp_path: Path) -> None:
    assert "contains no file" in refusal(write(tmp_path / "empty", {"only/directories/": b""}))
    assert f"the directory {tmp_path}/missing does not exist" in refusal(tmp_path / "missing")
    (tmp_path / "file").write_bytes(b"")
    assert f"{tmp_path}/file is not a directory" in refusal(tmp_path / "file")


def test_dereference_follows_links_inside_directory(tmp_path: Path) -> None:
    """Links to links are followed as well."""
    directory = write(tmp_path / "src", {"real/file": b"bytes"})
    (directory / "link").symlink_to("chain")
    (directory / "chain").symlink_to("real/file")
    (directory / "again").symlink_to(directory / "real")
    assert paths(directory, dereference=True) == ["again", "again/file", "chain", "link", "real", "real/file"]
    entries = {entry.path: entry for entry in scan(directory, ScanOptions(dereference=True)).entries}
    link = entries["link"]
    assert isinstance(link, SourceFile)
    assert link.real == str(directory.resolve() / "real/file")
    assert entries["again"] == Directory("again")


def test_dereference_refuses_outside_broken_and_circular_links(tmp_path: Path) -> None:
    directory = write(tmp_path / "src", {"sub/file": b""})
    write(tmp_path / "src-other", {"file": b""})
    (directory / "out").symlink_to(tmp_path / "src-other/file")
    (directory / "nowhere").symlink_to("missing")
    (directory / "self").symlink_to("self")
    (directory / "sub/up").symlink_to("..")
    text = refusal(directory, dereference=True)
    assert "nowhere (a broken link)" in text
    assert "out (a link to a target outside the directory)" in text
    assert "self (Too many levels of symbolic links)" in text
    assert "sub/up (a link to a directory that contains it)" in text


def test_hard_links_are_separate_files(tmp_path: Path) -> None:
    directory = write(tmp_path / "src", {"one": b"bytes"})
    (directory / "two").hardlink_to(directory / "one")
    assert [file.size for file in scan(directory).files] == [5, 5]


def test_directory_of_the_deepest_path_is_listed(tmp_path: Path) -> None:
    """A path of 1,023 bytes has 512 parts, more than half of the calls that Python nests."""
    deep = "/".join("d" * 512)
    top = write(tmp_path / "source", {"a": b""})
    directory = top
    for _ in range(511):  # `os.makedirs` is recursive
        directory /= "d"
        directory.mkdir()
    (directory / "d").touch()
    assert [file.path for file in scan(top).files] == ["a", deep]
