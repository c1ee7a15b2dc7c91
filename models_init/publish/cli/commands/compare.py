"""Print how much a site that has OLD installed will fetch for NEW, and how long that takes at 50 to 1000 Mbit/s."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from models_init.core.units import count, human_size, human_time, table
from models_init.publish.cli.report import Report
from models_init.publish.inspection.compare_packs import LINE_RATES, Difference, compare
from models_init.publish.pack.version_directory import VersionDirectory

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

NAME = "compare"
HELP = "print how much an upgrade will fetch"


def configure(parser: ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("old", type=Path, metavar="OLD", help="the version directory that a site has installed")
    parser.add_argument("new", type=Path, metavar="NEW", help="the version directory to upgrade to")


def run(arguments: Namespace) -> Report:
    """Read both manifests, plan the upgrade, and report its cost."""
    old, new = VersionDirectory(arguments.old.absolute()), VersionDirectory(arguments.new.absolute())
    return _report(compare(old.parsed(), new.parsed(), len(new.document())))


def _report(found: Difference) -> Report:
    share = found.bytes_fetched / max(found.new.archive.size, 1)
    rows = [(f"{rate} Mbit/s", human_time(found.seconds(rate))) for rate in LINE_RATES]
    text = "\n".join(
        [
            (
                f"from {found.old.ref} to {found.new.ref}: {human_size(found.bytes_fetched)} to fetch in "
                f"{count(found.requests, 'request')}, {share:.1%} of the archive"
            ),
            (
                f"of {human_size(found.new.size)}: {human_size(found.bytes_linked)} linked "
                f"({count(found.files_linked, 'file')}), {human_size(found.bytes_copied)} copied, "
                f"{human_size(found.bytes_new)} new"
            ),
            "",
            table(rows, ("LINE", "TAKES")),
        ]
    )
    facts: dict[str, object] = {
        "old": str(found.old.ref),
        "new": str(found.new.ref),
        "bytes": found.new.size,
        "bytes_linked": found.bytes_linked,
        "bytes_copied": found.bytes_copied,
        "bytes_new": found.bytes_new,
        "bytes_to_fetch": found.bytes_fetched,
        "requests": found.requests,
        "seconds": {f"{rate}": round(found.seconds(rate), 3) for rate in LINE_RATES},
    }
    return Report(text, facts)
