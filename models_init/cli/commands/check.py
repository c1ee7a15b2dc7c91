"""`--check`: find out whether an install would work, and change nothing."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from models_init.cli.factory import ignored_no_proxy_entries, probe_of
from models_init.cli.result import Result
from models_init.cli.session import RetryCounter, open_context, run_observed
from models_init.core.errors import UsageError
from models_init.core.events import NullObserver, Observer
from models_init.install.preflight import Preflight
from models_init.output import render

if TYPE_CHECKING:
    from models_init.cli.arguments import Command
    from models_init.cli.settings import Settings

_CHECK_SECONDS = 5.0  # of patience with a source that is only to be tried


def run(_command: Command, settings: Settings) -> Result:
    """Check everything that an install needs."""
    return run_observed(partial(check, settings), settings)


async def check(settings: Settings, observer: Observer) -> Result:
    """Say whether an install would work, and all that would keep it from working."""
    settings = _without_bad_keys(_with_short_timeouts(settings))
    known = not any(fault.startswith(("REALTIME_", "WHISPER_")) for fault in settings.faults)
    somewhere = not any(fault.startswith("MODELS_URL=") for fault in settings.faults)
    async with open_context(settings, NullObserver(), RetryCounter(observer)) as context:
        probe = probe_of(settings, context.source) if somewhere else None
        ignored = ignored_no_proxy_entries(settings) if somewhere else ()
        report = await Preflight(settings.packs if known else (), context, probe).run(settings.faults, ignored)
    return Result(*render.checked(report), exit_code=report.found.exit_code)


def _with_short_timeouts(settings: Settings) -> Settings:
    """The same with little patience: who checks waits for the answer."""
    return settings.model_copy(
        update={
            "retry_seconds": min(settings.retry_seconds, _CHECK_SECONDS),
            "idle_seconds": min(settings.idle_seconds, 2 * _CHECK_SECONDS),
            "token_seconds": 0.0,
        }
    )


def _without_bad_keys(settings: Settings) -> Settings:
    """The same; where the file of public keys cannot be used, without it, and with a fault that says so."""
    try:
        settings.read_public_keys()
    except UsageError as error:
        return settings.model_copy(update={"public_key_file": "", "faults": (*settings.faults, *error.faults)})
    return settings
