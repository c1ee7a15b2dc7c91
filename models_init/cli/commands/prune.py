"""`--prune`: remove everything that neither the current release nor a rollback needs."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from models_init.cli.result import Result
from models_init.cli.retry_report import RetryReport
from models_init.cli.session import locked, open_context, run_observed
from models_init.output import render
from models_init.volume.prune import prune as prune_volume

if TYPE_CHECKING:
    from models_init.cli.arguments import Command
    from models_init.cli.settings import Settings
    from models_init.core.events import Observer


def run(command: Command, settings: Settings) -> Result:
    """Prune the volume."""
    return run_observed(partial(prune, settings, keep=command.keep, dry_run=command.dry_run), settings)


async def prune(settings: Settings, observer: Observer, keep: int, *, dry_run: bool) -> Result:
    """Remove everything that is no longer needed, and report it; with `dry_run` only report it."""
    async with (
        open_context(settings, observer, RetryReport(observer)) as context,
        locked(context, "prune", settings.lock_seconds),
    ):
        pruned = await context.workers.run(
            lambda: prune_volume(context.volume, settings.packs or None, keep, dry_run=dry_run)
        )
    return Result(*render.pruned(pruned, dry_run=dry_run))
