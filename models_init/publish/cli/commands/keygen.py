"""Create a key pair in minisign's format: the secret PREFIX.key, which signs packs, and PREFIX.pub for the sites.

Existing files are never overwritten. The password comes from the file, from MODELS_KEY_PASSWORD, or is typed twice.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from models_init.core.errors import UsageError
from models_init.publish.cli.passwords import add_password_file, asked_password, given_password
from models_init.publish.cli.report import Report
from models_init.publish.pack.drafts import translate_os_errors

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

NAME = "keygen"
HELP = "create a key pair for signing"


def configure(parser: ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--out", required=True, type=Path, metavar="PREFIX", help="write PREFIX.key and PREFIX.pub")
    add_password_file(parser)
    parser.add_argument(
        "--no-password", action="store_true", help="do not encrypt the secret key; only where its file is safe"
    )


def run(arguments: Namespace) -> Report:
    """Generate the key pair, write both files, and report the setting for sites."""
    from models_init.publish.signing.keys import SecretKey, public_key_text, secret_key_text

    secret, public = (arguments.out.with_name(f"{arguments.out.name}.{kind}") for kind in ("key", "pub"))
    _check_free(arguments.out, secret, public)
    password = None if arguments.no_password else _new_password(arguments.password_file)
    key = SecretKey.make()
    _write(secret, secret_key_text(key, password), 0o600)
    try:
        _write(public, public_key_text(key.public), 0o644)
    except BaseException:
        secret.unlink()
        raise
    text = f"key {key.public.id}: secret in {secret}, public in {public}; sites set MODELS_PUBLIC_KEY={key.public}"
    facts: dict[str, object] = {
        "key": key.public.id,
        "public_key": str(key.public),
        "secret_key_file": str(secret),
        "public_key_file": str(public),
        "encrypted": password is not None,
    }
    return Report(text, facts)


def _check_free(prefix: Path, *files: Path) -> None:
    if prefix.is_dir() or not prefix.name:
        raise UsageError(f"--out {prefix} is a directory: name the files in it, e.g. {prefix / 'models'}")
    if not prefix.parent.is_dir():
        raise UsageError(
            f"--out {prefix}: the directory {prefix.parent} does not exist; create it, readable only by you"
        )
    for file in files:
        if os.path.lexists(file):
            raise UsageError(f"{file} exists, and keys are never overwritten; choose another --out")


def _new_password(file: Path | None) -> str:
    if password := given_password(file):
        return password
    password = asked_password("Password for the new key: ")
    if asked_password("Repeat the password: ") != password:
        raise UsageError("the two passwords differ; run again")
    return password


def _write(path: Path, text: str, mode: int) -> None:
    """Write a new file directly under its final name, so that no temporary copy of the key can be left behind."""
    with translate_os_errors(path):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            with suppress(OSError):
                path.unlink()
            raise
