"""An offline bundle as a source, read in place without unpacking."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING

from models_init.core.digests import digest_of
from models_init.core.errors import NotFoundError, SourceError, UnavailableError, UsageError, WrongBytesError
from models_init.core.units import human_size
from models_init.formats import bundle_index
from models_init.runtime.workers import ended
from models_init.sources.multipart import MultipartFile, missing_parts, part_name, parts_of

if TYPE_CHECKING:
    from pathlib import Path

    from models_init.formats.bundle_index import Contents, Member
    from models_init.sources.source import Sink


class BundleSource:
    """The packs in a bundle; `path` is its file, its first part, or a directory with all its parts."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._bundle: Bundle | None = None
        self._opening = asyncio.Lock()

    @property
    def name(self) -> str:
        """The bundle as a URL."""
        return self._path.absolute().as_uri()

    async def read(self, key: str, limit: int) -> bytes:
        """See `Source.read`. A bundle has two copies of each document. Raises `WrongBytesError`: both are damaged."""
        opened = await self._opened()
        return await asyncio.to_thread(opened.document, key, limit)

    async def get_range(self, key: str, start: int, stop: int, sink: Sink) -> None:
        """See `Source.get_range`. Raises `NotFoundError`: the bundle does not contain these bytes."""
        opened = await self._opened()
        offset = opened.offset(key, start, stop)
        loop, size = asyncio.get_running_loop(), stop - start
        while size:
            buffer = sink.get_buffer()[:size]
            count = await ended(loop.run_in_executor(None, opened.files.fill, buffer, offset))
            if count == 0:
                raise UnavailableError(f"{self._path} became shorter while it was read; copy the bundle again")
            await sink.buffer_updated(count)
            offset, size = offset + count, size - count

    async def names(self, directory: str) -> list[str]:
        """See `Source.names`."""
        opened = await self._opened()
        prefix = f"{directory.rstrip('/')}/" if directory else ""
        return sorted({key[len(prefix) :].split("/")[0] for key in opened.objects if key.startswith(prefix)})

    def report_wrong(self, _key: str, _start: int, _stop: int, _reason: str) -> bool:
        """See `Source.report_wrong`: there are no caches."""
        return False

    def recompressed(self, _key: str) -> None:
        """See `Source.recompressed`: archives are stored as they were published."""

    def unavailable_reason(self, key: str, start: int, stop: int) -> str:
        """See `Source.unavailable_reason`; it is empty until the bundle is open."""
        return self._bundle.unavailable_reason(key, start, stop) if self._bundle else ""

    def repair_hint(self, key: str, start: int) -> str:
        """See `Source.repair_hint`."""
        where = self._bundle.place(key, start) if self._bundle else self._path
        return f"it is at {where}: use another copy of the bundle, or set MODELS_URL to a container, and run again"

    async def close(self) -> None:
        """Close the files."""
        if self._bundle:
            self._bundle.files.close()
            self._bundle = None

    async def _opened(self) -> Bundle:
        async with self._opening:
            if not self._bundle:
                await asyncio.to_thread(self._open)
        if not self._bundle:
            raise SourceError(f"{self._path} is closed")
        return self._bundle

    def _open(self) -> None:
        """Open the bundle and set `_bundle`; called in a thread.

        The thread sets the attribute because the waiting task may be cancelled, and `close` must still find the files.
        """
        self._bundle = Bundle.open(self._path)


class Bundle:
    """An open bundle whose files match its table of contents in number, order and size."""

    def __init__(self, files: MultipartFile, contents: Contents) -> None:
        self.files = files
        self.contents = contents
        self.objects: defaultdict[str, list[Member]] = defaultdict(list)
        for member in contents.members:
            if member.key:
                self.objects[member.key].append(member)

    @classmethod
    def open(cls, path: Path) -> Bundle:
        """Open all files and check that they are complete and in order.

        Raises `UsageError`: the path is not a bundle. Raises `SourceError`: the bundle is damaged or incomplete. Also
        raises the errors of `MultipartFile`.
        """
        files = MultipartFile(parts_of(path))
        try:
            contents = _contents(files, path)
            _check_order(files, contents)
            _check_sizes(files, contents)
        except BaseException:
            files.close()
            raise
        return cls(files, contents)

    def document(self, key: str, limit: int) -> bytes:
        """Return a small object from its first copy with the right digest.

        Raises `NotFoundError`, `WrongBytesError` (both copies are damaged), and `SourceError` (larger than `limit`).
        """
        for member in self._pieces(key):
            if member.start or member.size > limit:
                raise SourceError(f"{key} in the bundle is larger than {limit} bytes; use another copy of the bundle")
            data = self.files.read(member.offset, member.size)
            if digest_of(data) == member.digest:
                return data
        raise WrongBytesError(
            f"{key} is damaged in the bundle, in both copies ({self.files.place(member.offset)}); use another copy "
            "of the bundle, or set MODELS_URL to a container, and run again"
        )

    def offset(self, key: str, start: int, stop: int) -> int:
        """Return the offset in the bundle at which a range of an object begins. A single piece must contain the range.

        Raises `NotFoundError`: the bundle omits the range. Raises `SourceError`: the range is empty or past the end.
        """
        pieces = self._pieces(key)
        if not 0 <= start < stop:
            raise SourceError(f"bytes {start} to {stop} of {key} are not a valid range")
        for piece in pieces:
            if piece.start <= start and stop <= piece.stop:
                return piece.offset + start - piece.start
        if stop > max(piece.stop for piece in pieces):
            raise SourceError(
                f"bytes {start} to {stop} of {key} are not in the bundle: it was made from another pack; make it again"
            )
        raise NotFoundError(f"bytes {start} to {stop} of {key} are not in the bundle: {self._reason()}")

    def unavailable_reason(self, key: str, start: int, stop: int) -> str:
        """See `Source.unavailable_reason`."""
        held = any(piece.start <= start and stop <= piece.stop for piece in self.objects.get(key, ()))
        return "" if held or not self.contents.since else self._reason()

    def place(self, key: str, start: int) -> str:
        """Return the file and offset of a byte of an object, for messages."""
        for piece in self.objects.get(key, ()):
            if piece.start <= start < piece.stop:
                return str(self.files.place(piece.offset + start - piece.start))
        return str(self.files.paths[0])

    def _pieces(self, key: str) -> list[Member]:
        if key not in self.objects:
            raise NotFoundError(f"the bundle {self.files.paths[0]} does not contain {key}")
        return self.objects[key]

    def _reason(self) -> str:
        since = self.contents.since
        if not since:
            return "it contains whole packs only"
        release = f"release {since.release} (" if since.release else "("
        return f"it was made for a volume that has {release}{', '.join(sorted(since.packs))})"


