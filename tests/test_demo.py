"""`scripts/demo` runs, prints its commands and their results, and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

_ROOT = Path(__file__).parents[1]


def test_demo_runs_and_removes_its_files(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": "/", "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [_ROOT / "scripts/demo"], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for expected in (
        "making 32 MB of sample files  done\n",
        "$ models-pack build ",
        "$ models-init --plan\n",
        "(common 2026.04, nl-nl 2026.07) is current: ",
        "$ models-init --rollback\n",
        " is intact: ",
    ):
        assert expected in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_demo_lists_requirements_with_hashes() -> None:
    """Without the development environment, the demo downloads only the packages of a site, and numpy."""
    script = (_ROOT / "scripts/demo").read_text()
    function = script[script.index("requirements() {") : script.index("install_packages() {")]
    listed = subprocess.run(
        ["bash", "-c", f"{function}\nrequirements"], cwd=_ROOT, capture_output=True, text=True, check=True
    )
    names = {line.partition("==")[0] for line in listed.stdout.splitlines() if line[:1].isalpha()}
    site = {
        line.partition("==")[0] for line in (_ROOT / "requirements.lock").read_text().splitlines() if line[:1].isalpha()
    }
    assert names == site | {"numpy"}
    assert "numpy==" in listed.stdout
    assert all(line.startswith("    --hash=sha256:") for line in listed.stdout.splitlines() if not line[:1].isalpha())
