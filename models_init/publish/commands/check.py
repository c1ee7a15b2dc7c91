"""Judge packs: whether each archive holds what its manifest says, chunk by chunk and as a tar stream.

Exit code 30 if bytes are wrong, 10 if a manifest cannot be used, 0 if there is no fault.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from models_init.errors import ManifestError, ModelsInitError, WrongBytesError
from models_init.figures import human_size
from models_init.publish.check import Verdict, check
from models_init.publish.folders import find
from models_init.publish.progress import bar
from models_init.publish.report import Report
from models_init.publish.wording import count

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

NAME = "check"
HELP = "judge packs that were built"

_SHOWN = 50
"""Faults of a pack that are told; the rest is counted."""


def configure(parser: ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "folder", type=Path, metavar="DIR", help="a folder NAME/VERSION, or one that holds such folders"
    )


def run(arguments: Namespace) -> Report:
    """Judge every version folder, tell of each whether it is sound."""
    found = find(arguments.folder)
    with bar("check") as watcher:
        verdicts = [check(folder, watcher) for folder in found]
    text = "\n".join(line for verdict in verdicts for line in _lines(verdict))
    return Report(text, {"packs": [_facts(verdict) for verdict in verdicts]}, _error(verdicts))


def _lines(verdict: Verdict) -> list[str]:
    name = _name(verdict)
    if verdict.manifest and not verdict.faults:
        files, archive = verdict.manifest.files, verdict.manifest.archive
        sizes = f"{human_size(verdict.manifest.size)}, archive {human_size(archive.size)}"
        return [f"{name}: sound: {count(len(files), 'file')}, {sizes}"]
    more = len(verdict.faults) - _SHOWN
    return [f"{name}: {fault}" for fault in verdict.faults[:_SHOWN]] + (
        [f"{name}: and {count(more, 'more fault')}"] if more > 0 else []
    )


def _facts(verdict: Verdict) -> dict[str, object]:
    return {
        "folder": str(verdict.folder.path),
        "sound": not verdict.faults,
        "faults": verdict.faults[:_SHOWN],
        "fault_count": len(verdict.faults),
    }


def _error(verdicts: list[Verdict]) -> ModelsInitError | None:
    """Sum up; wrong bytes weigh more than a manifest that cannot be used."""
    faulty = [verdict for verdict in verdicts if verdict.error]
    if not faulty:
        return None
    error = WrongBytesError if any(verdict.error is WrongBytesError for verdict in faulty) else ManifestError
    faults = sum(len(verdict.faults) for verdict in faulty)
    names = ", ".join(map(_name, faulty))
    return error(
        f"{count(faults, 'fault')} in {names}: do not publish {'it' if len(faulty) == 1 else 'them'}; build anew"
    )


def _name(verdict: Verdict) -> str:
    return f"{verdict.folder.path.parent.name}/{verdict.folder.path.name}"
