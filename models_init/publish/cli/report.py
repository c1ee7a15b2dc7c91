"""The result of a subcommand, and the interface of subcommands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from models_init.core.errors import ModelsInitError


@dataclass(frozen=True, slots=True)
class Report:
    """A result: `text` for people, `facts` for `--json`, and the error that sets the exit code despite the result."""

    text: str
    facts: dict[str, object]
    error: ModelsInitError | None = None


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
