"""Judge packs: whether each archive holds what its manifest says, chunk by chunk and as a tar stream.

Exit code 30 if bytes are wrong, 10 if a manifest cannot be used, 13 if no trusted key has signed it, 0 if there is no
fault.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from models_init.core.errors import ArchiveError, ManifestError, ModelsInitError, SignatureError, WrongBytesError
from models_init.core.units import count, human_size
from models_init.publish.cli.arguments import public_keys
from models_init.publish.cli.progress import bar
from models_init.publish.cli.report import Report
from models_init.publish.inspection.check_pack import CheckResult, check
from models_init.publish.pack.version_directory import find

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

NAME = "check"
HELP = "judge packs that were built"

_BY_WEIGHT = (WrongBytesError, ArchiveError, ManifestError, SignatureError)

_SHOWN = 50
"""Maximum number of faults listed per pack; the others are only counted."""


def configure(parser: ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "directory", type=Path, metavar="DIR", help="a directory NAME/VERSION, or one that holds such directories"
    )
    parser.add_argument(
        "--public-key",
        type=public_keys,
        default=(),
        metavar="KEY_OR_FILE",
        help="a minisign key, or a file of them: one of them must have signed each manifest",
    )


def run(arguments: Namespace) -> Report:
    """Check every version directory and report its faults."""
    found = find(arguments.directory)
    with bar("check") as observer:
        verdicts = [check(directory, observer, arguments.public_key) for directory in found]
    text = "\n".join(line for verdict in verdicts for line in _lines(verdict))
    return Report(text, {"packs": [_facts(verdict) for verdict in verdicts]}, _error(verdicts))


def _lines(verdict: CheckResult) -> list[str]:
    name = _name(verdict)
    if verdict.manifest and not verdict.faults:
        files, archive = verdict.manifest.files, verdict.manifest.archive
        sizes = f"{human_size(verdict.manifest.size)}, archive {human_size(archive.size)}"
        signed = f", signed by {verdict.key}" if verdict.key else ""
        plain = verdict.manifest.plain
        held = "a plain archive" if plain else count(len(files), "file")
        return [f"{name}: sound: {held}, {sizes}{signed}"]
    more = len(verdict.faults) - _SHOWN
    return [f"{name}: {fault}" for fault in verdict.faults[:_SHOWN]] + (
        [f"{name}: and {count(more, 'more fault')}"] if more > 0 else []
    )


def _facts(verdict: CheckResult) -> dict[str, object]:
    return {
        "directory": str(verdict.directory.path),
        "sound": not verdict.faults,
        "faults": verdict.faults[:_SHOWN],
        "fault_count": len(verdict.faults),
        "signed_by": verdict.key or None,
    }


def _error(verdicts: list[CheckResult]) -> ModelsInitError | None:
    """Return the most severe error, in the order of `_BY_WEIGHT`, or None."""
    faulty = [verdict for verdict in verdicts if verdict.error]
    if not faulty:
        return None
    found = {verdict.error for verdict in faulty}
    error = next(error for error in _BY_WEIGHT if error in found)
    if error is SignatureError:
        return error(
            f"{', '.join(map(_name, faulty))}: no site that trusts these keys will install it; see models-pack sign"
        )
    faults = sum(len(verdict.faults) for verdict in faulty)
    names = ", ".join(map(_name, faulty))
    return error(
        f"{count(faults, 'fault')} in {names}: do not publish {'it' if len(faulty) == 1 else 'them'}; build anew"
    )


def _name(verdict: CheckResult) -> str:
    return f"{verdict.directory.path.parent.name}/{verdict.directory.path.name}"
