"""A directory as a source, such as a mounted share, a USB stick, or the output of the pack builder."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from typing import TYPE_CHECKING

from models_init.core.errors import AccessError, ModelsInitError, NotFoundError, SourceError, UnavailableError
from models_init.runtime.workers import ended

if TYPE_CHECKING:
    from pathlib import Path

    from models_init.sources.source import Sink


class DirectorySource:
    """The files below `directory`; their keys are their relative paths."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @property
    def name(self) -> str:
        """The directory as a URL."""
        return self._directory.absolute().as_uri()

    async def read(self, key: str, limit: int) -> bytes:
        """See `Source.read`."""
        return await asyncio.to_thread(self._read, key, limit)

    async def get_range(self, key: str, start: int, stop: int, sink: Sink) -> None:
        """See `Source.get_range`."""
        loop = asyncio.get_running_loop()
        descriptor = await ended(loop.run_in_executor(None, self._open_range, key, start, stop))
        try:
            while start < stop:
                buffer = sink.get_buffer()[: stop - start]
                count = await ended(loop.run_in_executor(None, self._read_into, key, descriptor, buffer, start))
                await sink.buffer_updated(count)
                start += count
        finally:
            os.close(descriptor)

    async def names(self, directory: str) -> list[str]:
        """See `Source.names`."""
        try:
            return sorted(await asyncio.to_thread(os.listdir, self._directory / directory))
        except (FileNotFoundError, NotADirectoryError) as error:
            if directory and self._directory.is_dir():
                return []
            raise self._translated(error, self._directory) from error
        except OSError as error:
            raise self._translated(error, self._directory / directory) from error

    def report_wrong(self, _key: str, _start: int, _stop: int, _reason: str) -> bool:
        """See `Source.report_wrong`: there are no caches."""
        return False

    def recompressed(self, _key: str) -> None:
        """See `Source.recompressed`: archives are stored as they were published."""

    def unavailable_reason(self, _key: str, _start: int, _stop: int) -> str:
        """See `Source.unavailable_reason`: a directory never omits parts of an archive on purpose."""
        return ""

    def repair_hint(self, _key: str, _start: int) -> str:
        """See `Source.repair_hint`."""
        return "copy the pack into the directory again"

    async def close(self) -> None:
        """Do nothing: no file is kept open between calls."""

    def _read(self, key: str, limit: int) -> bytes:
        try:
            with os.fdopen(_opened(self._directory / key), "rb") as file:
                content = file.read(limit + 1)
        except OSError as error:
            raise self._translated(error, self._directory / key) from error
        if len(content) > limit:
            raise SourceError(
                f"{self._directory / key} is larger than {limit} bytes; check that it is a pack of models-pack"
            )
        return content

    def _open_range(self, key: str, start: int, stop: int) -> int:
        path = self._directory / key
        try:
            descriptor = _opened(path)
            size = os.fstat(descriptor).st_size
        except OSError as error:
            raise self._translated(error, path) from error
        if not 0 <= start < stop <= size:
            os.close(descriptor)
            raise SourceError(
                f"{path} has {size} bytes, but bytes {start} to {stop} were requested: the copy is incomplete; "
                "copy it again"
            )
        return descriptor

    def _read_into(self, key: str, descriptor: int, buffer: memoryview, offset: int) -> int:
        try:
            count = os.preadv(descriptor, [buffer], offset)
        except OSError as error:
            raise self._translated(error, self._directory / key) from error
        if count == 0:
            raise UnavailableError(
                f"{self._directory / key} became shorter while it was read; copy the pack into the directory again"
            )
        return count

    def _translated(self, error: OSError, path: Path) -> ModelsInitError:
        """Return the exception for an error about `path`. A missing top directory has its own exception."""
        if isinstance(error, (FileNotFoundError, NotADirectoryError, IsADirectoryError)):
            if not self._directory.is_dir():
                return SourceError(
                    f"the directory {self._directory} does not exist; mount the disk or share, or correct MODELS_URL"
                )
            return NotFoundError(f"{path} does not exist")
        if isinstance(error, PermissionError):
            return AccessError(f"{path} cannot be read: {error.strerror}; give the running user read permission")
        return UnavailableError(f"{path} cannot be read: {error.strerror}; check the disk or the mount")


def _opened(path: Path) -> int:
    """Open a file for reading, without blocking on a FIFO that has no writer.

    Raises `OSError`, and `SourceError`: it is neither a regular file nor a directory.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    kind = stat.S_IFMT(os.fstat(descriptor).st_mode)
    if kind == stat.S_IFREG:
        return descriptor
    os.close(descriptor)
    if kind == stat.S_IFDIR:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise SourceError(f"{path} is not a regular file; copy the pack into the directory again")
