"""Write the tar blocks between the contents of files, reproducibly on any machine.

The format is GNU tar: every reader understands it (busybox does not read PAX names), names are raw UTF-8 bytes, and its
limits of name length and file size do not matter here.
"""

from __future__ import annotations

import tarfile

from models_init.core.file_modes import DIRECTORY_MODE, EXECUTABLE_MODE, FILE_MODE
from models_init.publish.pack.source_tree import Directory, SourceFile

BLOCK = 512
END = bytes(2 * BLOCK)
"""The two zero blocks that end a tar stream."""


def header(entry: SourceFile | Directory) -> bytes:
    """Return an entry's header, without owner, group, times or other properties of this machine."""
    info = tarfile.TarInfo(entry.path)
    if isinstance(entry, Directory):
        info.type, info.mode = tarfile.DIRTYPE, DIRECTORY_MODE
    else:
        info.size = entry.size
        info.mode = EXECUTABLE_MODE if entry.executable else FILE_MODE
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "strict")


def padded(size: int) -> int:
    """Return the bytes that a content of `size` bytes takes in the stream, rounded up to whole blocks."""
    return -(-size // BLOCK) * BLOCK


def padding(size: int) -> bytes:
    """Return the zero bytes that pad a content of `size` bytes to whole blocks."""
    return bytes(padded(size) - size)
