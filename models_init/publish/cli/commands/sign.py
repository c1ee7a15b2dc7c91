"""Sign the manifests of packs with a secret key from `models-pack keygen` or minisign.

Writes manifest.json.minisig next to each manifest; the same key and manifest give the same bytes. The password of the
key comes from the file, from MODELS_KEY_PASSWORD, or is typed.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from models_init.core.errors import UsageError
from models_init.core.redaction import register
from models_init.publish.cli.arguments import add_directory_of_packs
from models_init.publish.cli.passwords import add_password_file, asked_password, given_password
from models_init.publish.cli.report import Report
from models_init.publish.pack.version_directory import find
from models_init.publish.signing.sign import sign

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from models_init.publish.signing.keys import SecretKey
    from models_init.publish.signing.sign import SignResult

NAME = "sign"
HELP = "sign the manifests of packs"

_KEY_LIMIT = 64 << 10

_SECRET_KEY = re.compile(r"[A-Za-z0-9+/=]{200,}")
"""A secret key in base64, which has 212 characters; `Path` may have shortened it."""


def configure(parser: ArgumentParser) -> None:
    """Add the arguments."""
    add_directory_of_packs(parser)
    parser.add_argument("--key", required=True, type=Path, metavar="FILE", help="the secret key")
    add_password_file(parser)
    parser.add_argument("--force", action="store_true", help="replace signatures of other keys, or of other manifests")


def run(arguments: Namespace) -> Report:
    """Sign every version directory."""
    found = find(arguments.directory)
    for directory in found:
        directory.parsed()  # report faults before asking for a password
    key = _key(arguments)
    signed = sign(found, key, replace=arguments.force)
    key_id = key.public.id
    lines = [f"{each.ref}: {'signed' if each.fresh else 'already signed'} by key {key_id}" for each in signed]
    return Report("\n".join(lines), {"key": key_id, "packs": [_facts(each) for each in signed]})


def _facts(signed: SignResult) -> dict[str, object]:
    return {
        "pack": signed.ref.name,
        "version": signed.ref.version,
        "signature": str(signed.directory.signature),
        "already_signed": not signed.fresh,
    }


def _key(arguments: Namespace) -> SecretKey:
    from models_init.publish.signing.keys import read_secret_key

    try:
        with arguments.key.open("rb") as file:
            text = file.read(_KEY_LIMIT).decode(errors="replace")
    except OSError as error:
        for key in _SECRET_KEY.findall(str(arguments.key)):  # the key was given instead of its file
            register(key)
        raise UsageError(f"--key {arguments.key} cannot be read: {error.strerror}; name a secret key") from error
    return read_secret_key(
        text,
        str(arguments.key),
        lambda: given_password(arguments.password_file) or asked_password(f"Password of {arguments.key}: "),
    )
