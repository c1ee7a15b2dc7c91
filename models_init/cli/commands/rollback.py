"""`--rollback`: activate the previous release, or the named one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models_init.cli.result import Result, activated
from models_init.volume.activation import Switch
from models_init.volume.layout import Volume

if TYPE_CHECKING:
    from models_init.cli.arguments import Command
    from models_init.cli.settings import Settings


def run(command: Command, settings: Settings) -> Result:
    """Roll back to an installed release."""
    switch = Switch(Volume(settings.directory))
    release = switch.find(command.release) if command.release else switch.previous()
    switch.activate(release, back=True)
    return activated(release)
