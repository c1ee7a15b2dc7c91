"""Build the root file system that replaces the public images, because tests use no registry.

It has Debian packages, including nginx. As in the public Python image, Python is in /usr/local: a copy from this
machine, or Debian's Python if none can be copied. It is kept outside the checkout, because building it takes a minute.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shlex
import subprocess
from pathlib import Path

from tests import services

_PACKAGES = "ca-certificates,netbase,tzdata,nginx-light"
_LIBRARIES = (
    "libssl3,libffi8,libsqlite3-0,libreadline8,libncursesw6,libbz2-1.0,liblzma5,zlib1g,libuuid1,libnsl2,libtirpc3"
)
_DEBIAN_PYTHON = "python3,python3-pip,python3-venv"
_NO_PERL = "/usr/share/mmdebstrap/hooks/maybe-merged-usr"
_USELESS = ("man", "doc", "locale", "info")
_UNCOPIED = (
    "*/__pycache__", "./lib/*.a", "./lib/python3.*/test", "./lib/python3.*/config-*", "./lib/python3.*/idlelib",
    "./lib/python3.*/site-packages/[!p]*", "./share", "./include",
)  # fmt: skip
_SUITE = "bookworm"


def tarball() -> Path:
    """Return the root file system as a tar file; made on the first call, by one process at a time."""
    services.require_root()
    tool = services.require_tool("mmdebstrap")
    options = _options(_own_python())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "models-init-tests"
    made = cache / f"base-{hashlib.sha256(repr(options).encode()).hexdigest()[:12]}.tar"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "base.lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if not made.exists():
            _make([tool, *options, _SUITE], made)
    return made


def _make(command: list[str], made: Path) -> None:
    for old in made.parent.glob("base-*.tar*"):
        old.unlink()
    aside = made.with_suffix(".tar.new")
    done = subprocess.run([*command, str(aside)], check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"mmdebstrap could not make the base image:\n{done.stderr[-2000:]}")
    aside.rename(made)


def _options(python: Path | None) -> list[str]:
    packages = f"{_PACKAGES},{_LIBRARIES if python else _DEBIAN_PYTHON}"
    options = ["--mode=root", "--variant=minbase", "--format=tar", f"--include={packages}", f"--hook-dir={_NO_PERL}"]
    options += [f"--dpkgopt=path-exclude=/usr/share/{directory}/*" for directory in _USELESS]
    return [*options, f"--customize-hook={_copying(python)}"] if python else options


def _copying(python: Path) -> str:
    """Return a shell command that copies an installed Python to /usr/local of the new root, `$1`."""
    without = shlex.join(f"--exclude={pattern}" for pattern in _UNCOPIED)
    copy = f"tar -C {shlex.quote(str(python))} --wildcards {without} -cf - ."
    return (
        f'{copy} | tar -C "$1"/usr/local -xf - --no-same-owner'
        ' && strip --strip-unneeded "$1"/usr/local/lib/libpython3.*.so.*;'  # does not always exist; saves 20 MB
        ' chroot "$1" ldconfig && chroot "$1" python3 -m pip --version'
    )


def _own_python() -> Path | None:
    """Return the newest Python of pyenv that the locks support, which can be copied; None without pyenv."""
    versions = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    found = [(_numbers(path.name), path) for path in versions.glob("3.*") if (path / "bin/python3").exists()]
    return max(((numbers, path) for numbers, path in found if (3, 11) <= numbers < (3, 14)), default=(None, None))[1]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)))
