"""Make a pack of a directory: DIR/NAME/VERSION/ with the archive and the manifest that describes it.

The same files give the same bytes, whatever their times and owners. A version that stands there is never changed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from models_init.core.errors import UsageError
from models_init.core.pack_ref import PackRef
from models_init.core.parallel import cores
from models_init.core.units import count, human_size
from models_init.publish.cli.arguments import between, chunk_size, requirement, requirements
from models_init.publish.cli.progress import bar
from models_init.publish.cli.report import Report
from models_init.publish.pack.build import CHUNK_SIZE, LEVEL, BuildOptions, BuildResult, build
from models_init.publish.pack.source_tree import scan

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

NAME = "build"
HELP = "make a pack of a directory"


def configure(parser: ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("directory", type=Path, metavar="DIRECTORY", help="what the pack consists of")
    parser.add_argument("--name", required=True, help="the pack's name, e.g. nl-nl")
    parser.add_argument("--version", required=True, help="the pack's version, e.g. 2026.04")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="write DIR/NAME/VERSION/")
    parser.add_argument("--level", type=between(1, 22), default=LEVEL, metavar="N", help="zstd's level (%(default)s)")
    parser.add_argument(
        "--chunk-size",
        type=chunk_size,
        default=CHUNK_SIZE,
        metavar="SIZE",
        help="of a chunk on average; none has more than 4MiB (1MiB)",
    )
    parser.add_argument(
        "--requires",
        type=requirement,
        action="append",
        default=[],
        metavar="NAME=VERSION,...",
        help="versions of another pack that this one works with; a site refuses others",
    )
    parser.add_argument("--dereference", action="store_true", help="follow links that stay inside DIRECTORY")
    parser.add_argument(
        "--threads", type=between(1, 512), default=cores(), metavar="N", help="compress N chunks at once (%(default)s)"
    )


def run(arguments: Namespace) -> Report:
    """Scan the directory, build the pack, and report its size."""
    recipe = BuildOptions(
        _ref(arguments), arguments.level, arguments.chunk_size, arguments.threads, requirements(arguments.requires)
    )
    _check_apart(arguments.directory, arguments.out)
    tree = scan(arguments.directory, dereference=arguments.dereference)
    with bar(f"{recipe.ref}") as observer:
        return _report(build(tree, recipe, arguments.out, observer))


def _ref(arguments: Namespace) -> PackRef:
    try:
        return PackRef.make(arguments.name, arguments.version)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _check_apart(directory: Path, out: Path) -> None:
    if out.resolve().is_relative_to(directory.resolve()):
        raise UsageError(
            f"{out} lies inside {directory}: the pack would become part of the next one; choose another --out"
        )


def _report(built: BuildResult) -> Report:
    manifest = built.manifest
    chunks = sum(len(file.chunks) for file in manifest.files)
    ratio = manifest.archive.size / max(manifest.size, 1)
    text = (
        f"{manifest.ref}: {'built' if built.fresh else 'unchanged'} in {built.directory}: "
        f"{count(len(manifest.files), 'file')}, {human_size(manifest.size)}, {count(chunks, 'chunk')}, "
        f"archive {human_size(manifest.archive.size)} ({ratio:.0%}), {manifest.archive.digest}"
    )
    facts: dict[str, object] = {
        "pack": manifest.pack,
        "version": manifest.version,
        "directory": str(built.directory),
        "unchanged": not built.fresh,
        "files": len(manifest.files),
        "size": manifest.size,
        "chunks": chunks,
        "archive": {"size": manifest.archive.size, "digest": manifest.archive.digest},
    }
    return Report(text, facts)
