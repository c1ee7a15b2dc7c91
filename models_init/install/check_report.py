"""What checks have found: a line for each, whatever becomes of the others."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models_init.core.errors import EXIT_OK, ModelsInitError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

OK, WARNING, FAILED, SKIPPED = "ok", "warning", "failed", "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was found, and what to do. `exit_code` is that of the fault, 0 where there is none."""

    check: str
    state: str
    text: str
    exit_code: int = EXIT_OK


class CheckReport:
    """All lines, in the order in which their checks were first named; what is found later stands instead."""

    def __init__(self) -> None:
        self._found: dict[str, list[Finding]] = {}

    @property
    def all(self) -> list[Finding]:
        """The lines."""
        return [finding for found in self._found.values() for finding in found]

    @property
    def exit_code(self) -> int:
        """The code of the first fault."""
        return next((finding.exit_code for finding in self.all if finding.exit_code), EXIT_OK)

    def ok(self, check: str, text: str) -> None:
        """It is as it should be."""
        self._found[check] = [Finding(check, OK, text)]

    def warn(self, check: str, text: str) -> None:
        """An install will work, and somebody should know something."""
        self._found[check] = [Finding(check, WARNING, text)]

    def skip(self, check: str, reason: str) -> None:
        """It could not be found out."""
        self._found[check] = [Finding(check, SKIPPED, reason)]

    def fail(self, check: str, error: ModelsInitError) -> None:
        """An install would end with this error."""
        faults = error.faults if isinstance(error, UsageError) else (str(error),)
        self._found[check] = [Finding(check, FAILED, fault, error.exit_code) for fault in faults]

    def failed(self, check: str) -> bool:
        """Whether this is at fault."""
        return any(finding.state == FAILED for finding in self._found.get(check, ()))

    @contextmanager
    def guarding(self, check: str) -> Iterator[None]:
        """Let an expected error in the block be what this check has found."""
        try:
            yield
        except ModelsInitError as error:
            self.fail(check, error)
