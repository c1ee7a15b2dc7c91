"""The tar blocks between the contents of files, the same for the same entry on any machine.

GNU format: every reader understands it (busybox does not read PAX names), names are raw UTF-8 bytes, and neither a
name nor a size has a limit that matters here.
"""

from __future__ import annotations

import tarfile

from models_init.publish.pack.source_tree import Folder, SourceFile

BLOCK = 512
END = bytes(2 * BLOCK)
"""What tells a reader that nothing follows."""

FOLDER_MODE, EXECUTABLE_MODE, FILE_MODE = 0o755, 0o755, 0o644


def header(entry: SourceFile | Folder) -> bytes:
    """Write an entry's header; owner, group, times and all other traces of this machine are left out."""
    info = tarfile.TarInfo(entry.path)
    if isinstance(entry, Folder):
        info.type, info.mode = tarfile.DIRTYPE, FOLDER_MODE
    else:
        info.size = entry.size
        info.mode = EXECUTABLE_MODE if entry.executable else FILE_MODE
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "strict")


def padded(size: int) -> int:
    """Bytes that a content of `size` bytes takes in the stream, filled up to whole blocks."""
    return -(-size // BLOCK) * BLOCK


def padding(size: int) -> bytes:
    """What follows a content of `size` bytes."""
    return bytes(padded(size) - size)
