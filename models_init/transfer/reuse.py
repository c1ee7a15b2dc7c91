"""Find missing chunks that the volume probably holds under another name or version.

The results are derived from manifests only: callers must hash the bytes before using them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from models_init.formats.manifest import File, Manifest, Placement


@dataclass(frozen=True, slots=True)
class Link:
    """`file` can be a hard link to `origin` in the tree `root`: both have the same digest and the same mode."""

    file: File
    root: str
    origin: File


@dataclass(frozen=True, slots=True)
class Copy:
    """The bytes of `placement` are in the file `path` of the tree `root`, from offset `start`."""

    placement: Placement
    root: str
    path: str
    start: int


@dataclass(frozen=True, slots=True)
class Reuse:
    """Files to link, chunks to copy, and the chunks still missing, in archive order."""

    links: tuple[Link, ...] = ()
    copies: tuple[Copy, ...] = ()
    missing: tuple[Placement, ...] = ()


NOTHING = Reuse()


class ReuseSearch:
    """Searches trees one by one for chunks of one pack, so that only one manifest is in memory at a time.

    The chunks `sound` are not searched for.
    """

    def __init__(self, manifest: Manifest, sound: Iterable[Placement]) -> None:
        self._manifest = manifest
        self._sound = {(placement.file.path, placement.start) for placement in sound}
        self._links: list[Link] = []
        self._copies: list[Copy] = []

    @property
    def wants_more(self) -> bool:
        """Return True if any chunk is still missing."""
        found = len(self._sound) + len(self._copies) + sum(len(link.file.chunks) for link in self._links)
        return found < sum(len(file.chunks) for file in self._manifest.files)

    def look(self, root: str, held: Manifest, *, whole: bool) -> None:
        """Search the tree `root` described by the manifest `held`; only files of a `whole` tree are linked."""
        if whole:
            self._look_for_files(root, held)
        self._look_for_chunks(root, held)

    def found(self) -> Reuse:
        """Return the results so far."""
        looked = "_missing" in self.__dict__
        missing = self._missing.values() if looked else self._not_sound()
        return Reuse(tuple(self._links), tuple(self._copies), tuple(missing))

    @cached_property
    def _missing(self) -> dict[tuple[str, int], Placement]:
        """Return the missing chunks by path and start, in archive order; computed when the first tree is searched."""
        return {(placement.file.path, placement.start): placement for placement in self._not_sound()}

    def _not_sound(self) -> Iterator[Placement]:
        for placement in self._manifest.placements():
            if (placement.file.path, placement.start) not in self._sound:
                yield placement

    def _look_for_files(self, root: str, held: Manifest) -> None:
        """Link only files that are missing completely: copying the rest of a partly present file costs less."""
        origins = {(file.digest, file.executable): file for file in held.files if file.size}
        for file in self._wholly_missing():
            if origin := origins.get((file.digest, file.executable)):
                self._links.append(Link(file, root, origin))
                for key in _keys(file):
                    del self._missing[key]

    def _wholly_missing(self) -> list[File]:
        files = {placement.file.path: placement.file for placement in self._missing.values()}
        return [file for file in files.values() if all(key in self._missing for key in _keys(file))]

    def _look_for_chunks(self, root: str, held: Manifest) -> None:
        wanted: dict[str, list[tuple[str, int]]] = {}
        for key, placement in self._missing.items():
            wanted.setdefault(placement.chunk.digest, []).append(key)
        for origin in held.placements() if wanted else ():
            for key in wanted.pop(origin.chunk.digest, ()):
                self._copies.append(Copy(self._missing.pop(key), root, origin.file.path, origin.start))


def _keys(file: File) -> Iterator[tuple[str, int]]:
    start = 0
    for chunk in file.chunks:
        yield file.path, start
        start += chunk.size
