"""`install.sh` without Docker: with the program alone, and with missing requirements."""

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
    """A directory with the usual tools, without docker and models-init."""
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


def _add_program(tools: Path) -> None:
    program = tools / "models-init"
    root = Path(__file__).parents[2]
    program.write_text(f'#!/bin/sh\nPYTHONPATH={root} exec {sys.executable} -m models_init "$@"\n')
    program.chmod(0o755)


@pytest.fixture
def delivery_directory(whole: Path, parts: Path, tmp_path: Path) -> Path:
    """A directory with the script and the bundle, and a subdirectory with its parts."""
    directory = shutil.copytree(parts, tmp_path / "delivery_directory/parts").parent
    for path in (whole, _SCRIPT):
        shutil.copy(path, directory)
    return directory


@pytest.mark.parametrize("location", ["whole", "parts", "next to script"])
def test_models_option_installs_packs_without_docker(
    tools: Path, delivery_directory: Path, packs: Packs, location: str
) -> None:
    _add_program(tools)
    named = {
        "whole": ["--bundle", delivery_directory / "site.tar"],
        "parts": ["--bundle", delivery_directory / "parts/site.tar.001"],
        "next to script": [],
    }
    volume = delivery_directory / "models"
    done = _run(tools, "--models", volume, *named[location], script=delivery_directory / "install.sh")
    assert done.returncode == 0, done.stderr
    assert packs.differences(Site(volume), COMMON, DUTCH) == []


def test_bundle_contains_this_script(whole: Path) -> None:
    tar = subprocess.run(["tar", "-xOf", whole, "install.sh"], check=True, capture_output=True)
    assert tar.stdout == _SCRIPT.read_bytes()


def _damaged(whole: Path, directory: Path) -> Path:
    delivery_directory = directory / "damaged.tar"
    shutil.copy(whole, delivery_directory)
    media.flip(delivery_directory, 8 * 514)
    return delivery_directory


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--unknown"], "--unknown is not an option; see --help"),
        (["--bundle"], "--bundle needs a value; see --help"),
        (["--bundle", "/nowhere/site.tar"], "/nowhere/site.tar does not exist; mount the medium"),
        (["--bundle", "/etc/passwd"], "/etc/passwd is not a bundle, or its beginning is damaged"),
        (["--bundle", "WHOLE"], "docker is not installed; install it, or use --models with the program models-init"),
        (["--bundle", "WHOLE", "--models", "x"], "--models needs the program models-init on PATH"),
        ([], "no bundle found in "),
    ],
)
def test_missing_requirement_is_reported_and_nothing_changed(
    tools: Path, whole: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    given = [str(whole) if word == "WHOLE" else word for word in arguments]
    before = sorted(os.listdir(tmp_path))
    done = _run(tools, *given)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert done.stderr.startswith("install: error: ")
    assert done.stderr.count("\n") == 1
    assert sorted(os.listdir(tmp_path)) == before


def test_damaged_first_block_is_reported(tools: Path, whole: Path, tmp_path: Path) -> None:
    done = _run(tools, "--bundle", _damaged(whole, tmp_path))
    assert done.returncode == 2
    assert "is not a bundle, or its beginning is damaged" in done.stderr


def test_help_lists_every_option(tools: Path) -> None:
    done = _run(tools, "--help")
    assert done.returncode == 0
    for flag in ("--bundle", "--dir", "--no-images", "--no-up", "--models"):
        assert flag in done.stdout


def test_unresponsive_docker_is_reported_before_loading(tools: Path, whole: Path) -> None:
    (tools / "docker").write_text("#!/bin/sh\nexit 1\n")
    (tools / "docker").chmod(0o755)
    done = _run(tools, "--bundle", whole)
    assert done.returncode == 2
    assert "docker does not respond" in done.stderr
