"""Parse the command line: at most one action, and every setting as a flag."""

from __future__ import annotations

import argparse
import textwrap
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from models_init import __version__
from models_init.cli.misspelled import suggestion
from models_init.cli.settings import SETTINGS
from models_init.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import NoReturn

_USAGE = "models-init [ACTION] [--json] [-q | -v] [SETTING ...]"

_DESCRIPTION = """\
Install and activate the speech model packs that the environment names:
download what is missing, verify it, and switch to all of it at once.
To continue after any failure, run the same command again.
"""

_EPILOG = """\
example:
  export REALTIME_LANGUAGES=nl-nl REALTIME_LANGUAGE_VERSION=2026.04
  export REALTIME_COMMON_VERSION=2026.04
  export MODELS_SAS_TOKEN_FILE=/run/secrets/models-sas-token
  models-init --check      # would an install work?
  models-init              # install
  models-init --status     # what is installed?

exit codes:
  0    installed, or nothing to do
  1    a bug in this program
  2    invalid command line or environment
  10   manifest or opaque archive unusable
  11   manifest of an unknown schema
  12   versions that do not work together
  13   not signed by a trusted key
  20   source unreachable; may pass, run again
  21   no such pack or version, or it is archived
  22   access denied: the SAS token
  23   not licensed: license.json or license.dat
  30   wrong bytes from the source, again after a retry
  40   volume: fault         41   volume: no space     42   volume: locked
  43   volume: not writable  44   not installed        45   damaged
  130  interrupted           143  terminated; verified data is kept

Documentation: docs/operations.md, docs/troubleshooting.md in the repository
"""

_ACTIONS = (
    *("stage", "plan", "check", "status", "verify", "repair", "rollback", "activate"),
    *("prune", "wait", "hold", "receipt", "support", "render_overlay", "generate"),
)
_LONGEST_WAIT = 7 * 24 * 3600
FORMATS = ("man", "bash", "zsh", "fish")
_UNNAMED = True  # value of `--rollback`, `--hold` and others without a release; argparse checks only text
_WAIT_SECONDS = "7200"  # value of `--wait` without a time: as long as a rollout may take


@dataclass(frozen=True, slots=True)
class Command:
    """The parsed command line.

    `action` is "install" if no action's flag is given. `release` is empty if none is named; for "receipt" and "support"
    it is the output file, for "generate" the format, for "wait" the number of seconds. `values` are the texts of the
    settings by variable: flags take precedence over the environment.
    """

    action: str
    release: str
    keep: int
    dry_run: bool
    with_stdin: bool
    as_json: bool
    program: tuple[str, ...]
    values: Mapping[str, str]


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Wraps help texts without breaking long words, such as URLs."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(" ".join(text.split()), width, break_long_words=False, break_on_hyphens=False)


