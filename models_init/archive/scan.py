"""Read an archive to its end, hash it and list its content; the caller decides whether to use it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple, Self

from models_init.archive.decompress import PIECE
from models_init.archive.errors import BadArchiveError
from models_init.archive.manifest_builder import ManifestBuilder
from models_init.archive.tar_reader import ENTRIES_LIMIT, Limits, read
from models_init.core.digests import digest_text
from models_init.formats.manifest import MIB
from models_init.runtime.thread_pools import thread_pool

if TYPE_CHECKING:
    from concurrent.futures import Future

    from models_init.archive.decompress import Readable
    from models_init.archive.tree_writer import TreeWriter
    from models_init.formats.manifest import Archive, OpaqueArchive
    from models_init.formats.ordinary_image import OrdinaryImage

RATIO = 64
"""Largest accepted ratio of unpacked to archive size if the manifest does not state the unpacked size. Text is the
most compressible content of models and reaches a ratio of 8 with `zstd -19`; archive bombs start at 1000."""

FREE_GROWTH = 64 * MIB
"""Bytes that even a tiny archive may unpack to, for example a directory of empty files or of zeros."""


class ScanResult(NamedTuple):
    """The archive's digest, its content, and the reason why it is not a valid pack (empty if it is valid).

    For an ordinary image, `image` describes the content of the layers, and `wrong` has the numbers of the layers whose
    digest is wrong. `digest` is then that of the image's manifest, or empty if any layer is wrong.
    """

    digest: str
    builder: ManifestBuilder
    fault: str
    image: OrdinaryImage | None = None
    wrong: frozenset[int] = frozenset()


def limits_of(archive: Archive, declared: OpaqueArchive) -> Limits:
    """Return the limits for reading: those in the manifest, or else a size relative to the archive's size."""
    return Limits(
        archive.size * RATIO + FREE_GROWTH if declared.size is None else declared.size,
        ENTRIES_LIMIT if declared.entries is None else min(declared.entries, ENTRIES_LIMIT),
    )


def scan(archive: Readable, limits: Limits, declared: OpaqueArchive, tree: TreeWriter | None = None) -> ScanResult:
    """Read an archive to its end, even if it is invalid; write its files to `tree` if given.

    If the archive is not a valid pack, the tree is removed. Raises `VolumeError`, and everything that reading the
    archive raises except `BadArchiveError`.
    """
    builder, fault = ManifestBuilder(), ""
    with HashingReader(archive) as hashed:
        try:
            for entry in read(hashed, limits):
                content = builder.record(entry)
                if tree:
                    tree.add(entry, content)
                for _ in content:
                    pass
            builder.check(declared)
        except BadArchiveError as error:
            fault = str(error)
            if tree:
                tree.discard()
        while hashed.read(PIECE):  # the digest shows whether the publisher or the transfer is at fault
            pass
        return ScanResult(hashed.digest(), builder, fault)


class HashingReader:
    """Hashes the data in a second thread while the caller processes it: both take about the same time."""

    def __init__(self, inner: Readable) -> None:
        self._inner = inner
        self._hash = hashlib.sha256()
        self._executor = thread_pool(1, "archive-hash")
        self._pending: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown()

    def read(self, size: int, /) -> bytes:
        """See `Readable.read`."""
        data = self._inner.read(size)
        self._wait()
        if data:
            self._pending = self._executor.submit(self._hash.update, data)
        return data

    def digest(self) -> str:
        """Return the digest of everything that has been read."""
        self._wait()
        return digest_text(self._hash)

    def _wait(self) -> None:
        if self._pending:
            self._pending.result()
            self._pending = None
