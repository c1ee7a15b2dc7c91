"""Warn of file names in a pack that are probably a mistake. No I/O."""

from __future__ import annotations

from fnmatch import fnmatchcase
from itertools import islice
from typing import TYPE_CHECKING

from models_init.core.names import colliding_names
from models_init.core.units import count, some

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

JUNK = ("._*", ".DS_Store", "__MACOSX", "Thumbs.db", "desktop.ini", "lost+found", "*~", ".*.sw[op]", ".#*", "#*#")
"""Patterns of names that file managers, file systems and editors create."""

_PAIRS_SHOWN = 5


def junk_pattern(path: str) -> str:
    """Return the pattern of `JUNK` that the last part of the path matches, or ''."""
    name = path.rpartition("/")[2]
    return next((pattern for pattern in JUNK if fnmatchcase(name, pattern)), "")


def name_warnings(paths: Collection[str], *, remedy: str) -> tuple[str, ...]:
    """Return warnings about the paths of a pack, which include its directories.

    `remedy` says how to omit junk files; `{}` in it stands for their patterns, as options of `models-pack build`.
    """
    return (*_junk_warning(paths, remedy), *_collision_warning(paths))


def _junk_warning(paths: Collection[str], remedy: str) -> Iterator[str]:
    found = {path: pattern for path in paths if (pattern := junk_pattern(path))}
    if found:
        options = " ".join(f"--exclude '{pattern}'" for pattern in sorted(set(found.values())))
        yield (
            f"{count(len(found), 'name')} probably not part of the models: {some(list(found))}; "
            f"{remedy.format(options)}"
        )


def _collision_warning(paths: Collection[str]) -> Iterator[str]:
    pairs = list(colliding_names(paths))
    if pairs:
        shown = ", ".join(f"{one!r} and {other!r}" for one, other in islice(pairs, _PAIRS_SHOWN))
        more = f" and {len(pairs) - _PAIRS_SHOWN:,} more" if len(pairs) > _PAIRS_SHOWN else ""
        yield (
            f"names that differ only in case or Unicode normalization: {shown}{more}; file systems that ignore this "
            "difference cannot hold the pack, so rename one of each pair"
        )
