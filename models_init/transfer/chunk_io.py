"""Decompress, verify, read and write one chunk of a tree of files.

Everything here runs in worker threads; the heavy calls (zstd, SHA-256, pread, pwrite) leave the interpreter lock.
Each thread keeps one buffer of a chunk's size to read into.
Faults of the file system come out as `OSError`.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import threading
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING

import zstandard

from models_init.formats.manifest import CHUNK_LIMIT
from models_init.fs.files import reserve

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from models_init.formats.manifest import Chunk, File, Placement

    Passed = Callable[[str, int, int, int], None]

_WINDOW_LIMIT = 2 * CHUNK_LIMIT
"""Bytes of window that a frame may ask for: no frame of at most CHUNK_LIMIT bytes has use for more."""

_EXECUTABLE_MODE, _FILE_MODE = 0o755, 0o644

_FS_GROUP = stat.S_ISGID | stat.S_IWGRP

_CREATE = os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


_NO_FILE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO}  # a link, a socket where a file ought to be


class WrongChunkError(Exception):
    """A chunk's bytes are not those that the manifest promises; internal, told to users as `WrongBytesError`."""


def mode(file: File) -> int:
    """Permission bits that the file has on the volume, whatever the umask."""
    return _EXECUTABLE_MODE if file.executable else _FILE_MODE


def is_same(status: os.stat_result, file: File) -> bool:
    """Tell whether something on the disk is of the file's type, size and mode; its bytes are another matter."""
    return stat.S_ISREG(status.st_mode) and permissions(status) == mode(file) and status.st_size == file.size


def permissions(status: os.stat_result) -> int:
    """Permission bits, without those that Kubernetes adds to all of a volume at each start of a pod with an fsGroup."""
    return stat.S_IMODE(status.st_mode) & ~_FS_GROUP


def digest_of(data: bytes | bytearray | memoryview) -> str:
    """The digest as manifests write it."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def plain(frame: memoryview, chunk: Chunk) -> memoryview:
    """Decompress one frame and verify it.

    Raises `WrongChunkError`: not exactly one frame, one that declares another size or asks for more than it may, or
    another digest. Never takes more memory than the chunk's size, whatever the frame says.
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
    """Believe no frame about what it takes: memory is taken for what its head says, before a byte is decompressed."""
    if bytes(frame[: len(zstandard.FRAME_HEADER)]) != zstandard.FRAME_HEADER:
        raise WrongChunkError("it does not begin as a zstd frame")
    try:
        head = zstandard.get_frame_parameters(frame)
    except zstandard.ZstdError as error:
        raise WrongChunkError(f"its frame's head cannot be read: {error}") from error
    if head.content_size == zstandard.CONTENTSIZE_UNKNOWN:
        raise WrongChunkError("its frame does not tell the content's size")
    if head.content_size != chunk.size:
        raise WrongChunkError(f"its frame holds {head.content_size} bytes, not {chunk.size}")
    if head.window_size > _WINDOW_LIMIT:
        raise WrongChunkError(f"its frame asks for a window of {head.window_size} bytes, more than {_WINDOW_LIMIT}")
    if head.dict_id:
        raise WrongChunkError(f"its frame asks for the dictionary {head.dict_id}, and there is none")


def write(root: str, placement: Placement, data: memoryview, passed: Passed | None = None) -> None:
    """Write a verified chunk at its place, creating the file if need be; its folder exists. Then tell `passed`."""
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
    """Create the file with its full size, so that a full disk shows now and not at the end."""
    descriptor = os.open(f"{root}/{file.path}", _CREATE, mode(file))
    try:
        if file.size:
            reserve(descriptor, file.size)
        _cut(descriptor, file)
    finally:
        os.close(descriptor)


def sound(root: str, wanted: Sequence[Placement]) -> list[Placement]:
    """Read the chunks where they ought to be and return those with the right bytes; a missing file has none.

    Chunks of one file stand side by side in `wanted`, so that the file is opened once.
    """
    found: list[Placement] = []
    for path, group in groupby(wanted, key=lambda placement: placement.file.path):
        descriptor = _opened(f"{root}/{path}")
        if descriptor is None:
            continue
        try:
            found += [placement for placement in group if _is_sound(descriptor, placement)]
        finally:
            os.close(descriptor)
    return found


def copy(origin: str, start: int, root: str, placement: Placement) -> bool:
    """Copy a chunk that ought to lie in the file `origin` at `start`, if it is there and right."""
    descriptor = _opened(origin)
    if descriptor is None:
        return False
    try:
        view = _scratch.view[: placement.chunk.size]
        if not _read_all(descriptor, view, start) or digest_of(view) != placement.chunk.digest:
            return False
    finally:
        os.close(descriptor)
    write(root, placement, view)
    return True


def _opened(path: str) -> int | None:
    """A descriptor of a regular file, None where there is none; a fifo without a writer keeps nobody waiting."""
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


def _is_sound(descriptor: int, placement: Placement) -> bool:
    """A sector that cannot be read is a chunk that is not there."""
    view = _scratch.view[: placement.chunk.size]
    try:
        return _read_all(descriptor, view, placement.start) and digest_of(view) == placement.chunk.digest
    except OSError as error:
        if error.errno == errno.EIO:
            return False
        raise


class _Scratch(threading.local):
    """What one worker thread keeps between chunks."""

    def __init__(self) -> None:
        self.decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW_LIMIT)

    @cached_property
    def view(self) -> memoryview:
        """Memory for a chunk that is read; a thread that only writes needs none."""
        return memoryview(bytearray(CHUNK_LIMIT))


_scratch = _Scratch()


def _cut(descriptor: int, file: File) -> None:
    """Take off what lies past the end: a leftover of other content under the same name."""
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
