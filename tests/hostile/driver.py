"""Run the program in all cases, each in a fork: `python -m tests.hostile.driver ROOT [--sealed]`.

With `--sealed`, everything but the volume of the running case is mounted read-only: a write elsewhere fails with EROFS,
which a tracer of this process sees. The result is a JSON object by case.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from models_init.cli.main import main
from tests.hostile.case import HostileSetup
from tests.hostile.cases import CASES
from tests.lifecycle.fork_server import warm_up

if TYPE_CHECKING:
    from tests.hostile.case import HostileCase

_LIMIT = 60  # seconds for one case
_NEW_MOUNTS, _PRIVATE, _RECURSIVE = 0x20000, 1 << 18, 1 << 14
_READ_ONLY, _REMOUNT, _BIND = 1, 32, 4096
_libc = ctypes.CDLL(None, use_errno=True)


class MeasuredRun(NamedTuple):
    """The result of a run; `memory` is the peak in bytes."""

    code: int
    out: str
    err: str
    memory: int
    seconds: float


def seal() -> None:
    """Mount everything read-only for this process."""
    _checked(_libc.unshare(_NEW_MOUNTS))
    _checked(_libc.mount(None, b"/", None, _PRIVATE | _RECURSIVE, None))
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        place = line.split()[4].encode().decode("unicode_escape").encode("latin-1")
        _libc.mount(None, place, None, _REMOUNT | _BIND | _READ_ONLY, None)  # fails for a hidden mount, harmlessly


def open_up(volume: Path, inodes: int) -> None:
    """Make one directory writable; with `inodes`, mount an empty file system with this number of inodes."""
    place = os.fsencode(volume)
    _checked(_libc.unshare(_NEW_MOUNTS))
    if inodes:
        _checked(_libc.mount(b"tmpfs", place, b"tmpfs", 0, f"nr_inodes={inodes}".encode()))
    else:
        _checked(_libc.mount(place, place, None, _BIND, None))
        _checked(_libc.mount(None, place, None, _REMOUNT | _BIND, None))


def answer(case: HostileCase, setup: HostileSetup, *, sealed: bool) -> MeasuredRun:
    """Run the program in a fork, and measure it."""
    out, err = os.memfd_create("out"), os.memfd_create("err")
    started = time.monotonic()
    child = os.fork()
    if not child:
        _run_in_child(case, setup, (out, err), sealed=sealed)
    _, status, usage = os.wait4(child, 0)
    seconds = time.monotonic() - started
    return MeasuredRun(os.waitstatus_to_exitcode(status), _said(out), _said(err), usage.ru_maxrss << 10, seconds)


def _run_in_child(case: HostileCase, setup: HostileSetup, streams: tuple[int, int], *, sealed: bool) -> None:
    code = 99
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(_LIMIT)
        if sealed:
            open_up(setup.volume, case.inodes)
        for number, stream in enumerate(streams, start=1):
            os.dup2(stream, number)
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        code = main(case.arguments, case.environment(setup))
        sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001 - the fork must not continue as its parent
        os.write(2, f"unexpected error: {error!r}\n".encode())
    finally:
        os._exit(code)


def _said(stream: int) -> str:
    with os.fdopen(stream, "rb") as file:
        file.seek(0)
        return file.read().decode("utf-8", "replace")


def _checked(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def run(root: Path, *, sealed: bool) -> dict[str, MeasuredRun]:
    """Run the cases whose setup is below `root`, in a directory of the case's name."""
    warm_up()
    if sealed:
        seal()
    present = {name: HostileSetup(root / name) for name in sorted(os.listdir(root))}
    return {name: answer(CASES[name], setup, sealed=sealed) for name, setup in present.items()}


if __name__ == "__main__":
    json.dump(run(Path(sys.argv[1]), sealed="--sealed" in sys.argv), sys.stdout)
