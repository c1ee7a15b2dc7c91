"""The rules for paths of files in a pack."""

from __future__ import annotations

import re

from models_init.formats.documents import shortened

# The regular expression for paths excludes: control characters (C0, DEL, C1, line and paragraph separators),
# surrogates, characters that change the direction of writing (U+202E displays "exe.jpg" as "gpj.exe"), empty parts,
# "." and "..", a leading or trailing slash.
_PATH_PART = r"(?!\.{1,2}(?:/|\Z))[^/\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+"
_PATH = re.compile(rf"{_PATH_PART}(?:/{_PATH_PART})*\Z")
PATH_BYTES = 1024  # together with MODELS_DIR well below PATH_MAX of Linux, 4096
_PART_BYTES = 255  # NAME_MAX of every Linux file system


def check_path(path: str) -> None:
    """Raise `ValueError` unless the path stays inside its directory, prints on one line and is not too long."""
    if not _PATH.match(path):
        raise ValueError(f"{path!r} is not a usable path: {_path_flaw(path)}")
    if not path.isascii() or len(path) > _PART_BYTES:
        encoded = path.encode()
        if len(encoded) > PATH_BYTES or max(map(len, encoded.split(b"/"))) > _PART_BYTES:
            raise ValueError(
                f"{shortened(path)!r} is too long for a path: {len(encoded)} bytes of at most {PATH_BYTES}, "
                f"or a part of more than {_PART_BYTES}"
            )


def _path_flaw(path: str) -> str:
    parts = path.split("/")
    if path.startswith("/"):
        return "it is absolute"
    if ".." in parts:
        return "it leads upwards"
    if "." in parts:
        return "it has a part '.'"
    if "" in parts:
        return "it has an empty part"
    hidden = next(char for char in path if char != "/" and not _PATH.match(char + "_"))
    return f"it contains the character U+{ord(hidden):04X}"
