"""`--status`: show the installed, current and staged packs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models_init.cli.result import Result
from models_init.output import render
from models_init.volume.layout import Volume

if TYPE_CHECKING:
    from models_init.cli.arguments import Command
    from models_init.cli.settings import Settings


def run(_command: Command, settings: Settings) -> Result:
    """Report the content of the volume."""
    return Result(*render.status(Volume(settings.directory)))
