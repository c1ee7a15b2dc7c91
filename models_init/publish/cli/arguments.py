"""Declare and parse the arguments that several subcommands share."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from models_init.core.errors import UsageError
from models_init.core.pack_ref import PackRef
from models_init.core.units import parse_size
from models_init.formats import minisign
from models_init.formats.documents import flaw
from models_init.formats.manifest import CHUNK_LIMIT, MIB, Requirement
from models_init.publish.pack.slicing import AUTO

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable

_SIZE = re.compile(r"([0-9]{1,12})(B|KiB|MiB)?\Z")
_UNITS = {None: 1, "B": 1, "KiB": 1 << 10, "MiB": MIB}

CHUNK_LEAST = 4 << 10
"""Minimum chunk size in uncompressed bytes; below it, the manifest entry would be large relative to the chunk."""


def add_directory_of_packs(parser: ArgumentParser) -> None:
    """Add the argument of a command that works on all version directories below a directory."""
    parser.add_argument(
        "directory",
        type=Path,
        metavar="DIR",
        help="a version directory NAME/VERSION, or a directory that contains such directories",
    )


def add_pack(parser: ArgumentParser) -> None:
    """Add the arguments that describe a new pack; `pack_ref` and `requirements` read them."""
    parser.add_argument("--name", required=True, help="name of the pack, e.g. nl-nl")
    parser.add_argument("--version", required=True, help="version of the pack, e.g. 2026.04")
    parser.add_argument(
        "--requires",
        type=requirement,
        action="append",
        default=[],
        metavar="NAME=VERSION,...",
        help="versions of another pack that this pack works with; sites refuse other versions",
    )


def pack_ref(arguments: Namespace) -> PackRef:
    """Return the reference to the new pack.

    Raises `UsageError`: the name or the version is not valid.
    """
    try:
        return PackRef.make(arguments.name, arguments.version)
    except ValueError as error:
        raise UsageError(str(error)) from error


def chunk_size(text: str) -> int:
    """Parse a size such as `1MiB`, within the limits of a chunk, and return it in bytes; `auto` gives `AUTO`."""
    if text == "auto":
        return AUTO
    match = _SIZE.match(text)
    if not match:
        raise ArgumentTypeError(f"{text!r} is not a size: write it like 512KiB or 1MiB, or auto")
    count = int(match[1]) * _UNITS[match[2]]
    if not CHUNK_LEAST <= count <= CHUNK_LIMIT:
        raise ArgumentTypeError(f"{text} is out of range: a chunk has from 4KiB to 4MiB")
    return count


def chunk_size_text(size: int) -> str:
    """Format a chunk size as `chunk_size` parses it."""
    if size == AUTO:
        return "auto"
    unit = next(unit for unit in ("MiB", "KiB", "B") if size % _UNITS[unit] == 0)
    return f"{size // _UNITS[unit]}{unit}"


def large_size(text: str) -> int:
    """Parse a size such as `4G`, `4GB` (both 4·10⁹ bytes, which fits on a FAT32 medium) or `4GiB`; return bytes."""
    try:
        return parse_size(f"{text}B" if text[-1:] in "KMGkmg" else text)
    except ValueError as error:
        raise ArgumentTypeError(f"{text!r} is not a size: write it like 4G or 4GiB") from error


def requirement(text: str) -> Requirement:
    """Parse a pack's name and its compatible versions, such as `common=2026.04,2026.07`."""
    name, _, versions = text.partition("=")
    try:
        return Requirement(pack=name, versions=tuple(versions.split(",")))
    except ValueError as error:
        raise ArgumentTypeError(f"{text!r}: {flaw(error)}; write it like common=2026.04,2026.07") from error


def requirements(arguments: Namespace) -> tuple[Requirement, ...]:
    """Return the requirements of the new pack, sorted by pack name.

    Raises `UsageError`: two requirements name the same pack.
    """
    found: list[Requirement] = sorted(arguments.requires, key=lambda requirement: requirement.pack)
    for before, after in pairwise(found):
        if before.pack == after.pack:
            raise UsageError(
                f"--requires names {after.pack} twice; list all its versions in one option, separated by commas"
            )
    return tuple(found)


def public_keys(text: str) -> tuple[minisign.PublicKey, ...]:
    """Parse public keys, or read them from a file."""
    path = Path(text)
    try:
        is_file = path.is_file()
    except OSError:  # keys, or a secret key, longer than the name of a file can be
        is_file = False
    try:
        return minisign.public_keys(path.read_text(encoding="utf-8") if is_file else text)
    except OSError as error:
        raise ArgumentTypeError(f"{path} cannot be read: {error.strerror}; name a readable file") from error
    except ValueError as error:  # not in the message: the text may be a secret key
        raise ArgumentTypeError(
            "must be a minisign public key (56 characters that start with RW), or a file that contains public keys"
        ) from error


def between(least: int, most: int) -> Callable[[str], int]:
    """Return a parser for a whole number from `least` to `most`."""

    def number(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text) or not least <= int(text) <= most:
            raise ArgumentTypeError(f"{text!r} is not a number from {least} to {most}")
        return int(text)

    return number
