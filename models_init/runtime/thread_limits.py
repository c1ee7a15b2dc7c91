"""Explain which limit applies when the system refuses a thread.

A control group (`pids_limit` in compose), RLIMIT_NPROC, or a seccomp profile can refuse threads. Python's error is only
`RuntimeError: can't start new thread`.
"""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import TYPE_CHECKING

from models_init.core.errors import UsageError
from models_init.runtime.control_groups import group_files, lines, number

if TYPE_CHECKING:
    from collections.abc import Iterator

_CLOSE = 4
"""A limit counts as reached if it allows at most this many further threads: some may have ended in the meantime."""


def no_threads() -> UsageError:
    """Return the error for a system that refuses threads, with the limit that applies and the remedy."""
    return UsageError(f"no further thread can be started: {next(_reached_limits())}")


def _reached_limits() -> Iterator[str]:
    """Yield the limits that are reached, with their remedies; the last item applies if no other does."""
    for file in group_files("pids", "pids.max", "pids.max"):
        limit, used = number(file), number(file.with_name("pids.current"))
        if limit is not None and used is not None and limit - used <= _CLOSE:
            yield (
                f"the control group may have {limit} processes and threads, and has {used}; raise pids_limit in the "
                "compose file (docker run --pids-limit, podPidsLimit of the kubelet)"
            )
    limit, used = resource.getrlimit(resource.RLIMIT_NPROC)[0], _threads_of_user()
    if limit != resource.RLIM_INFINITY and limit - used <= _CLOSE:
        yield (
            f"user {os.getuid()} may have {limit} processes and threads, and has {used}; raise the limit nproc "
            "(ulimit -u, docker run --ulimit nproc=1024)"
        )
    if _status(Path("/proc/self"), "Seccomp") == "2":
        yield (
            "the seccomp profile of the container refuses the system call clone3; Docker Engine 20.10.10 or later has "
            "a profile that allows it: upgrade the container engine"
        )
    yield "the system refuses it; check the memory and the limit kernel.threads-max of this machine"


def _threads_of_user() -> int:
    """Return the number of threads of this process's user, as far as /proc shows them."""
    user, found = str(os.getuid()), 0
    for process in Path("/proc").glob("[0-9]*"):
        if _status(process, "Uid").split("\t")[0] == user:
            found += int(_status(process, "Threads") or 0)
    return found


def _status(process: Path, field: str) -> str:
    """Return a field of /proc/PID/status, or an empty string."""
    prefix = f"{field}:"
    return next(
        (line.removeprefix(prefix).strip() for line in lines(process / "status") if line.startswith(prefix)), ""
    )
