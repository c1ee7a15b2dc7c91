"""Entry point of `models-pack`: the table of subcommands, signal handling, exit codes."""

from __future__ import annotations

import signal
import sys
from argparse import ArgumentParser
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from pydantic_core import to_json

from models_init import __version__
from models_init.core.errors import EXIT_INTERRUPTED, ModelsInitError, UsageError
from models_init.core.redaction import redact
from models_init.core.signals import StoppedError, raise_on_signals
from models_init.publish.cli.commands import build, bundle, check, compare, describe, inspect, keygen, sign, upload

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator, Sequence

    from models_init.publish.cli.report import Report, Subcommand

PROGRAM = "models-pack"

COMMANDS: tuple[Subcommand, ...] = (build, describe, check, keygen, sign, upload, compare, bundle, inspect)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand and return the exit code; report an expected error as one line on standard error."""
    try:
        with _stoppable():
            return _run(_parser().parse_args(argv))
    except StoppedError as stopped:
        _tell(f"{'interrupted' if stopped.exit_code == EXIT_INTERRUPTED else 'terminated'}; run again")
        return stopped.exit_code
    except ModelsInitError as error:
        return _failed(error)


def _run(arguments: Namespace) -> int:
    command: Subcommand = arguments.command
    report = command.run(arguments)
    _show(report, as_json=arguments.json)
    return _failed(report.error) if report.error else 0


def _show(report: Report, *, as_json: bool) -> None:
    text = to_json(report.facts, inf_nan_mode="null").decode() if as_json else report.text
    sys.stdout.write(f"{text}\n")


def _failed(error: ModelsInitError) -> int:
    _tell(f"error: {redact(' '.join(str(error).split()))}")
    return error.exit_code


def _tell(line: str) -> None:
    sys.stderr.write(f"{PROGRAM}: {line}\n")


class _PackParser(ArgumentParser):
    """Report an invalid command line like any other error, in one line."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {self.prog} --help")


def _parser() -> ArgumentParser:
    parser = _PackParser(PROGRAM, description="Make, check and publish packs of speech models.")
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        subparser = subparsers.add_parser(command.NAME, help=command.HELP, description=command.__doc__)
        command.configure(subparser)
        subparser.add_argument("--json", action="store_true", help="print the result as one JSON object")
        subparser.set_defaults(command=command)
    return parser


@contextmanager
def _stoppable() -> Iterator[None]:
    """Let SIGINT and SIGTERM raise `StoppedError` while the block runs, so that unfinished files are removed."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    raise_on_signals()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
