"""Links that an attacker has placed on the volume to make the program write, read or remove files elsewhere."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from typing import TYPE_CHECKING

from models_init.core.pack_ref import PackRef
from models_init.formats.manifest import MANIFEST_NAME
from models_init.formats.release import release_of
from tests.hostile.case import COMMON, COMMON_FILES, FILES, PACK, VERSION, HostileCase, HostileSetup, digest, honest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_MODEL = "am/final.mdl"


def _link(place: str, target: str = ".") -> Callable[[HostileSetup], None]:
    """Create a link on the volume to the directory outside, or to a file in it."""

    def prepare(setup: HostileSetup) -> None:
        (setup.volume / place).parent.mkdir(parents=True, exist_ok=True)
        (setup.volume / place).symlink_to(setup.outside / target)

    return prepare


def staging_of(setup: HostileSetup) -> Path:
    """Return the staging directory of the pack."""
    digest = hashlib.sha256((setup.pack / MANIFEST_NAME).read_bytes()).hexdigest()
    directory = setup.volume / "staging" / PACK / f"{VERSION}@{digest[:12]}"
    directory.parent.mkdir(parents=True, exist_ok=True)
    return directory


def _staging_is_a_link(setup: HostileSetup) -> None:
    staging_of(setup).symlink_to(setup.outside)


def _directory_in_staging(setup: HostileSetup) -> None:
    """Create a link in staging to a directory of correct files outside; they must not count as staged."""
    staging_of(setup).mkdir()
    (staging_of(setup) / "am").symlink_to(setup.outside / "am")


def _file_in_staging(setup: HostileSetup) -> None:
    (staging_of(setup) / "am").mkdir(parents=True)
    (staging_of(setup) / _MODEL).symlink_to(setup.outside / _MODEL)


def _stray_in_staging(setup: HostileSetup) -> None:
    staging_of(setup).mkdir()
    (staging_of(setup) / "stray").symlink_to(setup.outside)


def _second_name(content: bytes, mode: int = 0o644) -> Callable[[HostileSetup], None]:
    """Create a hard link to a file outside in staging, in the place of the model."""

    def prepare(setup: HostileSetup) -> None:
        theirs = setup.outside / "theirs"
        theirs.write_bytes(content)
        theirs.chmod(mode)
        (staging_of(setup) / "am").mkdir(parents=True)
        os.link(theirs, staging_of(setup) / _MODEL)

    return prepare


def _second_name_of_an_empty_file(setup: HostileSetup) -> None:
    staging_of(setup).mkdir()
    os.link(setup.outside / "precious", staging_of(setup) / "run.sh")


def _others_to_prune(setup: HostileSetup) -> None:
    """Link the directories of a pack to the directory outside, which has subdirectories named like versions."""
    (setup.outside / "1999.01").mkdir()
    (setup.outside / "1999.01/precious").write_bytes(b"precious")
    _link(f"packs/{PACK}")(setup)
    _link(f"manifests/{PACK}")(setup)


def _right_model() -> bytes:
    return b"".join(FILES[_MODEL])


def _moved(place: str, target: str = ".") -> Callable[[HostileSetup], None]:
    """Move an installed entry away, and put a link in its place."""

    def prepare(setup: HostileSetup) -> None:
        shutil.move(setup.volume / place, setup.root / "moved")
        (setup.volume / place).symlink_to(setup.outside / target)

    return prepare


def _refused(
    name: str, prepare: Callable[[HostileSetup], object], *arguments: str, installed: bool = False
) -> HostileCase:
    words = "is a symbolic link, and nothing is written through it"
    return HostileCase(name, words, prepare, code=43, arguments=arguments, installed=installed)


def _taken_out(
    name: str, prepare: Callable[[HostileSetup], object], *arguments: str, installed: bool = False
) -> HostileCase:
    return HostileCase(name, "", prepare, code=0, arguments=arguments, installed=installed)


def _installed() -> str:
    """Return the id of the release of the valid packs."""
    packs = {PACK: honest(), COMMON: honest(COMMON_FILES, COMMON)}
    digests = {PackRef(name, VERSION): digest(json.dumps(document).encode()) for name, (document, _) in packs.items()}
    return release_of(digests, created="", source="", program="").id


_PLACES = ("staging", "packs", "manifests", "releases", f"staging/{PACK}", f"packs/{PACK}", f"manifests/{PACK}")
_IN_PACKS = {
    "a directory": (f"{PACK}/{VERSION}/am", "am"),
    "a file": (f"{PACK}/{VERSION}/{_MODEL}", _MODEL),
    "all": (f"{COMMON}/{VERSION}", "."),
}

CASES = [
    *(_refused(f"{place} is a link", _link(place)) for place in _PLACES),
    _refused("the lock is a link", _link(".lock", "precious")),
    _refused("the lock is a link to what is not there", _link(".lock", "new")),
    _refused("mending where staging is a link", _moved("staging"), "--repair", installed=True),
    _refused("activating where staging is a link", _moved("staging"), "--activate", _installed(), installed=True),
    _taken_out("the history is a link", _link("releases/.history", "precious")),
    _taken_out("the note of a rollback is a link", _link("releases/.rolled-back.json", "precious")),
    _taken_out("current is a link to elsewhere", _link("current")),
    _taken_out("a pack's staging is a link", _staging_is_a_link),
    _taken_out("a directory in staging is a link", _directory_in_staging),
    _taken_out("a file in staging is a link", _file_in_staging),
    _taken_out("a stray in staging is a link", _stray_in_staging),
    _taken_out("a file in staging has a second name elsewhere", _second_name(b"theirs")),
    _taken_out("a longer one has a second name elsewhere", _second_name(_right_model() + b"theirs")),
    _taken_out("one of the right size has a second name elsewhere", _second_name(bytes(len(_right_model())))),
    _taken_out("the right one has a second name elsewhere, and another mode", _second_name(_right_model(), 0o600)),
    _taken_out("an empty file in staging has a second name elsewhere", _second_name_of_an_empty_file),
    _taken_out("a pack that is to be installed is a link", _link(f"packs/{PACK}/{VERSION}")),
    _taken_out("what pruning finds is elsewhere", _others_to_prune, "--prune"),
    _taken_out("what a killed run has left is a link", _link("staging/.trash-0"), "--prune"),
    *(
        _taken_out(
            f"mending where {what} of a pack is a link", _moved(f"packs/{place}", target), "--repair", installed=True
        )
        for what, (place, target) in _IN_PACKS.items()
    ),
]
