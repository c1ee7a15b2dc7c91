"""Search everything that the suite prints, logs and writes for tokens; fail the session if one is found.

A pytest plugin that `tests/conftest.py` registers. It searches output captured by pytest or read from `capsys`, and
output of processes read with `communicate`. At the end it searches each file below the session's temporary directory.
Messages name the place and never repeat the token.
"""

from __future__ import annotations

import io
import os
import re
import stat
import subprocess
import tarfile
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.tokens import leaks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LARGE = 4 << 20
"""Bytes; larger files may be models, and are searched only if they are named like logs, records or traces."""

_HEAD = 4096
"""Bytes at the beginning of a file that show whether it is a model, an archive or a disk image."""

_ALWAYS = {".log", ".json", ".txt", ".out", ".err", ".yml"}

_INPUT = re.compile(rb"\s*[\"'?]*[a-z]{2,4}=[^\s\"']*\bsig=[^\s\"']*[\"']?\s*")
"""The content of an operator's token file: a token and nothing else."""

_SHOW_THE_ENVIRONMENT = {"config", "inspect"}
"""Docker commands that print the operator's settings."""


def pytest_configure(config: pytest.Config) -> None:
    """Register the plugin."""
    config.pluginmanager.register(Canary(config), "canary")


class Canary:
    """Collects the places where a token was found."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._found: dict[str, None] = {}
        self._undo = [
            _wrapped(subprocess.Popen, "communicate", self._look_at_process),
            _wrapped(pytest.CaptureFixture, "readouterr", self._look_at_capture),
        ]

    def look(self, where: str, text: str | bytes | None, *, made_up_alone: bool = False) -> None:
        """Record the place if the text contains a token."""
        if text and leaks(text, made_up_alone=made_up_alone):
            self._found[where] = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Search the output that pytest captured."""
        if report.when == "teardown":  # it has the sections of all phases
            for name, text in report.sections:
                self.look(f"{report.nodeid}: {name}", text)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Search the written files, and fail the session if a token was found anywhere."""
        for undo in self._undo:
            undo()
        directory: Path = self._config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined] # noqa: SLF001 - pytest has no public attribute
        for path in _written(directory):
            with suppress(OSError):  # removed meanwhile, or owned by another user
                self._look_at_file(path)
        if self._found and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """List the places."""
        if self._found:
            terminalreporter.section("a token was found", red=True)
            for where in self._found:
                terminalreporter.line(where)

    def _look_at_process(self, process: subprocess.Popen[Any], output: tuple[Any, Any]) -> None:
        words: Any = process.args
        command = [os.fsdecode(word) for word in (words if isinstance(words, (list, tuple)) else [words])]
        if os.path.basename(command[0]) == "docker" and _SHOW_THE_ENVIRONMENT.intersection(command):
            return
        for name, text in zip(("stdout", "stderr"), output, strict=True):
            self.look(f"{_current_test()}: {name} of {os.path.basename(command[0])} {' '.join(command[1:4])}", text)

    def _look_at_capture(self, _: object, output: tuple[Any, Any]) -> None:
        for name, text in zip(("stdout", "stderr"), output, strict=True):
            self.look(f"{_current_test()}: {name}", text)

    def _look_at_file(self, path: Path) -> None:
        self.look(f"the name of a file in {path.parent}", path.name)
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            self.look(f"{path}, a link", os.readlink(path))
        elif stat.S_ISREG(status.st_mode) and (status.st_size < _LARGE or path.suffix in _ALWAYS):
            content = path.read_bytes()
            if path.name.endswith(".tar.gz"):
                self._look_at_archive(path, content)
            if not _INPUT.fullmatch(content) and not path.name.startswith(".env"):
                self.look(str(path), content, made_up_alone=b"\0" in content[:_HEAD])

    def _look_at_archive(self, path: Path, content: bytes) -> None:
        """Look at each file of a compressed archive, such as a support bundle."""
        with suppress(tarfile.TarError, EOFError), tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
            for entry in archive:
                if entry.size < _LARGE and (file := archive.extractfile(entry)):
                    self.look(f"{path}, {entry.name}", file.read())


def _current_test() -> str:
    return os.environ.get("PYTEST_CURRENT_TEST", "between tests").partition(" (")[0]


def _written(directory: Path) -> Iterator[Path]:
    """Yield everything below the directory, except files of other sessions that disappear meanwhile."""
    for parent, directories, names in os.walk(directory):
        yield from (Path(parent, name) for name in (*directories, *names) if os.path.lexists(f"{parent}/{name}"))


def _wrapped(kind: type, method: str, look: Callable[[Any, Any], None]) -> Callable[[], None]:
    """Pass each result of a method to `look`; return a function that undoes this."""
    inner = getattr(kind, method)

    @wraps(inner)
    def outer(self: object, *arguments: Any, **keywords: Any) -> Any:
        result = inner(self, *arguments, **keywords)
        look(self, result)
        return result

    setattr(kind, method, outer)
    return lambda: setattr(kind, method, inner)
