"""`--rollback`: activate the previous release, or the named one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models_init.cli.result import Result, activated, already_current
from models_init.volume.activation import Switch
from models_init.volume.layout import Volume

if TYPE_CHECKING:
    from models_init.cli.arguments import Command
    from models_init.cli.settings import Settings


def run(command: Command, settings: Settings) -> Result:
    """Roll back to an installed release."""
    volume = Volume(settings.directory)
    switch, current = Switch(volume), volume.current()
    release = switch.find(command.release) if command.release else switch.previous()
    switch.activate(release, back=True)
    if release == current:
        return already_current(release, _hint(switch))
    return activated(release, action="rolled back to")


def _hint(switch: Switch) -> str:
    """Return the possible next steps after a rollback."""
    left = switch.rolled_back_from()
    if not left:
        return ""
    return f", rolled back from {left}; --activate {left.id} returns to it, --rollback RELEASE goes further back"
