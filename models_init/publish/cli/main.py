"""Entry point of `models-pack`: the table of subcommands, signal handling, exit codes."""

from __future__ import annotations

import os
import signal
import sys
from argparse import ArgumentParser
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NoReturn

from models_init import __version__
from models_init.core.errors import EXIT_INTERRUPTED, UsageError
from models_init.output import console, failure
from models_init.publish.cli.commands import build, bundle, check, compare, describe, inspect, keygen, sign, upload
from models_init.publish.cli.report import PROGRAM, notice
from models_init.runtime.signals import StoppedError, ignore_signals, raise_on_signals

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator, Sequence

    from models_init.publish.cli.report import Subcommand

COMMANDS: tuple[Subcommand, ...] = (build, describe, check, keygen, sign, upload, compare, bundle, inspect)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand and return the exit code.

    An error is reported as one line on standard error, and with `--json` as an object on standard output, too.
    """
    as_json = "--json" in (sys.argv[1:] if argv is None else argv)
    try:
        with _stoppable():
            return _run(build_parser().parse_args(argv))
    except StoppedError as stopped:
        ignore_signals()
        how = "interrupted" if stopped.exit_code == EXIT_INTERRUPTED else "terminated"
        _print_failure({"exit_code": stopped.exit_code, "error": how, "remedy": "run again"}, as_json=as_json)
        notice(f"{how}; run again")
        return stopped.exit_code
    except Exception as unexpected:  # noqa: BLE001 - the outermost level: any unexpected error is reported as a bug
        error = failure.expected(unexpected)
        _print_failure(failure.failure_content(error), as_json=as_json)
        return console.fault(error, program=PROGRAM)


def _print_failure(content: dict[str, object], *, as_json: bool) -> None:
    if as_json:
        with suppress(UsageError):  # stdout cannot be written; stderr and the exit code report the failure
            console.result(content, as_json=True)


def _run(arguments: Namespace) -> int:
    command: Subcommand = arguments.command
    try:
        report = command.run(arguments)
    except ModuleNotFoundError as error:
        raise UsageError(_missing_package(command.NAME, error)) from error
    except OSError as error:
        if error.filename is None:  # not about a path
            raise
        path = os.fsdecode(error.filename)
        raise UsageError(f"{path} cannot be used: {error.strerror}; check the path and its permissions") from error
    for warning in report.warnings:
        notice(f"warning: {warning}")
    facts = report.facts | ({"warnings": list(report.warnings)} if report.warnings else {})
    facts |= failure.failure_content(report.error) if report.error else {}
    console.result(facts if arguments.json else report.text, as_json=arguments.json)
    return console.fault(report.error, program=PROGRAM) if report.error else 0


def _missing_package(command: str, error: ModuleNotFoundError) -> str:
    package = (error.name or "a package").partition(".")[0]
    return (
        f"`{PROGRAM} {command}` needs a package that is not installed: {package}; "
        "run pip install 'models-init[publish]', then run it again"
    )


class _PackParser(ArgumentParser):
    """Report an invalid command line like any other error, in one line."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {self.prog} --help")


def build_parser() -> ArgumentParser:
    """Return the parser of the command line, with all commands."""
    parser = _PackParser(PROGRAM, description="Build, check, sign and publish packs of speech models.")
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