def _contents(files: MultipartFile, path: Path) -> Contents:
    """Return the table of contents from the beginning, or from its copy at the end."""
    bounds = files.bounds()
    for index, (start, _) in enumerate(bounds):
        if found := _at_start(files, start):
            if index:
                raise _wrong_order(files, index, 0)
            return found
    for index, (_, stop) in reversed(list(enumerate(bounds))):
        if found := _at_end(files, stop):
            if index < len(found.parts) - 1 and len(bounds) == len(found.parts):
                raise _wrong_order(files, index, len(found.parts) - 1)
            return found
    raise _unreadable(files, path)


def _at_start(files: MultipartFile, start: int) -> Contents | None:
    begin = start + bundle_index.CONTENTS_START
    length = bundle_index.length_by_head(files.read(begin, bundle_index.HEAD_SIZE))
    return bundle_index.decode(files.read(begin, length)) if length else None


def _at_end(files: MultipartFile, stop: int) -> Contents | None:
    end = stop - bundle_index.TAR_END
    length = (
        bundle_index.length_by_seal(files.read(end - bundle_index.SEAL_SIZE, bundle_index.SEAL_SIZE)) if end > 0 else 0
    )
    return bundle_index.decode(files.read(end - length, length)) if 0 < length <= end else None


def _unreadable(files: MultipartFile, path: Path) -> UsageError | SourceError:
    begin = files.read(0, bundle_index.CONTENTS_START + bundle_index.HEAD_SIZE)
    if not begin:
        return SourceError(f"{files.paths[0]} is empty: the copy is incomplete; copy the bundle again")
    if bundle_index.CONTENTS_NAME.encode() in begin or bundle_index.length_by_head(
        begin[bundle_index.CONTENTS_START :]
    ):
        return SourceError(
            f"the table of contents of the bundle {path} is damaged, and so is its copy at the end, or it is "
            "missing; copy the bundle again"
        )
    return UsageError(
        f"{path} is not a bundle; set MODELS_URL to a file that `models-pack bundle` wrote, or to its first part"
    )


def _check_order(files: MultipartFile, contents: Contents) -> None:
    """Raise `SourceError` if a part has the fingerprint of another part.

    A part with an unknown fingerprint counts as damaged but in the right place, which is not an error here.
    """
    if len(files.paths) != len(contents.parts):
        return
    for index, found in enumerate(bundle_index.fingerprints(contents, files.bounds(), files.read)):
        if found and found != contents.parts[index] and found in contents.parts:
            raise _wrong_order(files, index, contents.parts.index(found))


def _wrong_order(files: MultipartFile, index: int, real: int) -> SourceError:
    return SourceError(
        f"the parts are in the wrong order: {files.paths[index]} is part {real + 1} of the bundle, "
        f"but named as part {index + 1}; restore the names of the parts, then run again"
    )


def _check_sizes(files: MultipartFile, contents: Contents) -> None:
    wanted = contents.part_sizes()
    first = files.paths[0]
    if len(files.paths) < len(wanted):
        names = [part_name(first.stem, number + 1) for number in range(len(files.paths), len(wanted))]
        raise missing_parts(first.parent, names)
    if len(files.paths) > len(wanted):
        raise SourceError(
            f"{files.paths[len(wanted)]} does not belong to the bundle, which has {len(wanted)} parts; move it "
            "to another directory"
        )
    for path, size, due in zip(files.paths, files.sizes, wanted, strict=True):
        if size != due:
            raise SourceError(
                f"{path} has {size} bytes of {due} ({human_size(size)} of {human_size(due)}): the copy is "
                f"{'incomplete' if size < due else 'too long'}; copy it again, then run again"
            )
