"""List the content, recipient and signing keys of a bundle, and verify every byte of it.

Exit codes: 0 for no fault, 30 for damage, 20 for an incomplete bundle, 2 for a file that is not a bundle.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from models_init.core.errors import WrongBytesError
from models_init.core.units import count, human_size, table
from models_init.publish.cli.progress import bar
from models_init.publish.cli.report import Report
from models_init.runtime import event_loop

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from models_init.core.events import Observer
    from models_init.publish.inspection.inspect_bundle import BundleInspection, CarriedPack

NAME = "inspect"
HELP = "list and verify the content of a bundle"

_SHOWN = 50
"""Maximum number of damages listed; the others are only counted."""


def configure(parser: ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "bundle", type=Path, metavar="FILE", help="a bundle, its first part, or the directory of its parts"
    )


def run(arguments: Namespace) -> Report:
    """Read the whole bundle and report its contents and damages."""
    with bar("inspect") as observer:
        found = event_loop.run(lambda: _inspect(arguments.bundle, observer))
    return Report(_text(found), _facts(found), _error(found))


async def _inspect(path: Path, observer: Observer) -> BundleInspection:
    from models_init.publish.inspection.inspect_bundle import inspect
    from models_init.runtime.workers import Workers

    workers = Workers()
    try:
        return await inspect(path, workers, observer)
    finally:
        workers.close()


def _text(found: BundleInspection) -> str:
    contents = found.contents
    shown = str(found.files[0]) if len(found.files) == 1 else f"{found.files[0]} to {found.files[-1].name}"
    environment = " ".join(f"{name}={value}" for name, value in contents.environment.items())
    since = contents.since
    content = (
        f"incomplete: installs only on a volume that has {', '.join(since.packs) or 'nothing'}"
        if since
        else "complete: installs on an empty volume"
    )
    packs = [
        (pack.ref.name, pack.ref.version, human_size(pack.archive_size), _carried(pack), pack.signed_by or "unsigned")
        for pack in found.packs
    ]
    lines = [
        f"bundle   {shown}: {human_size(contents.size)}",
        *([f"for      {contents.recipient}"] if contents.recipient else []),
        f"from     {contents.source}",
        f"content  {content}",
        f"settings {environment}",
        "",
        table(packs, ("PACK", "VERSION", "ARCHIVE", "CARRIED", "SIGNED BY")),
    ]
    if contents.images:
        lines += ["", table([(image,) for image in contents.images.values()], ("IMAGE",))]
    lines += ["", *_verdict(found)]
    return "\n".join(lines)


def _verdict(found: BundleInspection) -> list[str]:
    if not found.damages:
        return ["undamaged: every byte was read and is correct"]
    rows = [(damage.member, damage.what, f"byte {damage.offset} of {damage.path}") for damage in found.damages]
    more = len(rows) - _SHOWN
    return [
        table(rows[:_SHOWN], ("MEMBER", "DAMAGE", "WHERE")),
        *([f"and {count(more, 'more damage')}"] if more > 0 else []),
    ]


def _carried(pack: CarriedPack) -> str:
    if pack.carried >= pack.archive_size:
        return "whole"
    return f"{human_size(pack.carried)} of it" if pack.carried else "nothing"


def _facts(found: BundleInspection) -> dict[str, object]:
    contents = found.contents
    return {
        "files": [str(path) for path in found.files],
        "size": contents.size,
        "recipient": contents.recipient or None,
        "source": contents.source,
        "environment": contents.environment,
        "complete": contents.since is None,
        "since": {"release": contents.since.release or None, "packs": contents.since.packs} if contents.since else None,
        "packs": [
            {
                "pack": pack.ref.name,
                "version": pack.ref.version,
                "archive_size": pack.archive_size,
                "carried": pack.carried,
                "signed_by": pack.signed_by or None,
            }
            for pack in found.packs
        ],
        "images": list(contents.images.values()),
        "whole": not found.damages,
        "damages": [
            {"member": damage.member, "what": damage.what, "file": damage.path, "byte": damage.offset}
            for damage in found.damages[:_SHOWN]
        ],
        "damage_count": len(found.damages),
    }


def _error(found: BundleInspection) -> WrongBytesError | None:
    if not found.damages:
        return None
    return WrongBytesError(
        f"{count(len(found.damages), 'damage')} in {found.files[0]}: copy the bundle again; an install from it keeps "
        "every correct chunk"
    )
