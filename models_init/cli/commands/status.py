"""`--status`: show the installed, current and staged packs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models_init.cli.licenses import license_report
from models_init.cli.result import Result
from models_init.output import render
from models_init.volume import license_record
from models_init.volume.layout import Volume

if TYPE_CHECKING:
    from models_init.cli.arguments import Command
    from models_init.cli.settings import Settings


def run(_command: Command, settings: Settings) -> Result:
    """Report the content of the volume, and whether the engine license has changed since the last run."""
    volume = Volume(settings.directory)
    content, text = render.status(volume)
    record = license_record.read(volume)
    if not record:
        return Result(content, text)
    found, line = render.engine_license(record, license_report(settings).engine_sha256)
    return Result(content | found, f"{text}\n\n{line}")
