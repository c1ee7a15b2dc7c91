"""`--activate`: make an installed release current."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models_init.cli.result import Result, activated, already_current
from models_init.volume.activation import Switch
from models_init.volume.layout import Volume

if TYPE_CHECKING:
    from models_init.cli.arguments import Command
    from models_init.cli.settings import Settings


def run(command: Command, settings: Settings) -> Result:
    """Activate an installed release by its id or a prefix of it."""
    volume = Volume(settings.directory)
    switch, current = Switch(volume), volume.current()
    release = switch.find(command.release)
    switch.activate(release, back=False)
    return already_current(release) if release == current else activated(release, action="activated")
