"""deploy/compose/support.sh if the image of models-init cannot be run; a script replaces docker."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.tokens import leaks, token

if TYPE_CHECKING:
    from collections.abc import Callable

_SCRIPT = Path(__file__).parents[1] / "deploy/compose/support.sh"
_DOCKER = """#!/bin/sh
named="MODELS_REGISTRY_PASSWORD=hunter2 apiKey: hunter2"
case "$*" in
    "compose config --services") echo asr-server; echo realtime-models-init ;;
    "compose run"*) cat >/dev/null; echo "pull https://me:hunter2@registry.example" >&2; exit 1 ;;
    "compose config --format json") echo "MODELS_SAS_TOKEN $SECRET" ;;
    "compose logs"*) echo "GET /models?$SECRET $named Authorization: Bearer hunter2" ;;
    *) echo "output of $*" ;;
esac
"""


@pytest.fixture
def collect(tmp_path: Path) -> Callable[[], subprocess.CompletedProcess[str]]:
    """Return a function that runs the script in an empty directory."""
    (tmp_path / "bin").mkdir()
    docker = tmp_path / "bin/docker"
    docker.write_text(_DOCKER)
    docker.chmod(0o755)
    environment = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "SECRET": token()}
    return lambda: subprocess.run(
        ["sh", _SCRIPT, "s.tar.gz"], cwd=tmp_path, env=environment, check=False, capture_output=True, text=True
    )


def test_text_file_is_written_if_the_image_cannot_be_run(
    tmp_path: Path, collect: Callable[[], subprocess.CompletedProcess[str]]
) -> None:
    done = collect()
    text = (tmp_path / "s.txt").read_text()
    assert done.returncode == 0
    assert done.stdout.startswith(f"s.txt: {len(text.encode())} bytes, without the program, because the service")
    assert "pull https://[redacted]@registry.example" in done.stderr
    assert "==> why.txt <==\npull https://[redacted]@registry.example\n" in text
    assert "==> compose-ps.txt <==\noutput of compose ps --all\n" in text
    assert "==> logs-asr-server.txt <==" in text
    assert not (tmp_path / "s.tar.gz").exists()
    assert (tmp_path / "s.txt").stat().st_mode & 0o077 == 0


def test_text_file_has_no_secrets(tmp_path: Path, collect: Callable[[], subprocess.CompletedProcess[str]]) -> None:
    done = collect()
    text = (tmp_path / "s.txt").read_text()
    assert leaks(text + done.stderr + done.stdout) == []
    assert "hunter2" not in text + done.stderr
    assert "[redacted]" in text
