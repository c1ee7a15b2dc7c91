"""Reads a piece of a file that must not change meanwhile; runs in worker threads."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from models_init.errors import UsageError

if TYPE_CHECKING:
    from models_init.publish.tree import SourceFile

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""Not a link, nor a fifo that would make us wait: the entry may have been exchanged since it was judged."""


def read(file: SourceFile, start: int, size: int) -> bytes:
    """Return `size` bytes of a file from `start`; `UsageError` if it changed since it was judged, or cannot be read."""
    try:
        descriptor = os.open(file.real, _READ)
        try:
            data = os.pread(descriptor, size, start)
            status = os.fstat(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise UsageError(f"{file.path} cannot be read: {error.strerror}; make it readable, then build again") from error
    if len(data) != size or (status.st_size, status.st_mtime_ns) != (file.size, file.mtime):
        raise UsageError(f"{file.path} changed while it was read: build again when nobody writes to the folder")
    return data
