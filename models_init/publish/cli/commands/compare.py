"""Print how much a site that has OLD installed will fetch for NEW, and how long that takes at 50 to 1000 Mbit/s.

With --chunk-sizes, also print the download and the manifest for other chunk sizes, and recommend one.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from models_init.cli.settings import load
from models_init.core.errors import UsageError
from models_init.core.pack_ref import PackRef
from models_init.core.units import count, human_size, human_time, table
from models_init.formats.manifest import MANIFEST_LIMIT, MANIFEST_NAME, published
from models_init.publish.cli.arguments import chunk_size_text
from models_init.publish.cli.progress import bar
from models_init.publish.cli.report import Report
from models_init.publish.inspection.chunk_sizes import estimates, recommended
from models_init.publish.inspection.compare_packs import LINE_RATES, Difference, compare
from models_init.publish.pack.version_directory import VersionDirectory
from models_init.runtime import event_loop
from models_init.sources.open_source import is_registry

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

NAME = "compare"
HELP = "print how much an upgrade will fetch"


def configure(parser: ArgumentParser) -> None:
    """Add the arguments."""
    kinds = "a version directory, or oci://HOST/PREFIX/NAME:VERSION"
    parser.add_argument("old", metavar="OLD", help=f"what a site has installed: {kinds}")
    parser.add_argument("new", metavar="NEW", help="what to upgrade to, likewise")
    parser.add_argument(
        "--chunk-sizes",
        action="store_true",
        help="also cut both versions at other chunk sizes, which reads both archives, and recommend one",
    )


def run(arguments: Namespace) -> Report:
    """Read both manifests, plan the upgrade, and report its cost."""
    (old, old_ref), (new, new_ref) = _document(arguments.old), _document(arguments.new)
    report = _report(compare(published(old, old_ref).manifest, published(new, new_ref).manifest, len(new)))
    return _with_chunk_sizes(report, arguments.old, arguments.new) if arguments.chunk_sizes else report


def _with_chunk_sizes(report: Report, old: str, new: str) -> Report:
    """Add what other chunk sizes would fetch. Raises `UsageError`: a version is in a registry."""
    for text in filter(is_registry, (old, new)):
        raise UsageError(f"{text} is in a registry, and --chunk-sizes reads both archives: name version directories")
    with bar("cutting") as observer:
        found = estimates(VersionDirectory(Path(old).absolute()), VersionDirectory(Path(new).absolute()), observer)
    best = recommended(found)
    rows = [
        (
            chunk_size_text(each.chunk_size),
            human_size(each.difference.bytes_fetched),
            human_size(each.manifest_bytes),
            f"{each.chunks:,}",
            "recommended" if each is best else "",
        )
        for each in found
    ]
    text = table(rows, ("CHUNK SIZE", "TO FETCH", "MANIFEST", "CHUNKS", ""))
    facts = {
        "chunk_sizes": [
            {
                "chunk_size": chunk_size_text(each.chunk_size),
                "bytes_to_fetch": each.difference.bytes_fetched,
                "manifest_bytes": each.manifest_bytes,
                "chunks": each.chunks,
            }
            for each in found
        ],
        "recommended_chunk_size": chunk_size_text(best.chunk_size),
    }
    return Report(f"{report.text}\n\n{text}", {**report.facts, **facts})


def _document(text: str) -> tuple[bytes, PackRef]:
    """Read a manifest from a directory or a registry; return it with the pack's name and version."""
    if not is_registry(text):
        directory = VersionDirectory(Path(text).absolute())
        return directory.document(), directory.ref()
    return event_loop.run(lambda: _pulled(text))


async def _pulled(text: str) -> tuple[bytes, PackRef]:
    """Read a manifest from a registry. Raises `UsageError`: the text does not name a pack and a version."""
    from models_init.cli.factory import source_of
    from models_init.cli.retry_report import RetryReport, SourceRetries
    from models_init.publish.cli.progress import WarningObserver
    from models_init.sources.open_source import host_of

    url, _, last = text.rpartition("/")
    name, _, version = last.partition(":")
    try:
        ref = PackRef.make(name, version)
    except ValueError as error:
        raise UsageError(f"{text} does not name a pack: {error}; write oci://HOST/PREFIX/NAME:VERSION") from None
    settings = load({**os.environ, "MODELS_URL": url, "MODELS_MIRRORS": ""}, with_packs=False)
    observer = WarningObserver()
    source = source_of(settings, observer, SourceRetries(host_of(url), RetryReport(observer)), {})
    try:
        return await source.read(f"{ref.name}/{ref.version}/{MANIFEST_NAME}", MANIFEST_LIMIT), ref
    finally:
        await source.close()


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
