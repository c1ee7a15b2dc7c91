"""Write the manifest of an archive that is there already: DIR/NAME/VERSION/ with both.

For a .tar, .tar.gz or .tar.zst that was not made by `build`. Sites take it as a whole or not at all, and an upgrade
fetches all of it: `build` makes the better pack. The archive is read once, by the rules that a site reads it by.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from models_init.core.errors import UsageError
from models_init.core.pack_ref import PackRef
from models_init.core.units import human_size
from models_init.publish.cli.arguments import requirement, requirements
from models_init.publish.cli.progress import bar
from models_init.publish.cli.report import Report
from models_init.publish.pack.describe import DescribeResult, describe

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

NAME = "describe"
HELP = "make a pack of an archive"


def configure(parser: ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("file", type=Path, metavar="FILE", help="a .tar, .tar.gz or .tar.zst")
    parser.add_argument("--name", required=True, help="the pack's name, e.g. nl-nl")
    parser.add_argument("--version", required=True, help="the pack's version, e.g. 2026.04")
    parser.add_argument(
        "--out", type=Path, default=Path(), metavar="DIR", help="write DIR/NAME/VERSION/ (this directory)"
    )
    parser.add_argument(
        "--requires",
        type=requirement,
        action="append",
        default=[],
        metavar="NAME=VERSION,...",
        help="versions of another pack that this one works with; a site refuses others",
    )


def run(arguments: Namespace) -> Report:
    """Read the archive, write its manifest, and report its contents."""
    try:
        ref = PackRef.make(arguments.name, arguments.version)
    except ValueError as error:
        raise UsageError(str(error)) from error
    wanted = requirements(arguments.requires)
    with bar(f"{ref}") as observer:
        return _report(describe(arguments.file, ref, wanted, arguments.out, observer))


def _report(found: DescribeResult) -> Report:
    manifest, plain = found.manifest, found.manifest.plain
    entries = plain.entries if plain and plain.entries else 0
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
    return Report(text, facts)
