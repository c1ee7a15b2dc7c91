"""`--hold`: run a program under a lease of a release."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from models_init.volume.activation import installed_release
from models_init.volume.layout import Volume
from models_init.volume.lease import exec_with_lease

if TYPE_CHECKING:
    from models_init.cli.arguments import Command
    from models_init.cli.settings import Settings


def run(command: Command, settings: Settings) -> NoReturn:
    """Take a lease on a release and exec the program, which inherits it. Raises `VolumeError`, `UsageError`."""
    volume = Volume(settings.directory)
    exec_with_lease(volume, installed_release(volume, command.release), command.program)
