"""Stop a process before each system call that changes a directory, by ptrace(2) and a seccomp filter.

Like `strace -f --seccomp-bpf`, but calls of all threads are counted together, and the process is stopped until the
caller has decided: continue, kill it, cut the power first, or let the call fail.
"""

from __future__ import annotations

import ctypes
import os
import platform
import re
import signal
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from tests.services import missing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Before = Callable[["SystemCall"], "bool | Fail"]

_TRACEME, _POKE_USER, _CONT, _SETOPTIONS, _GET_SYSCALL_INFO = 0, 6, 7, 0x4200, 0x420E
_RESULT, _NUMBER = 80, 120  # offsets of a call's result (rax) and its number (orig_rax) on x86-64
_FOLLOW = 0x2 | 0x4 | 0x8  # fork, vfork, clone
_SECCOMP_STOPS, _EXITKILL = 0x80, 0x100000
_EVENT_SECCOMP = 7
_WALL = 0x40000000
_NO_NEW_PRIVILEGES, _SET_SECCOMP, _FILTER_MODE = 38, 22, 2
_RET_TRACE, _RET_ALLOW = 0x7FF00000, 0x7FFF0000
_LOAD_WORD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_AT_FDCWD = -100
_FICLONE = 0x40049409
_RANDOM_NAME = re.compile(r"[0-9a-f]{32}")

Where = tuple[str, int]  # "path" or "fd", and the number of the argument; "at": the previous argument is the directory

# System calls of x86-64 that change something, and the arguments that name it.
_CALLS: dict[int, tuple[str, tuple[Where, ...]]] = {
    1: ("write", (("fd", 0),)),
    2: ("open", (("path", 0),)),
    16: ("ioctl", (("fd", 0),)),
    18: ("pwrite64", (("fd", 0),)),
    20: ("writev", (("fd", 0),)),
    40: ("sendfile", (("fd", 0),)),
    74: ("fsync", (("fd", 0),)),
    75: ("fdatasync", (("fd", 0),)),
    76: ("truncate", (("path", 0),)),
    77: ("ftruncate", (("fd", 0),)),
    82: ("rename", (("path", 0), ("path", 1))),
    83: ("mkdir", (("path", 0),)),
    84: ("rmdir", (("path", 0),)),
    85: ("creat", (("path", 0),)),
    86: ("link", (("path", 0), ("path", 1))),
    87: ("unlink", (("path", 0),)),
    88: ("symlink", (("path", 1),)),
    90: ("chmod", (("path", 0),)),
    91: ("fchmod", (("fd", 0),)),
    257: ("openat", (("at", 1),)),
    258: ("mkdirat", (("at", 1),)),
    263: ("unlinkat", (("at", 1),)),
    264: ("renameat", (("at", 1), ("at", 3))),
    265: ("linkat", (("at", 1), ("at", 3))),
    266: ("symlinkat", (("at", 2),)),
    268: ("fchmodat", (("at", 1),)),
    280: ("utimensat", (("at", 1),)),
    285: ("fallocate", (("fd", 0),)),
    296: ("pwritev", (("fd", 0),)),
    306: ("syncfs", (("fd", 0),)),
    316: ("renameat2", (("at", 1), ("at", 3))),
    326: ("copy_file_range", (("fd", 2),)),
}
_FLAGS = {"open": 1, "openat": 2}
_CHANGING = os.O_CREAT | os.O_TRUNC

