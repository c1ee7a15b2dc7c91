"""Decompress, verify, read and write single chunks of a tree of files.

All functions run in worker threads; the heavy calls (zstd, SHA-256, pread, pwrite) release the GIL. Each thread keeps
one buffer of the size of a chunk for reading. File-system errors are raised as `OSError`.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING

import zstandard

from models_init.core.digests import digest_of
from models_init.core.file_modes import EXECUTABLE_MODE, FILE_MODE
from models_init.formats.manifest import CHUNK_LIMIT
from models_init.fs.files import reserve

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from models_init.formats.manifest import Chunk, File, Placement

    Passed = Callable[[str, int, int, int], None]

_WINDOW_LIMIT = 2 * CHUNK_LIMIT
"""Largest window in bytes that a frame may request: no frame of at most CHUNK_LIMIT bytes needs more."""


_FS_GROUP = stat.S_ISGID | stat.S_IWGRP

_CREATE = os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


_NO_FILE = {
    *(errno.ENOENT, errno.ENOTDIR),
    *(errno.ELOOP, errno.ENXIO),  # a link or a socket in place of a file
    errno.EACCES,  # wrong permission bits, which a repair restores
}
_UNREADABLE = {errno.EIO, errno.EUCLEAN, errno.EBADMSG}  # a bad sector, or blocks whose checksum is wrong


class WrongChunkError(Exception):
    """A chunk's bytes differ from those in the manifest; internal, reported to users as `WrongBytesError`."""


def mode(file: File) -> int:
    """Return the permission bits of the file on the volume, independent of the umask."""
    return EXECUTABLE_MODE if file.executable else FILE_MODE


def permissions(status: os.stat_result) -> int:
    """Return the permission bits, without the bits that Kubernetes adds.

    For a pod with an fsGroup, Kubernetes adds setgid and group write to all files of a volume at each start.
    """
    return stat.S_IMODE(status.st_mode) & ~_FS_GROUP


def plain(frame: memoryview, chunk: Chunk) -> memoryview:
    """Decompress one frame and verify it.

    Raises `WrongChunkError`: the input is not exactly one frame, or the frame declares another size, requests too large
    a window or a dictionary, or has another digest. Never allocates more than the chunk's size, even if the frame
    declares more.
    """
    _check_head(frame, chunk)
    try:
        data = _scratch.decompressor.decompress(frame, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise WrongChunkError(f"it is not exactly one whole zstd frame: {error}") from error
    if digest_of(data) != chunk.digest:
        raise WrongChunkError("its SHA-256 differs")
    return memoryview(data)


def _check_head(frame: memoryview, chunk: Chunk) -> None:
    """Check the frame header before decompressing, because memory is allocated for the sizes that it declares."""
    if bytes(frame[: len(zstandard.FRAME_HEADER)]) != zstandard.FRAME_HEADER:
        raise WrongChunkError("it does not begin with a zstd frame")
    try:
        head = zstandard.get_frame_parameters(frame)
    except zstandard.ZstdError as error:
        raise WrongChunkError(f"its frame header cannot be read: {error}") from error
    if head.content_size == zstandard.CONTENTSIZE_UNKNOWN:
        raise WrongChunkError("its frame does not declare the size of its content")
    if head.content_size != chunk.size:
        raise WrongChunkError(f"its frame has {head.content_size} bytes, not {chunk.size}")
    if head.window_size > _WINDOW_LIMIT:
        raise WrongChunkError(f"its frame requires a window of {head.window_size} bytes, more than {_WINDOW_LIMIT}")
    if head.dict_id:
        raise WrongChunkError(f"its frame requires the dictionary {head.dict_id}, which does not exist")


def write(root: str, placement: Placement, data: memoryview, passed: Passed | None = None) -> None:
    """Write a verified chunk to its file, then call `passed`.

    Creates the file if needed; its directory must exist.
    """
    file = placement.file
    path = f"{root}/{file.path}"
    descriptor = os.open(path, _CREATE, mode(file))
    try:
        _write_all(descriptor, data, placement.start)
        if passed:
            passed(path, placement.start, len(data), descriptor)
    finally:
        os.close(descriptor)


def allocate(root: str, file: File) -> None:
    """Create the file with its full size, so that a full disk is detected before the chunks are fetched."""
    descriptor = os.open(f"{root}/{file.path}", _CREATE, mode(file))
    try:
        if file.size:
            reserve(descriptor, file.size)
        _cut(descriptor, file)
    finally:
        os.close(descriptor)


def sound(root: str, wanted: Sequence[Placement]) -> list[Placement]:
    """Read the chunks in their files and return those with the right bytes.

    A file that is missing, or that this user may not read, yields no chunks.

    The chunks of one file must be adjacent in `wanted`, so that the file is opened only once.
    """
    found: list[Placement] = []
    for path, group in groupby(wanted, key=lambda placement: placement.file.path):
        descriptor = _opened(f"{root}/{path}")
        if descriptor is None:
            continue
        try:
            found += [placement for placement in group if _is_sound(descriptor, placement.start, placement.chunk)]
        finally:
            os.close(descriptor)
    return found


def copy(origin: str, start: int, root: str, placement: Placement) -> bool:
    """Copy a chunk from the file `origin` at offset `start`; return False if the bytes there do not verify."""
    descriptor = _opened(origin)
    if descriptor is None:
        return False
    try:
        if not _is_sound(descriptor, start, placement.chunk):
            return False
    finally:
        os.close(descriptor)
    write(root, placement, _scratch.view[: placement.chunk.size])
    return True


def _opened(path: str) -> int | None:
    """Open a regular file for reading. Return None if it does not exist, is not a regular file, or is not readable.

    A FIFO does not block the call.
    """
    try:
        descriptor = os.open(path, _READ)
    except OSError as error:
        if error.errno in _NO_FILE:
            return None
        raise
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    return None


def _is_sound(descriptor: int, start: int, chunk: Chunk) -> bool:
    """Read the bytes from `start` into the thread's buffer; return True if they are the chunk.

    An unreadable sector counts as a missing chunk.
    """
    view = _scratch.view[: chunk.size]
    try:
        return _read_all(descriptor, view, start) and digest_of(view) == chunk.digest
    except OSError as error:
        if error.errno in _UNREADABLE:
            return False
        raise


class _Scratch(threading.local):
    """Decompressor and buffer that one worker thread keeps between chunks."""

    def __init__(self) -> None:
        self.decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW_LIMIT)

    @cached_property
    def view(self) -> memoryview:
        """Return the buffer for reading a chunk; allocated on first use because threads that only write need none."""
        return memoryview(bytearray(CHUNK_LIMIT))


_scratch = _Scratch()


def _cut(descriptor: int, file: File) -> None:
    """Truncate the file if it is longer than its size, as left by other content under the same name."""
    if os.fstat(descriptor).st_size > file.size:
        os.ftruncate(descriptor, file.size)


def _write_all(descriptor: int, data: memoryview, offset: int) -> None:
    while data:
        written = os.pwrite(descriptor, data, offset)
        data = data[written:]
        offset += written


def _read_all(descriptor: int, into: memoryview, offset: int) -> bool:
    while into:
        read = os.preadv(descriptor, [into], offset)
        if read == 0:
            return False
        into = into[read:]
        offset += read
    return True
