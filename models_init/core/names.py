"""Find file names that differ only in case or in their Unicode normal form."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from models_init.core.errors import NotWritableError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def colliding_names(paths: Iterable[str], *, case: bool = True, form: bool = True) -> Iterator[tuple[str, str]]:
    """Yield pairs of different paths that collide on a file system that ignores case or the Unicode normal form.

    `paths` are relative and include directories. `case` and `form` select the differences that the file system ignores.
    If a directory collides with another, the paths below them are not compared.
    """
    seen: dict[str, str] = {}
    reported: set[str] = set()
    for path in sorted(paths):
        parent, _, _ = path.rpartition("/")
        other = seen.setdefault(_folded(path, case=case, form=form), path)
        if other != path:
            reported.add(path)
            if parent not in reported:
                yield other, path


def same_path_error(directory: str, pack: str, one: str, other: str) -> NotWritableError:
    """Return the error for two paths of a pack that are the same path on the file system of `directory`."""
    return NotWritableError(
        f"{directory} cannot hold {pack}: {one!a} and {other!a} are the same path on this file system; use a file "
        "system for MODELS_DIR that distinguishes upper and lower case and Unicode normal forms"
    )


def changing_names(paths: Iterable[str]) -> Iterator[str]:
    """Yield the paths that a file system may list in another case or Unicode normal form."""
    return (path for path in paths if _folded(path, case=True, form=True) != path)


def _folded(path: str, *, case: bool, form: bool) -> str:
    if path.isascii():
        return path.casefold() if case else path
    if form:
        path = unicodedata.normalize("NFD", path)
    if case:
        path = path.casefold()
    return unicodedata.normalize("NFD", path) if form else path
