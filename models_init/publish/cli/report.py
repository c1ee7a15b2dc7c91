"""What a subcommand hands back to be shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from models_init.core.errors import ModelsInitError


@dataclass(frozen=True, slots=True)
class Report:
    """A result: `text` for people, `facts` for `--json`, and the error that it ends with although there is a result."""

    text: str
    facts: dict[str, object]
    error: ModelsInitError | None = None


class Subcommand(Protocol):
    """A subcommand; a module is one."""

    NAME: str
    HELP: str

    def configure(self, parser: ArgumentParser) -> None:
        """Add the arguments."""

    def run(self, arguments: Namespace) -> Report:
        """Do the work; raise `ModelsInitError` where there is no result to show."""