class _Parser(argparse.ArgumentParser):
    """Raises `UsageError` instead of printing and exiting."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see --help")


def parse(arguments: Sequence[str], environment: Mapping[str, str]) -> Command:
    """Parse the command line. Raises `UsageError`; `SystemExit` after `--help` and `--version`."""
    parser = build_parser()
    known, unknown = parser.parse_known_args(arguments)
    parsed = vars(known)
    action = next((name for name in _ACTIONS if parsed[name] not in (None, False)), "install")
    _require(parsed, action, unknown, parser)
    given = {setting.variable: parsed[setting.variable] for setting in SETTINGS if setting.flag}
    return Command(
        action=action,
        release=parsed[action] if isinstance(parsed.get(action), str) else "",
        keep=1 if parsed["keep"] is None else parsed["keep"],
        dry_run=parsed["dry_run"],
        with_stdin=parsed["with_stdin"],
        as_json=parsed["json"],
        program=tuple(parsed["program"]),
        values={**environment, **{name: text for name, text in given.items() if text is not None}},
    )


def _require(parsed: Mapping[str, Any], action: str, unknown: Sequence[str], parser: argparse.ArgumentParser) -> None:
    """Raise `UsageError` for arguments that do not exist or do not belong to the action."""
    for word in unknown or (() if action == "hold" else parsed["program"]):
        raise UsageError(f"unknown argument {word!a}{_advice(word, parser)}")
    if action != "prune" and (parsed["keep"] is not None or parsed["dry_run"]):
        raise UsageError("--keep and --dry-run belong to --prune; see --help")
    if action != "support" and parsed["with_stdin"]:
        raise UsageError("--with-stdin belongs to --support; see --help")


def _advice(word: str, parser: argparse.ArgumentParser) -> str:
    if word == "install":
        return "; run models-init without an action to install"
    flags = [flag for action in parser._actions for flag in action.option_strings]  # noqa: SLF001 - no public list
    return suggestion(f"--{word.lstrip('-').partition('=')[0]}", flags) or "; see --help"


def build_parser() -> argparse.ArgumentParser:
    """Return the parser with all actions and settings; help texts fit in 80 columns."""
    parser = _Parser(
        prog="models-init",
        usage=_USAGE,
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=partial(_HelpFormatter, width=79, max_help_position=26),
        allow_abbrev=False,
    )
    _add_actions(parser)
    parser.add_argument("--keep", type=_count, metavar="N", help="with --prune: releases to keep for rollback [1]")
    parser.add_argument("--dry-run", action="store_true", help="with --prune: remove nothing, report what would be")
    parser.add_argument(
        "--with-stdin", action="store_true", help="with --support: add what deploy/compose/support.sh writes to stdin"
    )
    parser.add_argument("--json", action="store_true", help="print the result, or the error, as one JSON object")
    for short, long, level, text in (
        ("-q", "--quiet", "warning", "log only warnings and errors, without progress"),
        ("-v", "--verbose", "debug", "log details, such as each request"),
    ):
        parser.add_argument(short, long, action="store_const", const=level, dest="MODELS_LOG_LEVEL", help=text)
    parser.add_argument("--version", action="version", version=f"models-init {__version__}")
    settings = parser.add_argument_group("settings (each is also an environment variable)")
    for setting in SETTINGS:
        _add_setting(settings, setting.variable, setting.flag, f"{setting.help} [{setting.default or 'not set'}]")
    parser.add_argument("program", nargs="*", metavar="PROGRAM", help="with --hold: the program to run, after --")
    return parser


def _add_actions(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("actions (without one: install)").add_mutually_exclusive_group()
    _add_switch(group, "--stage", "install the packs without activating them")
    _add_switch(group, "--plan", "report what an install would download, reuse and write")
    _add_switch(group, "--check", "report whether an install would work; change nothing")
    _add_switch(group, "--status", "report what is installed, current and incomplete")
    _add_release(group, "--verify", "hash all files of a release [current], and list the damages")
    _add_release(group, "--repair", "fetch the chunks that --verify reports as damaged")
    _add_release(group, "--rollback", "activate the previous release, or RELEASE; later runs keep it")
    group.add_argument(
        "--activate", type=_named, metavar="RELEASE", help="activate an installed release; later runs keep it"
    )
    _add_switch(group, "--prune", "remove what neither the current release nor a rollback needs")
    group.add_argument(
        "--wait",
        nargs="?",
        const=_WAIT_SECONDS,
        type=_seconds,
        metavar="SECONDS",
        help=f"wait until the packs of the environment are installed [{_WAIT_SECONDS}]; changes nothing",
    )
    _add_release(
        group,
        "--hold",
        "keep --prune from removing a release [the packs of the environment] until SIGTERM, or while a program runs: "
        "--hold current -- PROGRAM",
    )
    _add_file(group, "--receipt", "write a list of the installed packs for the vendor; - for stdout")
    _add_file(group, "--support", "write an archive that describes this site, without secrets; - for stdout")
    _add_switch(group, "--render-overlay", "print a compose overlay with one engine for each language")
    group.add_argument(
        "--generate",
        choices=FORMATS,
        metavar="FORMAT",
        help=f"print the manual page or a completion: {', '.join(FORMATS)}",
    )


def _add_switch(group: argparse._MutuallyExclusiveGroup, flag: str, text: str) -> None:
    group.add_argument(flag, action="store_true", help=text)


def _add_file(group: argparse._MutuallyExclusiveGroup, flag: str, text: str) -> None:
    group.add_argument(flag, type=_named, metavar="FILE", help=text)


def _add_release(group: argparse._MutuallyExclusiveGroup, flag: str, text: str) -> None:
    group.add_argument(flag, nargs="?", const=_UNNAMED, type=_named, metavar="RELEASE", help=text)


def _add_setting(group: argparse._ArgumentGroup, variable: str, flag: str | None, text: str) -> None:
    text = text.replace("%", "%%")
    if flag:
        group.add_argument(flag, dest=variable, metavar=variable, help=text)
    else:
        entry = f"{variable}: {text}\n(no flag, because the list of processes would show it)"
        group.description = "\n".join(filter(None, [group.description, entry]))


def _named(text: str) -> str:
    """Reject an empty name: the variable of a script that was not set must not mean another release."""
    if not text:
        raise argparse.ArgumentTypeError("the name is empty")
    return text


def _seconds(text: str) -> str:
    if not text.isdecimal() or int(text) > _LONGEST_WAIT:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of seconds from 0 to {_LONGEST_WAIT}")
    return text


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) > 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to 1000")
    return int(text)
