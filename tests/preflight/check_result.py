"""Run `--check` as an operator does, and parse its table."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.tokens import leaks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tests.site import Site

ALL = [
    "environment", "platform license", "engine license", "volume", "links", "modes", "lock", "source", "clock", "token",
    "pack common", "pack nl-nl", "set", "plan", "space", "rate", "time",
]  # fmt: skip
_IN_A_HURRY = {"MODELS_RETRY_SECONDS": "1"}


@dataclass(frozen=True)
class Checked:
    """The result of a check."""

    code: int
    content: Mapping[str, Any]

    @property
    def states(self) -> dict[str, str]:
        """The state of each check; the worst one if it has several lines."""
        return {entry["check"]: entry["state"] for entry in self.content["checks"]}

    def text(self, check: str) -> str:
        """Return the text of a check; several lines are joined."""
        return "\n".join(entry["text"] for entry in self.content["checks"] if entry["check"] == check)

    def named(self, state: str) -> list[str]:
        """Return the checks in that state."""
        return [check for check, found in self.states.items() if found == state]


def check(site: Site, through: Sequence[str] = (), **variables: str) -> Checked:
    """Run the check, and assert that it leaks nothing, logs no steps, and does not change the volume."""
    before = listing(site.volume)
    done = site.run("--check", "--json", through=through, **{**_IN_A_HURRY, **variables})
    assert leaks(done.out + done.err) == []
    assert set(done.steps) <= {"retrying"}, done.err
    assert done.json["exit_code"] == done.code, done.err
    assert done.json["ready"] == (done.code == 0)
    assert listing(site.volume) == before
    return Checked(done.code, done.json)


def listing(root: Path) -> dict[str, tuple[object, ...]]:
    """Return the types, modes, owners, sizes, names, links and times of everything on the volume.

    The time of the directory in which the check creates its temporary files is left out.
    """
    trial = root / "staging" if (root / "staging").is_dir() else root
    found: dict[str, tuple[object, ...]] = {}
    for path in [root, *root.rglob("*")] if root.exists() else []:
        status = path.lstat()
        mtime = 0 if path == trial else status.st_mtime_ns
        nlink = 0 if stat.S_ISDIR(status.st_mode) else status.st_nlink
        target = os.readlink(path) if path.is_symlink() else ""
        found[str(path)] = (status.st_mode, status.st_uid, status.st_ino, status.st_size, mtime, nlink, target)
    return found
