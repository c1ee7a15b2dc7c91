"""Junk files, colliding names, `--exclude`, and directories with links that lead outside."""

from __future__ import annotations

import json
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest

from models_init.publish.cli.main import main
from models_init.publish.pack.name_warnings import junk_pattern, name_warnings
from models_init.publish.pack.version_directory import VersionDirectory
from tests.publish.packs import write
from tests.publish.test_cli import build_arguments, refusal
from tests.services import require_tool

if TYPE_CHECKING:
    from pathlib import Path

JUNK_NAMES = (
    "._final.mdl",
    ".DS_Store",
    "Thumbs.db",
    "__MACOSX",
    "lost+found",
    "mfcc.conf~",
    ".mfcc.conf.swp",
    ".#mfcc.conf",
    "#mfcc.conf#",
)


@pytest.mark.parametrize("name", JUNK_NAMES)
def test_junk_name_is_recognized_at_any_depth(name: str) -> None:
    assert junk_pattern(name)
    assert junk_pattern(f"am/conf/{name}") == junk_pattern(name)


@pytest.mark.parametrize("name", ["final.mdl", ".gitattributes", "README", "conf", "a~b", "DS_Store"])
def test_ordinary_name_is_not_junk(name: str) -> None:
    assert junk_pattern(name) == ""
    assert name_warnings([name], remedy="{}") == ()


def test_long_lists_are_shortened_in_warnings() -> None:
    many = [f"d{number:03}/.DS_Store" for number in range(100)]
    junk, collisions = name_warnings([*many, *(f"{n}{x}" for n in range(9) for x in "Aa")], remedy="omit: {}")
    assert junk.startswith("100 names probably not part of the models: d000/.DS_Store, ")
    assert junk.endswith(" and 80 more; omit: --exclude '.DS_Store'")
    assert "'4A' and '4a' and 4 more;" in collisions


def test_build_warns_of_junk_and_its_advice_omits_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {"final.mdl": b"model", "am/.DS_Store": b"x", "am/a": b"a", "__MACOSX/._a": b"x"}
    source = write(tmp_path / "source", files)
    assert main(build_arguments(source, tmp_path / "out")) == 0
    warning = capsys.readouterr().err
    assert warning.startswith("models-pack: warning: 3 names probably not part of the models: __MACOSX, __MACOSX/._a, ")
    options = [word.strip("'") for word in warning.rpartition(" with ")[2].split()]
    assert options == ["--exclude", ".DS_Store", "--exclude", "._*", "--exclude", "__MACOSX"]
    assert main(build_arguments(source, tmp_path / "clean", *options, "--json")) == 0
    printed = capsys.readouterr()
    assert printed.err == "models-pack: warning: --exclude '._*' matches nothing; check the pattern\n"
    assert json.loads(printed.out)["warnings"] == ["--exclude '._*' matches nothing; check the pattern"]
    manifest = VersionDirectory(tmp_path / "clean/nl-nl/2026.04").parsed()
    assert [file.path for file in manifest.files] == ["am/a", "final.mdl"]
    assert manifest.all_directories() == ["am"]


def test_exclude_matches_names_or_paths(tmp_path: Path) -> None:
    source = write(tmp_path / "source", {"a/x.bak": b"", "a/y": b"y", "b/y": b"y", "c.bak/z": b"z", "x.bak": b""})
    assert main(build_arguments(source, tmp_path / "out", "--exclude", "*.bak", "--exclude", "b/y")) == 0
    manifest = VersionDirectory(tmp_path / "out/nl-nl/2026.04").parsed()
    assert [file.path for file in manifest.files] == ["a/y"]
    assert manifest.directories == ("b",)


def test_unsupported_junk_can_be_excluded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path / "source", {"a": b"a"})
    (source / ".#a").symlink_to("user@host.4711")  # the lock of an editor, a broken link
    message = refusal(capsys, build_arguments(source, tmp_path / "out"))
    assert ".#a (a broken link); remove or rename them, or omit them with --exclude '.#*'\n" in message
    assert main(build_arguments(source, tmp_path / "out", "--exclude", ".#*")) == 0


def test_build_warns_of_names_that_collide(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ("README", "readme", "am/Final.mdl", "am/final.mdl", "caf\N{LATIN SMALL LETTER E WITH ACUTE}", "cafe\u0301")
    source = write(tmp_path / "source", dict.fromkeys(names, b"x"))
    assert main(build_arguments(source, tmp_path / "out")) == 0
    warning = capsys.readouterr().err
    assert warning.startswith("models-pack: warning: names that differ only in case or Unicode normalization: ")
    assert "'README' and 'readme'" in warning
    assert "'am/Final.mdl' and 'am/final.mdl'" in warning
    assert warning.count(" and '") == 3


def test_describe_warns_of_junk_and_names_that_collide(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, "w") as tar:
        for name in ("model/README", "model/readme", "model/.DS_Store"):
            tar.addfile(tarfile.TarInfo(name))
    arguments = ["describe", str(archive), "--name", "nl-nl", "--version", "1", "--out", str(tmp_path / "out")]
    assert main(arguments) == 0
    junk, collision = capsys.readouterr().err.splitlines()
    assert junk.endswith("create the archive without them, or use `build` with --exclude '.DS_Store'")
    assert "'model/README' and 'model/readme'" in collision


def test_pack_without_suspicious_names_gives_no_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path / "source", {"final.mdl": b"model", "conf/": b""})
    assert main(build_arguments(source, tmp_path / "out", "--json")) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "warnings" not in json.loads(printed.out)


@pytest.mark.parametrize("option", [(), ("--dereference",)])
def test_advice_for_snapshot_with_links_to_outside_works(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: tuple[str, ...]
) -> None:
    """The cache of Hugging Face has contents in `blobs`, and snapshots that consist of links to them."""
    snapshot = write(tmp_path / "hub", {"blobs/aa": b"content", "snapshots/abc/": b""}) / "snapshots/abc"
    (snapshot / "config.json").symlink_to("../../blobs/aa")
    message = refusal(capsys, build_arguments(snapshot, tmp_path / "out", *option))
    assert "config.json (a link to a target outside the directory)" in message
    assert "--dereference" not in message
    command = message.rpartition("(")[2].partition(")")[0].split()
    assert command == ["cp", "-rL", str(snapshot), "COPY"]
    subprocess.run([require_tool("cp"), *command[1:-1], tmp_path / "copy"], check=True)
    assert main(build_arguments(tmp_path / "copy", tmp_path / "out")) == 0
    assert VersionDirectory(tmp_path / "out/nl-nl/2026.04").parsed().files[0].path == "config.json"
