"""Valid names and versions of packs, which become directory names, and the form of a digest."""

from __future__ import annotations

import re
from typing import NamedTuple

NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,63}$"
VERSION_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$"

DIGEST_PATTERN = r"^sha256:[0-9a-f]{64}$"
"""The form of a digest in documents."""

_is_name = re.compile(NAME_PATTERN[:-1] + r"\Z").match
_is_version = re.compile(VERSION_PATTERN[:-1] + r"\Z").match


class PackRef(NamedTuple):
    """The name and version of a pack. Use `make` to create one from unchecked text."""

    name: str
    version: str

    @classmethod
    def make(cls, name: str, version: str) -> PackRef:
        """Return the reference. Raises `ValueError`: the name or the version is invalid."""
        if not _is_name(name):
            raise ValueError(f"{name!a} is not a pack name (lower-case letters, digits, '.', '_', '-')")
        if not _is_version(version):
            raise ValueError(f"{version!a} is not a version (letters, digits, '.', '_', '+', '-')")
        return cls(name, version)

    def __str__(self) -> str:
        return f"{self.name} {self.version}"
