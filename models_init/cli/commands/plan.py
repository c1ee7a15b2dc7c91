"""`--plan`: show the steps of an install, without changing anything."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from models_init.cli.result import Result
from models_init.cli.retry_report import RetryReport
from models_init.cli.session import open_context, run_observed
from models_init.install.install import Installation
from models_init.output import render

if TYPE_CHECKING:
    from models_init.cli.arguments import Command
    from models_init.cli.settings import Settings
    from models_init.core.events import Observer


def run(_command: Command, settings: Settings) -> Result:
    """Plan an install."""
    return run_observed(partial(plan, settings), settings)


async def plan(settings: Settings, observer: Observer) -> Result:
    """Report the steps of an install."""
    async with open_context(settings, observer, RetryReport(observer)) as context:
        found = await Installation(settings.packs, context).plan()
        return Result(*render.plan(found, context.volume, [*context.mirrors, context.source.name]))
