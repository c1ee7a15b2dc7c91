"""What a failure leaves in MODELS_TERMINATION_LOG, for whoever asks Kubernetes what became of the container."""

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
    """A file as Kubernetes provides it: there, empty."""
    (tmp_path / "termination-log").touch()
    return tmp_path / "termination-log"


def test_it_holds_cause_and_remedy(log: Path) -> None:
    """Each fault of the environment is a line; it works for faults of the settings themselves."""
    assert main([], {"MODELS_TERMINATION_LOG": str(log), "REALTIME_LANGUAGES": "nl-nl"}) == 2
    assert log.read_text().splitlines() == [
        "REALTIME_LANGUAGE_VERSION is not set; set it to the version that your license names, e.g. 2026.04",
        "REALTIME_COMMON_VERSION is not set; set it to the version that your license names, e.g. 2026.04",
    ]


def test_the_flag_works_too(log: Path, tmp_path: Path) -> None:
    """Any fault of a run is left, where a flag says."""
    assert main(["--dir", str(tmp_path), "--activate", "none", "--termination-log", str(log)], {}) == 44
    assert "none" in log.read_text()


def test_it_is_off_unless_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the variable, no file is made."""
    monkeypatch.chdir(tmp_path)
    assert main(["--dir", str(tmp_path / "none"), "--activate", "none"], {}) == 44
    assert list(tmp_path.iterdir()) == []


def test_success_leaves_nothing(log: Path, tmp_path: Path) -> None:
    """A run without a fault does not touch it."""
    assert main(["--status", "--dir", str(tmp_path)], {"MODELS_TERMINATION_LOG": str(log)}) == 0
    assert log.read_text() == ""


def test_it_holds_no_token(log: Path) -> None:
    """What stands there is redacted as everything else is."""
    write_termination_log(AccessError(f"refused: https://host/container?{token()}"), str(log))
    assert not leaks(log.read_text())


@pytest.mark.parametrize("letter", ["x", "é", "🙂"])
def test_it_stays_below_what_kubernetes_reads(log: Path, letter: str) -> None:
    """A long text keeps its beginning and its end, and stays whole UTF-8."""
    write_termination_log(UsageError("cause: " + letter * 5000 + " remedy"), str(log))
    assert log.stat().st_size < TERMINATION_LOG_BYTES
    text = log.read_text()
    assert text.startswith("cause: ")
    assert text.endswith(" remedy")


def test_a_file_that_cannot_be_written_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The exit code and the last line on stderr are the same."""
    assert main([], {"MODELS_TERMINATION_LOG": str(tmp_path), "REALTIME_LANGUAGE": "nl-nl"}) == 2
    assert "REALTIME_COMMON_VERSION is not set" in capsys.readouterr().err.splitlines()[-1]
