"""`--check`: check that an install would work, without changing anything."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from models_init.cli.factory import ignored_no_proxy_entries, mirrors_to_check, probe_of
from models_init.cli.licenses import license_content, license_report
from models_init.cli.result import Result
from models_init.cli.retry_report import RetryReport
from models_init.cli.session import open_context, run_observed
from models_init.core.errors import UsageError
from models_init.core.events import NullObserver, Observer
from models_init.install.mirror_checks import CheckedSources
from models_init.install.preflight import Preflight
from models_init.output import render

if TYPE_CHECKING:
    from models_init.cli.arguments import Command
    from models_init.cli.settings import Settings

_CHECK_SECONDS = 5.0  # longest retry time for a source that is only probed


def run(_command: Command, settings: Settings) -> Result:
    """Check all conditions for an install."""
    return run_observed(partial(check, settings), settings)


async def check(settings: Settings, observer: Observer, limit: float | None = None) -> Result:
    """Report whether an install would work, and everything that would prevent it.

    After `limit` seconds, the checks that have not ended are omitted from the report.
    """
    settings, key_faults = _without_bad_keys(_with_short_timeouts(settings))
    packs_known = not any(fault.startswith(("REALTIME_", "WHISPER_")) for fault in settings.faults)
    source_known = not any(fault.startswith("MODELS_URL=") for fault in settings.faults)
    requests = _RequestLog(observer)
    async with open_context(settings, requests, RetryReport(observer)) as context:
        probe = probe_of(settings, context.source, requests) if source_known else None
        ignored = ignored_no_proxy_entries(settings) if source_known else ()
        sources = CheckedSources(probe, mirrors_to_check(settings, requests), settings.requires_signatures)
        preflight = Preflight(settings.packs if packs_known else (), context, sources)
        licenses = license_report(settings)
        try:
            async with asyncio.timeout(limit):
                await preflight.run(settings.faults, key_faults, ignored, licenses)
        except TimeoutError:
            preflight.report.found.warn("time limit", f"the check was ended after {limit:g} s; run it alone")
        report = preflight.report
    content, text = render.checked(report)
    return Result(content | license_content(licenses), text, exit_code=report.found.exit_code)


class _RequestLog(NullObserver):
    """Passes on only the events of requests, which are logged at level debug; the report has everything else."""

    def __init__(self, inner: Observer) -> None:
        self._inner = inner

    def event(self, name: str, **facts: object) -> None:
        """See `Observer.event`."""
        if name == "request":
            self._inner.event(name, **facts)


def _with_short_timeouts(settings: Settings) -> Settings:
    """Return the settings with short timeouts, because the operator waits for the answer."""
    return settings.model_copy(
        update={
            "retry_seconds": min(settings.retry_seconds, _CHECK_SECONDS),
            "idle_seconds": min(settings.idle_seconds, 2 * _CHECK_SECONDS),
            "token_seconds": 0.0,
        }
    )


def _without_bad_keys(settings: Settings) -> tuple[Settings, tuple[str, ...]]:
    """Return the settings, without the file of public keys if that is unusable, and its errors."""
    try:
        settings.read_public_keys()
    except UsageError as error:
        return settings.model_copy(update={"public_key_file": ""}), error.faults
    return settings, ()
