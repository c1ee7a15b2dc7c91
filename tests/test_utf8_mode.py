"""File names are UTF-8 in every locale, in both programs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.publish.packs import write
from tests.services import missing, require_tool

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("caf\N{LATIN SMALL LETTER E WITH ACUTE}.txt", "c\N{LATIN SMALL LETTER A WITH MACRON}f.txt")
"""One name with characters of Latin-1, one with others."""


@pytest.fixture(scope="module")
def locales(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the locale `nl_NL` in Latin-1."""
    directory = tmp_path_factory.mktemp("locales")
    command = [require_tool("localedef"), "-i", "nl_NL", "-f", "ISO-8859-1", str(directory / "nl_NL")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if not (directory / "nl_NL").is_dir():
        missing(f"localedef cannot make a locale ({done.stderr.strip()})", "apt-get install locales")
    return directory


def _environment(locales: Path, locale: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "LOCPATH": str(locales), "LC_ALL": locale, "PYTHONCOERCECLOCALE": "0"}


def _run(environment: dict[str, str], *arguments: object) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, env=environment)


def test_locale_has_another_encoding(locales: Path) -> None:
    """Without UTF-8 mode, Python would convert names to this encoding; the other tests verify that it does not."""
    done = _run(_environment(locales, "nl_NL"), "-c", "import sys; print(sys.getfilesystemencoding())")
    assert done.stdout.strip() == b"iso8859-1"


@pytest.mark.parametrize("locale", ["nl_NL", "C"])
def test_pack_built_and_installed_in_any_locale_has_utf8_names(locales: Path, tmp_path: Path, locale: str) -> None:
    environment = _environment(locales, locale)
    if locale == "C":
        environment["PYTHONUTF8"] = "0"  # Python then encodes names in ASCII
    source = write(tmp_path / "source", dict.fromkeys(NAMES, b"x"))
    build = ("-m", "models_init.publish", "build", source, "--name", "common", "--version", "1")
    done = _run(environment, *build, "--out", tmp_path / "packs")
    assert (done.returncode, done.stderr) == (0, b"")
    manifest = json.loads((tmp_path / "packs/common/1/manifest.json").read_bytes())
    assert [file["path"] for file in manifest["files"]] == sorted(NAMES)

    source_url, volume = (tmp_path / "packs").as_uri(), tmp_path / "models"
    _run(environment, *build[:3], source, "--name", "nl-nl", "--version", "1", "--out", tmp_path / "packs")
    settings = {"REALTIME_LANGUAGES": "nl-nl@1", "REALTIME_COMMON_VERSION": "1", "MODELS_URL": source_url}
    done = _run(environment | settings | {"MODELS_DIR": str(volume)}, "-m", "models_init")
    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(os.fsencode(volume / "current/common"))) == sorted(name.encode() for name in NAMES)


def test_restart_in_utf8_mode_keeps_process_id_and_arguments(locales: Path) -> None:
    """Process 1 of a container must stay process 1, so that signals reach the program."""
    code = (
        "import os, sys; first = os.environ.setdefault('FIRST', str(os.getpid()));"
        "from models_init.runtime.utf8_mode import require_utf8; require_utf8();"
        "print(first == str(os.getpid()), sys.getfilesystemencoding(), sys.argv[1:])"
    )
    done = _run(_environment(locales, "nl_NL"), "-W", "error", "-c", code, "a b", "--flag")
    assert done.stdout.decode().strip() == "True utf-8 ['a b', '--flag']"
