"""Run a command and measure it with its children: seconds, CPU seconds, peak memory of the largest process.

    python -I -S meter.py RESULT [--sync] -- COMMAND...

Runs as a script in a separate small interpreter, because a process inherits the peak memory of its parent.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import subprocess
import sys
import time

_PR_SET_CHILD_SUBREAPER = 36


def main() -> int:
    """Measure; return the exit code of the command."""
    split = sys.argv.index("--")
    result, options, command = sys.argv[1], sys.argv[2:split], sys.argv[split + 1 :]
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # orphaned descendants count as well
    began = time.monotonic()
    code = subprocess.call(command)
    _reap()
    if "--sync" in options:
        os.sync()
    wall = time.monotonic() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    with open(result, "w", encoding="utf-8") as file:
        json.dump({"wall": wall, "cpu": used.ru_utime + used.ru_stime, "rss": used.ru_maxrss << 10}, file)
    return code


def _reap() -> None:
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


if __name__ == "__main__":
    sys.exit(main())
