"""`--receipt`: write a receipt of the installed packs, for a bundle without their bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from models_init.cli.result import Result
from models_init.core.errors import NotInstalledError, UsageError
from models_init.formats.receipt import Receipt
from models_init.install.resolve import installed
from models_init.volume.layout import Volume

if TYPE_CHECKING:
    from models_init.cli.arguments import Command
    from models_init.cli.settings import Settings
    from models_init.core.pack_ref import PackRef


def run(command: Command, settings: Settings) -> Result:
    """Write the receipt to a file, or to stdout for `-`. Raises `UsageError`."""
    file = command.release
    volume = Volume(settings.directory)
    current = volume.current()
    packs = {ref: digest for ref in volume.packs() if (digest := _published(volume, ref))}
    found = Receipt(packs, current.id if current else "")
    text = found.encode()
    if file != "-":
        try:
            Path(file).write_bytes(text)
        except OSError as error:
            raise UsageError(f"--receipt {file} cannot be written: {error.strerror}; name another file") from error
    names = ", ".join(map(str, sorted(found.packs))) or "no packs"
    if file == "-":
        return Result(json.loads(text), text.decode().rstrip(), is_document=True)
    return Result(json.loads(text), f"{file}: {names}")


def _published(volume: Volume, ref: PackRef) -> str:
    """Return the digest of the published manifest, even if the site has derived its own.

    Returns "" for a pack that a prune has just removed. Raises `DamagedError`.
    """
    try:
        found = installed(volume, ref)
    except NotInstalledError:
        return ""
    plain = found.manifest.plain
    return plain.derived_from if plain and plain.derived_from else found.digest
