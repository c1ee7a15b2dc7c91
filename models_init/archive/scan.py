"""Read an archive to its end while it comes, and learn what it holds; whether that may be used is decided later."""

from __future__ import annotations

import hashlib
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple, Self

from models_init.archive.decompress import PIECE
from models_init.archive.errors import BadArchiveError
from models_init.archive.manifest_builder import ManifestBuilder
from models_init.archive.tar_reader import ENTRIES_LIMIT, Limits, read
from models_init.formats.manifest import MIB

if TYPE_CHECKING:
    from models_init.archive.decompress import Readable
    from models_init.archive.tree_writer import TreeWriter
    from models_init.formats.manifest import Archive, OpaqueArchive

RATIO = 64
"""How many times an archive may grow where its manifest does not say how large it gets. Texts, which compress best of
what models consist of, grow eightfold from `zstd -19`; bombs begin at a thousandfold."""

_FREE_GROWTH = 64 * MIB
"""Bytes that even a tiny archive may become: a folder of empty files, or one of zeros."""


class ScanResult(NamedTuple):
    """The archive's digest, what is in it, and why it is no pack; empty where it is one."""

    digest: str
    builder: ManifestBuilder
    fault: str


def limits_of(archive: Archive, promised: OpaqueArchive) -> Limits:
    """Where reading stops: at what the manifest says, or else at a size relative to the archive's."""
    return Limits(
        archive.size * RATIO + _FREE_GROWTH if promised.size is None else promised.size,
        ENTRIES_LIMIT if promised.entries is None else min(promised.entries, ENTRIES_LIMIT),
    )


def scan(archive: Readable, limits: Limits, promised: OpaqueArchive, tree: TreeWriter | None = None) -> ScanResult:
    """Read an archive to its end, come what may, and write its files into the tree, if there is one.

    Where the archive is no pack, nothing of the tree is left. Raises what reading raises, and `VolumeError`.
    """
    builder, fault = ManifestBuilder(), ""
    with _HashingReader(archive) as hashed:
        try:
            for entry in read(hashed, limits):
                content = builder.note(entry)
                if tree:
                    tree.add(entry, content)
                for _ in content:
                    pass
            builder.check(promised)
        except BadArchiveError as error:
            fault = str(error)
            if tree:
                tree.discard()
        while hashed.read(PIECE):  # its digest tells whether the publisher is to blame, or the line
            pass
        return ScanResult(hashed.digest(), builder, fault)


class _HashingReader:
    """Hashes what passes, beside the thread that reads: both take about as long as the other."""

    def __init__(self, inner: Readable) -> None:
        self._inner = inner
        self._hash = hashlib.sha256()
        self._helper = ThreadPoolExecutor(1, thread_name_prefix="archive-hash")
        self._last: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._helper.shutdown()

    def read(self, size: int, /) -> bytes:
        data = self._inner.read(size)
        self._settle()
        if data:
            self._last = self._helper.submit(self._hash.update, data)
        return data

    def digest(self) -> str:
        self._settle()
        return f"sha256:{self._hash.hexdigest()}"

    def _settle(self) -> None:
        if self._last:
            self._last.result()
            self._last = None
