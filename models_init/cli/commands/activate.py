"""`--activate`: make an installed release current."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models_init.cli.result import Result, activated
from models_init.volume.activation import Switch
from models_init.volume.layout import Volume

if TYPE_CHECKING:
    from models_init.cli.arguments import Command
    from models_init.cli.settings import Settings


def run(command: Command, settings: Settings) -> Result:
    """Activate an installed release by its id or a prefix of it."""
    switch = Switch(Volume(settings.directory))
    release = switch.find(command.release)
    switch.activate(release, back=False)
    return activated(release)
