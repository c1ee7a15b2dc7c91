"""MODELS_TERMINATION_LOG: a failed run writes its cause to this file, and Kubernetes shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from models_init.cli.main import main
from models_init.core.errors import AccessError, UsageError
from models_init.output.failure import TERMINATION_LOG_BYTES, write_termination_log
from tests.tokens import leaks, token

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Return an empty file, as Kubernetes provides it."""
    (tmp_path / "termination-log").touch()
    return tmp_path / "termination-log"


def test_log_has_cause_and_remedy(log: Path) -> None:
    """Each error of the settings is one line."""
    assert main([], {"MODELS_TERMINATION_LOG": str(log), "REALTIME_LANGUAGES": "nl-nl"}) == 2
    assert log.read_text().splitlines() == [
        "REALTIME_LANGUAGE_VERSION is not set; set it to the version that your license names, e.g. 2026.04",
        "REALTIME_COMMON_VERSION is not set; set it to the version that your license names, e.g. 2026.04",
    ]


def test_log_is_written_to_file_of_flag(log: Path, tmp_path: Path) -> None:
    """An error of an action is written to the file that the flag names."""
    assert main(["--dir", str(tmp_path), "--activate", "none", "--termination-log", str(log)], {}) == 44
    assert "none" in log.read_text()


def test_no_log_without_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the variable, no file is created."""
    monkeypatch.chdir(tmp_path)
    assert main(["--dir", str(tmp_path / "none"), "--activate", "none"], {}) == 44
    assert list(tmp_path.iterdir()) == []


def test_success_leaves_log_empty(log: Path, tmp_path: Path) -> None:
    """A successful run does not write to the file."""
    assert main(["--status", "--dir", str(tmp_path)], {"MODELS_TERMINATION_LOG": str(log)}) == 0
    assert log.read_text() == ""


def test_log_has_no_token(log: Path) -> None:
    """The text is redacted."""
    write_termination_log(AccessError(f"refused: https://host/container?{token()}"), str(log))
    assert not leaks(log.read_text())


@pytest.mark.parametrize("letter", ["x", "é", "🙂"])
def test_long_text_is_shortened_for_kubernetes(log: Path, letter: str) -> None:
    """A long text keeps its beginning and end, and stays valid UTF-8."""
    write_termination_log(UsageError("cause: " + letter * 5000 + " remedy"), str(log))
    assert log.stat().st_size < TERMINATION_LOG_BYTES
    text = log.read_text()
    assert text.startswith("cause: ")
    assert text.endswith(" remedy")


def test_unwritable_log_does_not_change_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The exit code and the last line on stderr are the same."""
    assert main([], {"MODELS_TERMINATION_LOG": str(tmp_path), "REALTIME_LANGUAGE": "nl-nl"}) == 2
    assert "REALTIME_COMMON_VERSION is not set" in capsys.readouterr().err.splitlines()[-1]
