"""`install.sh` as an operator meets it: without docker, with the program alone, with a wrong command line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.bundle import media
from tests.site import COMMON, DUTCH, Site

if TYPE_CHECKING:
    from tests.site import Packs

_SCRIPT = Path(__file__).parents[2] / "models_init/publish/site/install.sh"
_TOOLS = ("cat", "cp", "cut", "dirname", "basename", "grep", "head", "id", "mkdir", "mktemp", "rm", "sed", "sh", "tar")


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A directory with what every system has, and neither docker nor the program."""
    directory = tmp_path / "tools"
    directory.mkdir()
    for name in _TOOLS:
        found = shutil.which(name)
        assert found
        (directory / name).symlink_to(found)
    return directory


def _run(tools: Path, *arguments: object, script: Path = _SCRIPT) -> subprocess.CompletedProcess[str]:
    shell = shutil.which("dash") or "/bin/sh"
    return subprocess.run(
        [shell, str(script), *map(str, arguments)],
        check=False, capture_output=True, text=True, env={"PATH": str(tools), "HOME": "/", "LANG": "C.UTF-8"},
    )  # fmt: skip


def _with_the_program(tools: Path) -> None:
    program = tools / "models-init"
    root = Path(__file__).parents[2]
    program.write_text(f'#!/bin/sh\nPYTHONPATH={root} exec {sys.executable} -m models_init "$@"\n')
    program.chmod(0o755)


@pytest.fixture
def stick(whole: Path, parts: Path, tmp_path: Path) -> Path:
    """A directory with the script and the bundle beside it, and with its parts in another."""
    directory = shutil.copytree(parts, tmp_path / "stick/parts").parent
    for path in (whole, _SCRIPT):
        shutil.copy(path, directory)
    return directory


@pytest.mark.parametrize("kind", ["whole", "parts", "beside"])
def test_with_the_program_alone(tools: Path, stick: Path, packs: Packs, kind: str) -> None:
    """`--models DIR` needs no docker: it takes the variables from the bundle and runs models-init on it."""
    _with_the_program(tools)
    named = {
        "whole": ["--bundle", stick / "site.tar"],
        "parts": ["--bundle", stick / "parts/site.tar.001"],
        "beside": [],
    }
    volume = stick / "models"
    done = _run(tools, "--models", volume, *named[kind], script=stick / "install.sh")
    assert done.returncode == 0, done.stderr
    assert packs.differences(Site(volume), COMMON, DUTCH) == []


def test_its_copy_in_the_bundle_is_this_one(whole: Path) -> None:
    """What the bundle has is what is tested here."""
    tar = subprocess.run(["tar", "-xOf", whole, "install.sh"], check=True, capture_output=True)
    assert tar.stdout == _SCRIPT.read_bytes()


def _damaged(whole: Path, directory: Path) -> Path:
    stick = directory / "damaged.tar"
    shutil.copy(whole, stick)
    media.flip(stick, 8 * 514)
    return stick


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--unknown"], "--unknown is unknown; see --help"),
        (["--bundle"], "--bundle wants a value; see --help"),
        (["--bundle", "/nowhere/site.tar"], "there is no /nowhere/site.tar; mount the medium"),
        (["--bundle", "/etc/passwd"], "/etc/passwd is no bundle, or its beginning is damaged"),
        (["--bundle", "WHOLE"], "there is no docker; install it, or use --models with the program models-init"),
        (["--bundle", "WHOLE", "--models", "x"], "--models needs the program models-init on PATH"),
        ([], "there is no bundle in "),
    ],
)
def test_what_is_missing_is_told_first(
    tools: Path, whole: Path, tmp_path: Path, arguments: list[str], told: str
) -> None:
    """One line that says what to do, and nothing is changed."""
    given = [str(whole) if word == "WHOLE" else word for word in arguments]
    before = sorted(os.listdir(tmp_path))
    done = _run(tools, *given)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr
    assert done.stderr.startswith("install: error: ")
    assert done.stderr.count("\n") == 1
    assert sorted(os.listdir(tmp_path)) == before


def test_a_damaged_beginning(tools: Path, whole: Path, tmp_path: Path) -> None:
    """It is no reason to guess."""
    done = _run(tools, "--bundle", _damaged(whole, tmp_path))
    assert done.returncode == 2
    assert "is no bundle, or its beginning is damaged" in done.stderr


def test_help(tools: Path) -> None:
    """`--help` names every choice."""
    done = _run(tools, "--help")
    assert done.returncode == 0
    for flag in ("--bundle", "--dir", "--no-images", "--no-up", "--models"):
        assert flag in done.stdout


def test_a_docker_that_does_not_answer(tools: Path, whole: Path) -> None:
    """It is told before anything is loaded."""
    (tools / "docker").write_text("#!/bin/sh\nexit 1\n")
    (tools / "docker").chmod(0o755)
    done = _run(tools, "--bundle", whole)
    assert done.returncode == 2
    assert "docker does not answer" in done.stderr
