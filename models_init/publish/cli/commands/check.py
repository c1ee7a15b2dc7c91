"""Check that each archive matches its manifest: its digest, every chunk, and the tar stream.

Exit codes: 0 for no fault, 30 for wrong bytes, 10 for a manifest that cannot be used, 13 if no trusted key has signed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from models_init.core.errors import ArchiveError, ManifestError, ModelsInitError, SignatureError, WrongBytesError
from models_init.core.units import count, human_size
from models_init.publish.cli.arguments import add_directory_of_packs, public_keys
from models_init.publish.cli.progress import bar
from models_init.publish.cli.report import Report
from models_init.publish.inspection.check_pack import CheckResult, check_packs
from models_init.publish.pack.version_directory import find

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

NAME = "check"
HELP = "check packs before they are published"

_BY_SEVERITY = (WrongBytesError, ArchiveError, ManifestError, SignatureError)

_SHOWN = 50
"""Maximum number of faults listed per pack; the others are only counted."""


def configure(parser: ArgumentParser) -> None:
    """Add the arguments."""
    add_directory_of_packs(parser)
    parser.add_argument(
        "--public-key",
        type=public_keys,
        default=(),
        metavar="KEY_OR_FILE",
        help="a minisign public key, or a file of keys: each manifest must be signed by one of them",
    )


def run(arguments: Namespace) -> Report:
    """Check every version directory and report its faults."""
    found = find(arguments.directory)
    with bar("check") as observer:
        results = check_packs(found, observer, arguments.public_key)
    text = "\n".join(line for result in results for line in _lines(result))
    return Report(text, {"packs": [_facts(result) for result in results]}, _error(results))


def _lines(result: CheckResult) -> list[str]:
    name = _name(result)
    if result.manifest and not result.faults:
        files, archive = result.manifest.files, result.manifest.archive
        sizes = f"{human_size(result.manifest.size)}, archive {human_size(archive.size)}"
        signed = f", signed by {result.key}" if result.key else ""
        content = "an opaque archive" if result.manifest.plain else count(len(files), "file")
        return [f"{name}: valid: {content}, {sizes}{signed}"]
    more = len(result.faults) - _SHOWN
    return [f"{name}: {fault}" for fault in result.faults[:_SHOWN]] + (
        [f"{name}: and {count(more, 'more fault')}"] if more > 0 else []
    )


def _facts(result: CheckResult) -> dict[str, object]:
    return {
        "directory": str(result.directory.path),
        "sound": not result.faults,
        "faults": result.faults[:_SHOWN],
        "fault_count": len(result.faults),
        "signed_by": result.key or None,
    }


def _error(results: list[CheckResult]) -> ModelsInitError | None:
    """Return the most severe error, in the order of `_BY_SEVERITY`, or None."""
    faulty = [result for result in results if result.error]
    if not faulty:
        return None
    found = {result.error for result in faulty}
    error = next(error for error in _BY_SEVERITY if error in found)
    if error is SignatureError:
        return error(
            f"{', '.join(map(_name, faulty))}: sites that trust these keys will not install this; "
            "sign it with `models-pack sign`"
        )
    faults = sum(len(result.faults) for result in faulty)
    names = ", ".join(map(_name, faulty))
    return error(
        f"{count(faults, 'fault')} in {names}: do not publish {'it' if len(faulty) == 1 else 'them'}; build again"
    )


def _name(result: CheckResult) -> str:
    return f"{result.directory.path.parent.name}/{result.directory.path.name}"
