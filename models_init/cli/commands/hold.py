"""`--hold`: keep a lease on a release, or on the packs of the environment, until a signal or while a program runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models_init.cli.result import Result
from models_init.output import console
from models_init.runtime.signals import keep_signals_pending, wait_for_signal
from models_init.volume.activation import installed_release
from models_init.volume.layout import Volume
from models_init.volume.lease import exec_with_lease, leased_packs, leased_release

if TYPE_CHECKING:
    from models_init.cli.arguments import Command
    from models_init.cli.settings import Settings


def run(command: Command, settings: Settings) -> Result:
    """Take a lease; exec the program, which inherits it, or wait for SIGTERM or SIGINT. Raises `VolumeError`."""
    volume = Volume(settings.directory)
    if command.release:
        release = installed_release(volume, command.release)
        packs, lease = [pack.ref for pack in release.packs], leased_release(volume, release)
    else:
        packs, lease = list(settings.packs), leased_packs(volume, settings.packs)
    with lease as descriptors:
        if command.program:
            exec_with_lease(descriptors, command.program)
        keep_signals_pending()  # a program that reads the next log line may send a signal immediately
        console.note("holding", {"packs": packs}, log_format=settings.log_format, level=settings.log_level)
        ended_by = wait_for_signal()
    content = {"packs": {ref.name: ref.version for ref in packs}, "signal": ended_by}
    return Result(content, f"the lease on {', '.join(map(str, packs))} ended with {ended_by}")
