"""Build a pack from a directory: write DIR/NAME/VERSION/ with the archive and its manifest.

The same files give the same bytes, whatever their times and owners. An existing version is never changed.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from models_init.core.errors import UsageError
from models_init.core.units import count, human_size
from models_init.publish.cli.arguments import add_pack, between, chunk_size, pack_ref, requirements
from models_init.publish.cli.progress import bar
from models_init.publish.cli.report import Report
from models_init.publish.pack.build import CHUNK_SIZE, LEVEL, BuildOptions, BuildResult, build
from models_init.publish.pack.name_warnings import name_warnings
from models_init.publish.pack.source_tree import ScanOptions, scan
from models_init.runtime.parallel import cores

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from models_init.publish.pack.source_tree import SourceTree

NAME = "build"
HELP = "build a pack from a directory"


def configure(parser: ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("directory", type=Path, metavar="DIRECTORY", help="the files of the pack")
    add_pack(parser)
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="write DIR/NAME/VERSION/")
    parser.add_argument("--level", type=between(1, 22), default=LEVEL, metavar="N", help="zstd level (%(default)s)")
    parser.add_argument(
        "--chunk-size",
        type=chunk_size,
        default=CHUNK_SIZE,
        metavar="SIZE",
        help="average size of a chunk (1MiB), or auto: by type and size of each file; no chunk is larger than 4MiB",
    )
    parser.add_argument("--dereference", action="store_true", help="follow links that stay inside DIRECTORY")
    parser.add_argument(
        "--exclude",
        action="append",
        default=[],
        metavar="PATTERN",
        help="omit entries whose name, or path if PATTERN contains a slash, matches, e.g. '*.bak'; can be repeated",
    )
    parser.add_argument(
        "--threads", type=between(1, 512), default=cores(), metavar="N", help="compress N chunks at once (%(default)s)"
    )


def run(arguments: Namespace) -> Report:
    """Scan the directory, build the pack, and report its size."""
    options = BuildOptions(
        pack_ref(arguments), arguments.level, arguments.chunk_size, arguments.threads, requirements(arguments)
    )
    _check_separate(arguments.directory, arguments.out)
    tree = scan(arguments.directory, ScanOptions(arguments.dereference, tuple(arguments.exclude)))
    with bar(f"{options.ref}") as observer:
        return _report(build(tree, options, arguments.out, observer), _warnings(tree))


def _warnings(tree: SourceTree) -> tuple[str, ...]:
    unused = tuple(f"--exclude '{pattern}' matches nothing; check the pattern" for pattern in tree.unused_patterns)
    paths = [entry.path for entry in tree.entries]
    return unused + name_warnings(paths, remedy="to omit them, remove this version and build it again with {}")


def _check_separate(directory: Path, out: Path) -> None:
    if Path(os.path.realpath(out)).is_relative_to(os.path.realpath(directory)):
        raise UsageError(
            f"{out} is inside {directory}: the pack would become part of the next one; choose another --out"
        )


def _report(built: BuildResult, warnings: tuple[str, ...]) -> Report:
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
    return Report(text, facts, warnings=warnings)
