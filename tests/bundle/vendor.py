"""Run `models-pack` as a process in a clean environment."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.site import Done

if TYPE_CHECKING:
    from collections.abc import Mapping

_LIMIT = 120
_COMMAND = (sys.executable, "-m", "models_init.publish")


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    base = {"PATH": os.environ["PATH"], "HOME": "/", "LANG": "C.UTF-8"}
    return {**base, **{name: value for name, value in variables.items() if value}}


def run(*arguments: object, **variables: str) -> Done:
    """Run `models-pack ARGUMENTS` to its end."""
    done = subprocess.run(
        [*_COMMAND, *map(str, arguments)],
        check=False, capture_output=True, text=True, env=_environment(variables), timeout=_LIMIT,
    )  # fmt: skip
    return Done(done.returncode, done.stdout, done.stderr)


def start(*arguments: object, **variables: str) -> subprocess.Popen[bytes]:
    """Start `models-pack ARGUMENTS` without waiting."""
    return subprocess.Popen(
        [*_COMMAND, *map(str, arguments)],
        env=_environment(variables), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def bundled(*arguments: object, **variables: str) -> Done:
    """Run `models-pack bundle ARGUMENTS`, which must succeed."""
    done = run("bundle", *arguments, "--json", **variables)
    assert done.code == 0, done.err
    return done


def fault(done: Done) -> str:
    """Return the one line of error."""
    assert done.err.startswith("models-pack: error: ")
    assert done.err.count("\n") == 1, done.err
    return done.err
