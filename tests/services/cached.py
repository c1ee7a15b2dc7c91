"""Software that tests install on first use, each in a directory of `.cache` named by a hash of its lock file."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_CACHE = Path(__file__).parents[2] / ".cache"


def cached(name: str, lock: bytes, install: Callable[[Path], None]) -> Path:
    """Return `.cache/NAME-HASH`; the first call lets `install` fill it, under a file lock, and removes older ones."""
    home = _CACHE / f"{name}-{hashlib.sha256(lock).hexdigest()[:12]}"
    _CACHE.mkdir(exist_ok=True)
    with (_CACHE / f"{name}.lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if not home.exists():
            _install(name, home, install)
    return home


def run(command: Sequence[object], cwd: Path) -> None:
    """Run a command of an installer; its output is part of the error if it fails."""
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=cwd, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")


def _install(name: str, home: Path, install: Callable[[Path], None]) -> None:
    for old in _CACHE.glob(f"{name}-*"):
        shutil.rmtree(old)
    aside = _CACHE / f"{name}-new-{os.getpid()}"
    aside.mkdir()
    install(aside)
    aside.rename(home)
