"""The result of a subcommand, the interface of subcommands, and lines on standard error."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from models_init.core.redaction import redact
from models_init.core.units import one_line

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from models_init.core.errors import ModelsInitError


PROGRAM = "models-pack"


def notice(text: str) -> None:
    """Print one line for people on standard error."""
    line = redact(f"{PROGRAM}: {one_line(text)}\n")
    sys.stderr.write(line)


@dataclass(frozen=True, slots=True)
class Report:
    """A result: `text` for people, `facts` for `--json`, and the error that sets the exit code despite the result.

    Each warning is printed as a line on standard error, and listed in the facts.
    """

    text: str
    facts: dict[str, object]
    error: ModelsInitError | None = None
    warnings: tuple[str, ...] = ()


class Subcommand(Protocol):
    """The interface of a subcommand, which is a module."""

    NAME: str
    HELP: str

    def configure(self, parser: ArgumentParser) -> None:
        """Add the arguments."""

    def run(self, arguments: Namespace) -> Report:
        """Run the command and return its result.

        Raises `ModelsInitError` or a subclass: there is no result to show.
        """
