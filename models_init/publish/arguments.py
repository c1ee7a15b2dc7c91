"""How arguments that several subcommands share are read from text."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from typing import TYPE_CHECKING

from models_init.manifest import CHUNK_LIMIT, MIB, Requirement

if TYPE_CHECKING:
    from collections.abc import Callable

_SIZE = re.compile(r"([0-9]{1,12})(B|KiB|MiB)?\Z")
_UNITS = {None: 1, "B": 1, "KiB": 1 << 10, "MiB": MIB}

CHUNK_LEAST = 4 << 10
"""Plain bytes below which a chunk's entry in the manifest would be a noticeable part of the chunk itself."""


def chunk_size(text: str) -> int:
    """Read a size such as `1MiB`, within the limits of a chunk."""
    match = _SIZE.match(text)
    if not match:
        raise ArgumentTypeError(f"{text!r} is no size: write it like 512KiB or 1MiB")
    size = int(match[1]) * _UNITS[match[2]]
    if not CHUNK_LEAST <= size <= CHUNK_LIMIT:
        raise ArgumentTypeError(f"{text} is out of bounds: a chunk has from 4KiB to 4MiB")
    return size


def requirement(text: str) -> Requirement:
    """Read a pack's name and the versions of it that fit, such as `common=2026.04,2026.07`."""
    name, _, versions = text.partition("=")
    try:
        return Requirement(name, tuple(versions.split(",")))
    except ValueError as error:
        raise ArgumentTypeError(f"{text!r}: {error}; write it like common=2026.04,2026.07") from error


def between(least: int, most: int) -> Callable[[str], int]:
    """Make a reader for a whole number within bounds."""

    def number(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text) or not least <= int(text) <= most:
            raise ArgumentTypeError(f"{text!r} is no number from {least} to {most}")
        return int(text)

    return number
