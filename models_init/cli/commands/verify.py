"""`--verify`: hash all files of a release and list every difference."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from models_init.cli.result import Result
from models_init.cli.retry_report import RetryReport
from models_init.cli.session import open_context, run_observed
from models_init.core.errors import EXIT_OK, DamagedError
from models_init.output import render
from models_init.volume.activation import installed_release
from models_init.volume.lease import reading
from models_init.volume.verify import verify as verify_release

if TYPE_CHECKING:
    from models_init.cli.arguments import Command
    from models_init.cli.settings import Settings
    from models_init.core.events import Observer


def run(command: Command, settings: Settings) -> Result:
    """Verify a release."""
    return run_observed(partial(verify, settings, name=command.release), settings)


async def verify(settings: Settings, observer: Observer, name: str) -> Result:
    """Hash the files of a release and report the differences."""
    async with open_context(settings, observer, RetryReport(observer)) as context:
        release = installed_release(context.volume, name)
        with reading(context.volume, release):  # a prune meanwhile would look like damage
            state = await verify_release(context.volume, release, context.workers, observer)
    return Result(*render.state(state), exit_code=DamagedError.exit_code if state.damages else EXIT_OK)
