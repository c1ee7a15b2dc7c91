"""Write the manifest of an existing archive: DIR/NAME/VERSION/ with the archive and the manifest.

For a .tar, .tar.gz or .tar.zst that was not written by `build`. Sites fetch such an archive as a whole, also for an
upgrade, so prefer `build` where the files are available. The archive is read once, by the same rules as at a site.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from models_init.core.units import human_size
from models_init.publish.cli.arguments import add_pack, pack_ref, requirements
from models_init.publish.cli.progress import bar
from models_init.publish.cli.report import Report
from models_init.publish.pack.describe import DescribeResult, describe

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

NAME = "describe"
HELP = "make a pack from an existing archive"


def configure(parser: ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("file", type=Path, metavar="FILE", help="a .tar, .tar.gz or .tar.zst")
    add_pack(parser)
    parser.add_argument(
        "--out", type=Path, default=Path(), metavar="DIR", help="write DIR/NAME/VERSION/ (the current directory)"
    )


def run(arguments: Namespace) -> Report:
    """Read the archive, write its manifest, and report its contents."""
    ref = pack_ref(arguments)
    with bar(f"{ref}") as observer:
        return _report(describe(arguments.file, ref, requirements(arguments), arguments.out, observer))


def _report(found: DescribeResult) -> Report:
    manifest, opaque = found.manifest, found.manifest.plain
    entries = opaque.entries if opaque and opaque.entries else 0
    text = (
        f"{manifest.ref}: {'described' if found.fresh else 'unchanged'} in {found.directory}: "
        f"{entries:,} files and directories, {human_size(manifest.size)}, "
        f"archive {human_size(manifest.archive.size)}, {manifest.archive.digest}"
    )
    facts: dict[str, object] = {
        "pack": manifest.pack,
        "version": manifest.version,
        "directory": str(found.directory),
        "unchanged": not found.fresh,
        "entries": entries,
        "size": manifest.size,
        "archive": {
            "file": manifest.archive.file,
            "size": manifest.archive.size,
            "digest": manifest.archive.digest,
        },
    }
    return Report(text, facts, warnings=found.warnings)
