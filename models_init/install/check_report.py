"""Collect the results of checks, one line each; a failed check does not stop the others."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from models_init.core.errors import EXIT_OK, ModelsInitError

if TYPE_CHECKING:
    from collections.abc import Iterator

OK, WARNING, FAILED, SKIPPED = "ok", "warning", "failed", "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: the result and the remedy. `exit_code` is that of the error, 0 if there is none."""

    check: str
    state: str
    text: str
    exit_code: int = EXIT_OK


class CheckReport:
    """All findings, in the order in which their checks were first reported; a later finding replaces an earlier one.

    `not_needed` are checks whose failure would not make a run fail; such a failure is reported as a warning.
    """

    def __init__(self) -> None:
        self.not_needed: frozenset[str] = frozenset()
        self._found: dict[str, list[Finding]] = {}
        self._failed: set[str] = set()

    @property
    def all(self) -> list[Finding]:
        """Return all findings."""
        return [finding for found in self._found.values() for finding in found]

    @property
    def exit_code(self) -> int:
        """Return the exit code of the first failed check, or 0."""
        return next((finding.exit_code for finding in self.all if finding.exit_code), EXIT_OK)

    def ok(self, check: str, text: str) -> None:
        """Report that the check passed."""
        self._found[check] = [Finding(check, OK, text)]

    def warn(self, check: str, text: str) -> None:
        """Report a condition that does not prevent an install but needs attention."""
        self._found[check] = [Finding(check, WARNING, text)]

    def skip(self, check: str, reason: str) -> None:
        """Report that the check could not be run."""
        self._found[check] = [Finding(check, SKIPPED, reason)]

    def fail(self, check: str, error: ModelsInitError) -> None:
        """Report an error that would make an install fail."""
        self._failed.add(check)
        if check.partition(" ")[0] in self.not_needed:
            self._found[check] = [Finding(check, WARNING, f"not needed now, but {fault}") for fault in error.faults]
        else:
            self._found[check] = [Finding(check, FAILED, fault, error.exit_code) for fault in error.faults]

    def downgrade(self, check: str, reason: str) -> None:
        """Change a failure to a warning; `reason` says why it is one."""
        self._found[check] = [
            replace(finding, state=WARNING, text=f"{reason}, but {finding.text}", exit_code=EXIT_OK)
            if finding.state == FAILED
            else finding
            for finding in self._found[check]
        ]

    def failed(self, check: str) -> bool:
        """Return True if the check failed, even if a run does not need it."""
        return check in self._failed

    @contextmanager
    def guarding(self, check: str) -> Iterator[None]:
        """Report an expected error in the block as the failure of the check."""
        try:
            yield
        except ModelsInitError as error:
            self.fail(check, error)
