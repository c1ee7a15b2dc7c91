"""The command line: one action at most, and every setting as a flag."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from models_init import __version__
from models_init.errors import UsageError
from models_init.settings import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import NoReturn

_ACTIONS = {
    "plan": "say what would be fetched, reused, written and activated; change nothing",
    "status": "say what is installed, current and staged",
}

_EXIT_CODES = """\
exit codes:
  0    installed, or nothing to do
  1    a bug in this program
  2    usage or environment
  10   manifest unreadable      11   manifest of an unknown schema
  20   source unreachable; may pass, run again
  21   no such pack or version
  22   access denied: the SAS token
  30   wrong bytes from the source, again after a retry
  40   volume                   41   no space                 42   locked by another run
  43   not writable             44   no such release          45   damaged
  130  interrupted              143  terminated: what was fetched is kept
"""


class _Parser(argparse.ArgumentParser):
    """Raises `UsageError` instead of printing and leaving."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see --help")


def parse(arguments: Sequence[str], environment: Mapping[str, str]) -> tuple[str, bool, dict[str, str]]:
    """Return the action ("install" without one), whether JSON is wanted, and the settings' texts.

    Flags win over the environment. Raises `UsageError`; `SystemExit` after `--help` and `--version`.
    """
    parsed = vars(_parser().parse_args(arguments))
    action = next((name for name in _ACTIONS if parsed[name]), "install")
    given = {setting.variable: parsed[setting.variable] for setting in SETTINGS if setting.flag}
    values = {name: text for name, text in given.items() if text is not None}
    return action, parsed["json"], {**environment, **values}


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="models-init",
        description="Bring the volume to the release that the environment names: fetch what is missing, verify it, "
        "activate it as one set. Run again to go on after any fault.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    actions = parser.add_argument_group("actions (without one: install)").add_mutually_exclusive_group()
    for name, text in _ACTIONS.items():
        actions.add_argument(f"--{name}", action="store_true", help=text)
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object on stdout")
    parser.add_argument("--version", action="version", version=f"models-init {__version__}")
    settings = parser.add_argument_group("settings (each is an environment variable, too)")
    for setting in SETTINGS:
        _add(settings, setting.variable, setting.flag, f"{setting.help} [{setting.default or 'not set'}]")
    return parser


def _add(group: argparse._ArgumentGroup, variable: str, flag: str | None, text: str) -> None:
    text = text.replace("%", "%%")
    if flag:
        group.add_argument(flag, dest=variable, metavar=variable, help=text)
    else:
        group.description = f"{variable} (no flag: it would show in the list of processes): {text}"