_reaped: dict[int, int] = {}
"""Exit statuses of children that ended while another was followed."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


class SystemCall(NamedTuple):
    """A system call that is about to be made; paths below the watched directory are relative to it."""

    name: str
    paths: tuple[str, ...]

    @property
    def site(self) -> str:
        """Return the call without the random parts of names."""
        return _RANDOM_NAME.sub("*", f"{self.name} {' '.join(self.paths)}")


@dataclass(frozen=True)
class Fail:
    """Let the call fail with this errno."""

    number: int


def require_tracing() -> None:
    """Skip the test unless the table of system calls applies to this machine."""
    if platform.machine() != "x86_64":
        missing(f"system calls of {platform.machine()} are not in the table", "run on x86-64")


def submit_to_tracing() -> None:
    """Stop until the parent, which calls `follow`, traces this child; from then on, every call of the table stops."""
    _checked(_libc.ptrace(_TRACEME, 0, None, None))
    os.kill(os.getpid(), signal.SIGSTOP)
    program = _filter_program()
    buffer = ctypes.create_string_buffer(program, len(program))
    head = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
    _checked(_libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0))
    _checked(_libc.prctl(_SET_SECCOMP, _FILTER_MODE, ctypes.create_string_buffer(head, len(head)), 0, 0))


def follow(child: int, directory: str, before: Before) -> int:
    """Run a child that calls `submit_to_tracing`. Before each change below `directory`, `before` decides what happens.

    It returns True to continue, False to kill the child, or `Fail`. `follow` returns the exit code, or -9. The caller's
    other children must be waited for with `reap`.
    """
    os.waitpid(child, 0)
    options = _FOLLOW | _SECCOMP_STOPS | _EXITKILL
    _checked(_libc.ptrace(_SETOPTIONS, child, None, options))
    _resume(child, 0)
    known, alive = {child}, True
    while True:
        thread, status = os.waitpid(-1, _WALL)
        if not os.WIFSTOPPED(status):
            if thread == child:
                return os.waitstatus_to_exitcode(status)
            if thread not in known:
                _reaped[thread] = status
            continue
        if alive and status >> 16 == _EVENT_SECCOMP:
            call = _call(thread, directory)
            answer = before(call) if call else True
            if isinstance(answer, Fail):
                _fail(thread, answer.number)
            elif not answer:
                alive = False
                os.kill(child, signal.SIGKILL)
                continue
        _resume(thread, _signal(thread, status, known))


def reap(child: int) -> int:
    """Wait for a child that is not traced; return its exit code."""
    status = _reaped.pop(child, None)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1] if status is None else status)


def _signal(thread: int, status: int, known: set[int]) -> int:
    """Return the signal to deliver; the stops of tracing and the first stop of a thread are not delivered."""
    number = os.WSTOPSIG(status)
    fresh = thread not in known
    known.add(thread)
    return 0 if status >> 16 or number == signal.SIGTRAP or (fresh and number == signal.SIGSTOP) else number


def _resume(thread: int, number: int) -> None:
    _libc.ptrace(_CONT, thread, None, number)  # fails for a thread that was killed meanwhile, which is correct


def _fail(thread: int, number: int) -> None:
    """Skip the next call of the thread and return an error for it."""
    _checked(_libc.ptrace(_POKE_USER, thread, _NUMBER, -1))
    _checked(_libc.ptrace(_POKE_USER, thread, _RESULT, -number))


def _call(thread: int, directory: str) -> SystemCall | None:
    """Return the next call of the thread if it changes something below the directory."""
    info = ctypes.create_string_buffer(88)
    if _libc.ptrace(_GET_SYSCALL_INFO, thread, len(info), info) < 0:
        return None
    number, *arguments = struct.unpack_from("=Q6Q", info.raw, 24)
    name, where = _CALLS[number]
    if name in _FLAGS and not arguments[_FLAGS[name]] & _CHANGING:
        return None
    if name == "ioctl" and arguments[1] != _FICLONE:
        return None
    paths = list(_paths(thread, where, arguments))
    if not any(path == directory or path.startswith(f"{directory}/") for path in paths):
        return None
    return SystemCall(name, tuple(os.path.relpath(path, directory) for path in paths))


def _paths(thread: int, where: tuple[Where, ...], arguments: list[int]) -> Iterator[str]:
    for kind, index in where:
        if kind == "fd":
            yield _link(f"/proc/{thread}/fd/{arguments[index] & 0xFFFFFFFF}")
        else:
            path = _text(thread, arguments[index])
            base = ctypes.c_int(arguments[index - 1] & 0xFFFFFFFF).value if kind == "at" else _AT_FDCWD
            start = f"/proc/{thread}/cwd" if base == _AT_FDCWD else f"/proc/{thread}/fd/{base}"
            yield path if path.startswith("/") else os.path.normpath(f"{_link(start)}/{path}")


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _text(thread: int, address: int) -> str:
    with open(f"/proc/{thread}/mem", "rb", buffering=0) as memory:
        data = b""
        while b"\0" not in data:
            memory.seek(address + len(data))
            data += memory.read(256 - (address + len(data)) % 256)
        return os.fsdecode(data.partition(b"\0")[0])


def _filter_program() -> bytes:
    """Return the seccomp filter that stops the calls of the table."""
    count = len(_CALLS)
    lines = [struct.pack("=HBBI", _LOAD_WORD, 0, 0, 0)]
    lines += [struct.pack("=HBBI", _JUMP_IF_EQUAL, count - at, 0, number) for at, number in enumerate(_CALLS)]
    lines += [struct.pack("=HBBI", _RETURN, 0, 0, _RET_ALLOW), struct.pack("=HBBI", _RETURN, 0, 0, _RET_TRACE)]
    return b"".join(lines)


def _checked(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
