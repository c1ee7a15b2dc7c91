"""Which of the missing chunks the volume ought to hold already, under another name or version.

These are guesses from manifests: whoever uses one hashes the bytes first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from models_init.manifest import File, Manifest, Placement


@dataclass(frozen=True, slots=True)
class Link:
    """`file` is to be the same as `origin`, which lies in the tree `root`: the same digest and the same mode."""

    file: File
    root: str
    origin: File


@dataclass(frozen=True, slots=True)
class Copy:
    """The bytes of `placement` lie in the file `path` of the tree `root`, from `start` on."""

    placement: Placement
    root: str
    path: str
    start: int


@dataclass(frozen=True, slots=True)
class Reuse:
    """What can be linked, what can be copied, and what is then still missing, in archive order."""

    links: tuple[Link, ...] = ()
    copies: tuple[Copy, ...] = ()
    missing: tuple[Placement, ...] = ()


NOTHING = Reuse()


class Search:
    """Looks for chunks of one pack in one tree after the other, so that one manifest at a time is in memory."""

    def __init__(self, manifest: Manifest, sound: Iterable[Placement]) -> None:
        present = {(placement.file.path, placement.start) for placement in sound}
        self._missing = {
            (placement.file.path, placement.start): placement
            for placement in manifest.placements()
            if (placement.file.path, placement.start) not in present
        }
        self._links: list[Link] = []
        self._copies: list[Copy] = []

    @property
    def wants_more(self) -> bool:
        """Tell whether anything is still missing."""
        return bool(self._missing)

    def look(self, root: str, held: Manifest, *, whole: bool) -> None:
        """Look in the tree `root`, which `held` describes; only files of a `whole` tree are linked."""
        if whole:
            self._look_for_files(root, held)
        self._look_for_chunks(root, held)

    def found(self) -> Reuse:
        """What was found until now."""
        return Reuse(tuple(self._links), tuple(self._copies), tuple(self._missing.values()))

    def _look_for_files(self, root: str, held: Manifest) -> None:
        """Link only what is missing wholly: the rest of a file that is half there costs less to copy."""
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
