"""Limits on threads: the program runs with few threads, and names the limit if it allows none."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from models_init.runtime import thread_limits
from tests import services
from tests.site import COMMON, DUTCH

if TYPE_CHECKING:
    from tests.site import Packs, Site

_CLONE3_REFUSED = """
import ctypes, os, struct, sys
def step(code, yes, no, value):
    return struct.pack("HBBI", code, yes, no, value)
filters = step(0x20, 0, 0, 0) + step(0x15, 0, 1, 435) + step(0x06, 0, 0, 0x00050001) + step(0x06, 0, 0, 0x7FFF0000)
program = ctypes.create_string_buffer(filters)
head = struct.pack("HxxxxxxP", len(filters) // 8, ctypes.addressof(program))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, head, 0, 0) == 0, ctypes.get_errno()
os.execvp(sys.argv[1], sys.argv[1:])
"""
"""Runs a program with the seccomp profile of Docker before 20.10.10, which answers clone3 with EPERM."""


def limited(user: int, count: int) -> list[str]:
    """Return a command that runs a program as a user who may have `count` threads, and who can read all files."""
    capabilities = "+dac_override,+dac_read_search"
    return [
        *("setpriv", f"--reuid={user}", "--clear-groups", f"--inh-caps={capabilities}"),
        *(f"--ambient-caps={capabilities}", "prlimit", f"--nproc={count}"),
    ]


@pytest.mark.parametrize("arguments", [[], ["--plan"], ["--check"], ["--verify"]])
def test_refused_threads_are_explained(site: Site, packs: Packs, arguments: list[str]) -> None:
    """A container engine that refuses clone3 gets one line with the version to upgrade to, and no traceback."""
    full = site.but(**packs.environment)
    if arguments == ["--verify"]:
        assert full.run().code == 0
    done = full.run(*arguments, through=[sys.executable, "-c", _CLONE3_REFUSED])
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        "models-init: error: no further thread can be started: the seccomp profile of the container refuses the system "
        "call clone3; Docker Engine 20.10.10 or later has a profile that allows it: upgrade the container engine\n"
    )


def test_start_with_nothing_to_do_needs_no_thread(site: Site, packs: Packs) -> None:
    """A restart works even if threads are refused."""
    full = site.but(**packs.environment)
    assert full.run().code == 0
    done = full.run(through=[sys.executable, "-c", _CLONE3_REFUSED])
    assert (done.code, done.err) == (0, "")


@pytest.mark.parametrize("count", [5, 7, 12, 20])
def test_install_works_with_few_threads(site: Site, packs: Packs, count: int) -> None:
    """With a low limit on threads an install uses fewer of them, and is complete."""
    services.require_root()
    done = site.but(**packs.environment).run(through=limited(56_000 + count, count))
    assert done.code == 0, done.err
    assert packs.differences(site, COMMON, DUTCH) == []


def test_limit_of_the_user_is_named(site: Site, packs: Packs) -> None:
    """The message has the limit, the number of threads, and where to raise the limit."""
    services.require_root()
    done = site.but(**packs.environment).run(through=limited(56_001, 1))
    assert done.code == 2
    assert done.fault == (
        "no further thread can be started: user 56001 may have 1 processes and threads, and has 1; raise the limit "
        "nproc (ulimit -u, docker run --ulimit nproc=1024)"
    )


def test_limit_of_the_control_group_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit, such as pids_limit in compose, is read from the control group."""
    (tmp_path / "pids.max").write_text("16\n")
    (tmp_path / "pids.current").write_text("15\n")
    monkeypatch.setattr(thread_limits, "group_files", lambda *_: [Path(os.devnull), tmp_path / "pids.max"])
    assert str(thread_limits.no_threads()).startswith(
        "no further thread can be started: the control group may have 16 processes and threads, and has 15; raise "
    )
