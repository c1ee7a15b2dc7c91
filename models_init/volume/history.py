"""Read and extend the history of activations and stagings, `releases/.history`. It is advisory: lines may be lost."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from models_init.fs.files import sync
from models_init.volume.atomic import remove_placeholder

if TYPE_CHECKING:
    from pathlib import Path

BACK, STAGED = "back-to", "staged"
"""Kinds of lines: a rollback to a release by the operator, and a release that was not activated."""


_LONG = 1000  # lines; every start of a pod may add one


class Entry(NamedTuple):
    """A line of the history: `kind` is empty for an installation or activation."""

    time: str
    kind: str
    release: str


class History:
    """The history file of a volume."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def entries(self) -> list[Entry]:
        """Return the lines, oldest first; incompletely written lines name no release and are harmless."""
        try:
            lines = self.path.read_text("utf-8", "replace").splitlines()
        except OSError:
            return []
        return [_entry(words) for line in lines if (words := line.split())]

    def installed(self) -> list[str]:
        """Return the ids of installed or activated releases."""
        return [entry.release for entry in self.entries() if not entry.kind]

    def staged(self) -> dict[str, float]:
        """Return the releases that were staged and not activated since, with the time of staging, in order of time."""
        staged: dict[str, float] = {}
        for entry in self.entries():
            staged.pop(entry.release, None)
            if entry.kind == STAGED:
                staged[entry.release] = _seconds_of(entry.time)
        return staged

    def never_activated(self) -> set[str]:
        """Return the ids of releases that were only staged."""
        entries = self.entries()
        return {entry.release for entry in entries} - {entry.release for entry in entries if entry.kind != STAGED}

    def shortened(self) -> bytes | None:
        """Return the content without superseded stagings, or None if the file has too few lines to be shortened."""
        entries = self.entries()
        if len(entries) < _LONG:
            return None
        last = {entry.release: at for at, entry in enumerate(entries) if entry.kind == STAGED}
        kept = (entry for at, entry in enumerate(entries) if entry.kind != STAGED or last[entry.release] == at)
        return "".join(map(_line, kept)).encode()

    def append(self, release_id: str, kind: str = "") -> None:
        """Add a line durably. Raises `OSError`."""
        line = _line(Entry(datetime.now(UTC).isoformat(timespec="seconds"), kind, release_id))
        if self.path.is_symlink():  # do not append to the file that it points to
            os.unlink(self.path)
        remove_placeholder(self.path)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self.path, flags, 0o644)
        try:
            os.write(descriptor, line.encode())
            sync(descriptor)
        finally:
            os.close(descriptor)


def _line(entry: Entry) -> str:
    return " ".join(filter(None, entry)) + "\n"


def _entry(words: list[str]) -> Entry:
    kind = words[-2] if len(words) > 1 and words[-2] in {BACK, STAGED} else ""
    return Entry(words[0], kind, words[-1])


def _seconds_of(time: str) -> float:
    """Return an ISO 8601 time in seconds since 1970; 0 if it is not one."""
    try:
        return datetime.fromisoformat(time).timestamp()
    except ValueError:
        return 0.0
