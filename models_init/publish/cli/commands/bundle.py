"""Make one file with everything that a site without a network needs: packs, container images, compose files.

Packs, versions, languages and the source come from the same environment as an install. An interrupted run is resumed.
"""

from __future__ import annotations

import os
from argparse import ArgumentTypeError
from pathlib import Path
from typing import TYPE_CHECKING

from models_init.cli.settings import load
from models_init.core.errors import UsageError
from models_init.core.redaction import register
from models_init.core.units import human_size, some
from models_init.publish.cli.arguments import large_size
from models_init.publish.cli.progress import bar
from models_init.publish.cli.report import Report
from models_init.runtime import event_loop

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from models_init.cli.settings import Settings
    from models_init.core.events import Observer
    from models_init.formats.bundle_index import Contents
    from models_init.formats.receipt import Receipt
    from models_init.publish.bundle.contents import BundlePlan
    from models_init.publish.bundle.writer import BundleResult

NAME = "bundle"
HELP = "make a file for a site without a network"

SPLIT_LEAST = 64 << 10
"""Minimum size of a part in bytes, large enough for several fingerprints."""


def configure(parser: ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--out", required=True, type=Path, metavar="FILE", help="the bundle, e.g. site.tar")
    parser.add_argument(
        "--split", type=large_size, metavar="SIZE", help="write parts FILE.001, … of this size, e.g. 4G"
    )
    parser.add_argument(
        "--since",
        type=Path,
        metavar="RECEIPT",
        help="leave out what the site has, according to its `models-init --receipt`",
    )
    parser.add_argument(
        "--for",
        dest="recipient",
        default="",
        metavar="NAME",
        help="the site that the bundle is for; only shown by `inspect`",
    )
    _add_extra_files(parser)


def _add_extra_files(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--image",
        action="append",
        default=[],
        metavar="REF",
        help="a container image of the local engine or a registry",
    )
    parser.add_argument(
        "--compose",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="a compose file; several in their order",
    )
    parser.add_argument(
        "--file",
        action="append",
        default=[],
        type=_named_file,
        metavar="FILE[=NAME]",
        help="another file for the site, e.g. license.dat=config/license.dat",
    )


def run(arguments: Namespace) -> Report:
    """Make the bundle and report its size."""
    for variable in ("MODELS_SAS_TOKEN", "MODELS_REGISTRY_PASSWORD"):
        register(os.environ.get(variable, ""))
    settings = load(os.environ, with_packs=True)
    if arguments.split is not None and arguments.split < SPLIT_LEAST:
        raise UsageError(f"--split {arguments.split} is too small: use at least {human_size(SPLIT_LEAST)}")
    if arguments.out.suffix != ".tar":
        raise UsageError(f"--out {arguments.out} must end in .tar: sites recognize a bundle by this ending")
    receipt = _receipt(arguments.since) if arguments.since else None
    with bar("bundle") as observer:
        plan, made = event_loop.run(lambda: make_bundle(settings, arguments, receipt, observer))
    return _report(plan, made)


async def make_bundle(
    settings: Settings, arguments: Namespace, receipt: Receipt | None, observer: Observer
) -> tuple[BundlePlan, BundleResult]:
    """Make the bundle of the packs in `settings`; return its plan and what was written."""
    from models_init.cli.factory import source_of, trust_of
    from models_init.cli.retry_report import RetryReport, SourceRetries
    from models_init.publish.bundle.contents import BundleRequest, plan_bundle
    from models_init.publish.bundle.images import spooled
    from models_init.publish.bundle.site_files import ExtraFiles, build_site_files
    from models_init.publish.bundle.writer import write_bundle
    from models_init.runtime import memory_limits
    from models_init.runtime.workers import Workers
    from models_init.sources.open_source import host_of
    from models_init.transfer.concurrency import ConnectionLimiter
    from models_init.transfer.context import Context

    connections = ConnectionLimiter(settings.connections)
    retries = SourceRetries(host_of(settings.url), RetryReport(observer), connections)
    source, workers = source_of(settings, observer, retries, {}), Workers()
    buffers = memory_limits.buffer_bytes(settings.memory, memory_limits.limit_bytes())
    try:
        with spooled(arguments.image, arguments.out) as images:
            extras = ExtraFiles(arguments.compose, arguments.file)
            site = build_site_files(os.environ, settings.packs, extras, arguments.out.name, images)
            request = BundleRequest(
                packs=settings.packs,
                recipient=arguments.recipient,
                environment=site.environment,
                part_size=arguments.split or 0,
                receipt=receipt,
                documents=site.documents,
                images=images,
            )
            plan = await plan_bundle(request, source, trust_of(settings, observer))
            context = Context(source, workers, observer, connections, buffers)
            return plan, await write_bundle(plan, arguments.out.absolute(), context)
    finally:
        workers.close()
        await source.close()


def _report(plan: BundlePlan, made: BundleResult) -> Report:
    contents = made.contents
    shown = str(made.paths[0]) if len(made.paths) == 1 else f"{made.paths[0]} to {made.paths[-1].name}"
    packs = ", ".join(f"{name} {packed.version}" for name, packed in contents.packs.items())
    state = "made" if made.fresh else "already exists"
    sizes = f"{human_size(made.fetched)} fetched, {human_size(made.found)} already there"
    lines = [f"{shown}: {state}: {human_size(contents.size)} with {packs}" + (f": {sizes}" if made.fresh else "")]
    if contents.since:
        left_out = sum(packed.archive_size for packed in contents.packs.values()) - _carried(contents)
        lines.append(f"left out: {human_size(left_out)} that the site has according to its receipt")
    if plan.unknown:
        lines.append(f"not left out, because the source does not have these packs: {some(plan.unknown)}")
    facts: dict[str, object] = {
        "files": [str(path) for path in made.paths],
        "size": contents.size,
        "unchanged": not made.fresh,
        "packs": {name: packed.version for name, packed in contents.packs.items()},
        "images": list(contents.images.values()),
        "bytes_fetched": made.fetched,
        "bytes_found": made.found,
        "complete": contents.since is None,
        "unknown_to_the_source": list(plan.unknown),
    }
    return Report("\n".join(lines), facts)


def _carried(contents: Contents) -> int:
    keys = {f"{name}/{packed.version}/{packed.archive}" for name, packed in contents.packs.items()}
    return sum(member.size for member in contents.members if member.key in keys)


def _receipt(path: Path) -> Receipt:
    from models_init.formats import receipt

    try:
        with path.open("rb") as file:
            return receipt.parse(file.read(receipt.RECEIPT_LIMIT))
    except OSError as error:
        raise UsageError(f"--since {path} cannot be read: {error.strerror}; name a receipt") from error
    except ValueError as error:
        raise UsageError(
            f"--since {path} is not a receipt: {error}; name a file that `models-init --receipt` wrote"
        ) from error


def _named_file(text: str) -> tuple[Path, str]:
    path, _, name = text.partition("=")
    if not path:
        raise ArgumentTypeError(f"{text!r} does not name a file")
    return Path(path), name or Path(path).name
