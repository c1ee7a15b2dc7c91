"""`--stage`: install the packs that the environment names, without activating them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from models_init.cli.commands.install import report_content, report_licenses, warn_without_hard_links
from models_init.cli.licenses import license_content
from models_init.cli.result import Result
from models_init.cli.retry_report import RetryReport
from models_init.cli.session import locked, open_context, run_observed
from models_init.cli.start_spread import wait_for_start
from models_init.cli.up_to_date import nothing_to_stage
from models_init.install.install import Installation
from models_init.output import render

if TYPE_CHECKING:
    from models_init.cli.arguments import Command
    from models_init.cli.settings import Settings
    from models_init.core.events import Observer


def run(_command: Command, settings: Settings) -> Result:
    """Install the packs without changing `current`."""
    return run_observed(partial(stage, settings), settings)


async def stage(settings: Settings, observer: Observer) -> Result:
    """Install the packs as a release that is not activated."""
    licenses, retries = report_licenses(settings, observer), RetryReport(observer)
    await wait_for_start(settings, observer)
    async with open_context(settings, observer, retries) as context, locked(context, "stage", settings.lock_seconds):
        if done := nothing_to_stage(settings):  # another run, which held the lock, has staged it
            return done
        warn_without_hard_links(context)
        report = await Installation(settings.packs, context).stage()
    content = report_content(report, retries.count) | {"activated": False} | license_content(licenses)
    return Result(content, render.staged(report, retries.count))
