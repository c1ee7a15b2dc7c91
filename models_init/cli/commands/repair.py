"""`--repair`: repair the damages of a release."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from models_init.cli.result import Result
from models_init.cli.retry_report import RetryReport
from models_init.cli.session import locked, open_context, run_observed
from models_init.install.repair import repair as repair_release
from models_init.output import render
from models_init.volume.activation import installed_release

if TYPE_CHECKING:
    from models_init.cli.arguments import Command
    from models_init.cli.settings import Settings
    from models_init.core.events import Observer


def run(command: Command, settings: Settings) -> Result:
    """Repair a release."""
    return run_observed(partial(repair, settings, name=command.release), settings)


async def repair(settings: Settings, observer: Observer, name: str) -> Result:
    """Repair a release and report its damages."""
    async with (
        open_context(settings, observer, RetryReport(observer)) as context,
        locked(context, "repair", settings.lock_seconds),
    ):
        repaired = await repair_release(context, installed_release(context.volume, name))
    content, text = render.repaired(repaired)
    return Result(content | {"bytes_by_source": dict(context.bytes_by_source)}, text)
