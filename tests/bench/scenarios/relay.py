"""The near end of a throttling proxy, which limits and counts the bytes that clients receive."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator


class NearEnd(NamedTuple):
    """The end of a line to which clients connect."""

    port: int
    process: subprocess.Popen[str]

    def await_limit(self) -> None:
        """Wait until the proxy has sent the bytes that `--only` allows."""
        self._line()

    def received(self) -> int:
        """Return the bytes that clients have received."""
        self.process.send_signal(signal.SIGUSR1)
        return int(self._line())

    def _line(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline()


@contextmanager
def relay(port: int, *options: str) -> Iterator[NearEnd]:
    """Put a proxy before the server at a port."""
    command = [sys.executable, "-m", "tests.bench.throttling_proxy", "--to", str(port), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield NearEnd(int(process.stdout.readline()), process)
        finally:
            process.kill()
