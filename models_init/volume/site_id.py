"""Keep a random id on the volume that distinguishes this site from others: `releases/.site-id`.

A host name or a container's id may be new in each run, and a token may be the same at many sites.
"""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING

from models_init.fs.os_errors import volume_errors

if TYPE_CHECKING:
    from models_init.volume.layout import Volume

_VALID = re.compile(r"[0-9a-f]{32}\n")


def site_id(volume: Volume) -> str:
    """Return the id of a prepared volume; create it if it is missing or invalid. Raises `VolumeError`."""
    path = volume.root / "releases" / ".site-id"
    with volume_errors(volume.root):
        try:
            text = path.read_text(encoding="ascii", errors="replace")
        except (FileNotFoundError, IsADirectoryError):
            text = ""
        if not _VALID.fullmatch(text):
            text = f"{secrets.token_hex(16)}\n"
            volume.replace(path, text.encode())
    return text.strip()
