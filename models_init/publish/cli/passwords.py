"""Read the password of a secret key from a file, the environment or the terminal, never from the command line."""

from __future__ import annotations

import os
import sys
from getpass import getpass
from pathlib import Path
from typing import TYPE_CHECKING

from models_init.core.errors import UsageError
from models_init.core.redaction import register

if TYPE_CHECKING:
    from argparse import ArgumentParser

VARIABLE = "MODELS_KEY_PASSWORD"


def add_password_file(parser: ArgumentParser) -> None:
    """Add the `--password-file` argument."""
    parser.add_argument(
        "--password-file",
        type=Path,
        metavar="FILE",
        help=f"its first line is the key's password (else {VARIABLE}, else it is typed on the terminal)",
    )


def given_password(file: Path | None) -> str:
    """Return the password from the file or else the environment, or an empty string if there is none.

    Raises `UsageError`: the file cannot be read or has an empty first line, or the variable is not UTF-8.
    """
    password = _in_file(file) if file else os.environ.get(VARIABLE, "")
    register(password)
    try:
        password.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{VARIABLE} is not UTF-8; choose another password, or set the locale to UTF-8") from None
    return password


def asked_password(prompt: str) -> str:
    """Prompt for a password on the terminal, without echo.

    Raises `UsageError`: standard input is not a terminal, no password was typed, or it is not UTF-8.
    """
    if not sys.stdin.isatty():
        raise UsageError(f"the key has a password: use --password-file, set {VARIABLE}, or run on a terminal")
    try:
        password = getpass(prompt)
        password.encode()
    except EOFError:
        password = ""
    except UnicodeError:
        raise UsageError(
            "the typed password is not UTF-8; choose another password, or set the terminal to UTF-8"
        ) from None
    if not password:
        raise UsageError("no password was typed")
    register(password)
    return password


def _in_file(file: Path) -> str:
    try:
        lines = file.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"--password-file {file} cannot be read: {getattr(error, 'strerror', 'it is not text')}; name a text file"
        ) from error
    if not lines or not lines[0]:
        raise UsageError(f"--password-file {file} has an empty first line, which must contain the password")
    return lines[0]
