"""Parse the command line: at most one action, and every setting as a flag."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models_init import __version__
from models_init.cli.settings import SETTINGS
from models_init.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import NoReturn

_EXIT_CODES = """\
exit codes:
  0    installed, or nothing to do
  1    a bug in this program
  2    usage or environment
  10   manifest unreadable      11   manifest of an unknown schema
  12   versions that do not work together
  13   not signed by a key that is trusted here
  20   source unreachable; may pass, run again
  21   no such pack or version, or it is archived
  22   access denied: the SAS token
  23   not licensed: license.json or license.dat
  30   wrong bytes from the source, again after a retry
  40   volume                   41   no space                 42   locked by another run
  43   not writable             44   no such release          45   damaged
  130  interrupted              143  terminated: what was fetched is kept
"""

_ACTIONS = (
    *("plan", "check", "status", "verify", "repair", "rollback", "activate"),
    *("prune", "hold", "receipt", "render_overlay"),
)
_PREVIOUS = ""  # value of `--rollback` without a release


@dataclass(frozen=True, slots=True)
class Command:
    """The parsed command line.

    `action` is "install" if no action's flag is given. `release` is empty if none is named; for "receipt" it is the
    output file. `values` are the texts of the settings by variable: flags take precedence over the environment.
    """

    action: str
    release: str
    keep: int
    dry_run: bool
    as_json: bool
    program: tuple[str, ...]
    values: Mapping[str, str]


class _Parser(argparse.ArgumentParser):
    """Raises `UsageError` instead of printing and exiting."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see --help")


def parse(arguments: Sequence[str], environment: Mapping[str, str]) -> Command:
    """Parse the command line. Raises `UsageError`; `SystemExit` after `--help` and `--version`."""
    parser = _parser()
    parsed = vars(parser.parse_args(arguments))
    action = next((name for name in _ACTIONS if parsed[name] not in (None, False)), "install")
    _require(parsed, action)
    given = {setting.variable: parsed[setting.variable] for setting in SETTINGS if setting.flag}
    return Command(
        action=action,
        release=parsed[action] if isinstance(parsed.get(action), str) else "",
        keep=1 if parsed["keep"] is None else parsed["keep"],
        dry_run=parsed["dry_run"],
        as_json=parsed["json"],
        program=tuple(parsed["program"]),
        values={**environment, **{name: text for name, text in given.items() if text is not None}},
    )


def _require(parsed: Mapping[str, object], action: str) -> None:
    if action != "prune" and (parsed["keep"] is not None or parsed["dry_run"]):
        raise UsageError("--keep and --dry-run go with --prune; see --help")
    if bool(parsed["program"]) != (action == "hold"):
        raise UsageError("--hold RELEASE wants a program to run, as in --hold current -- asr-server; nothing else does")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="models-init",
        description="Bring the volume to the release that the environment names: fetch what is missing, verify it, "
        "activate it as one set. Run again to go on after any fault.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_actions(parser)
    parser.add_argument("--keep", type=_count, metavar="N", help="with --prune: releases to keep for rollback [1]")
    parser.add_argument("--dry-run", action="store_true", help="with --prune: say what would go, remove nothing")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object on stdout")
    parser.add_argument("--version", action="version", version=f"models-init {__version__}")
    settings = parser.add_argument_group("settings (each is an environment variable, too)")
    for setting in SETTINGS:
        _add_setting(settings, setting.variable, setting.flag, f"{setting.help} [{setting.default or 'not set'}]")
    parser.add_argument("program", nargs="*", metavar="PROGRAM", help="with --hold: what to run, after --")
    return parser


def _add_actions(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("actions (without one: install)").add_mutually_exclusive_group()
    group.add_argument("--plan", action="store_true", help="say what would be fetched, reused, written and activated")
    group.add_argument("--check", action="store_true", help="say whether an install would work; change nothing")
    group.add_argument("--status", action="store_true", help="say what is installed, current and staged")
    _add_release(group, "--verify", "hash all files of a release [current], and name every difference")
    _add_release(group, "--repair", "put back what --verify finds, fetching the damaged chunks alone")
    _add_release(group, "--rollback", "make the release before the current one current, or RELEASE; later runs keep it")
    group.add_argument("--activate", metavar="RELEASE", help="make an installed release current; later runs keep it")
    group.add_argument("--prune", action="store_true", help="remove what neither current nor rollback needs")
    group.add_argument(
        "--hold", metavar="RELEASE", help="run a program that --prune respects: --hold current -- PROGRAM ..."
    )
    group.add_argument(
        "--receipt", metavar="FILE", help="write what is installed, for a bundle that leaves it out; - for stdout"
    )
    group.add_argument(
        "--render-overlay", action="store_true", help="print a compose overlay with one engine for each language"
    )


def _add_release(group: argparse._MutuallyExclusiveGroup, flag: str, text: str) -> None:
    group.add_argument(flag, nargs="?", const=_PREVIOUS, metavar="RELEASE", help=text)


def _add_setting(group: argparse._ArgumentGroup, variable: str, flag: str | None, text: str) -> None:
    text = text.replace("%", "%%")
    if flag:
        group.add_argument(flag, dest=variable, metavar=variable, help=text)
    else:
        group.description = f"{variable} (no flag: it would show in the list of processes): {text}"


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) > 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to 1000")
    return int(text)
