"""Without an action's flag: install and activate the packs that the environment names."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from models_init.cli.licenses import license_content, record_license, require_licenses
from models_init.cli.result import Result, installed_content
from models_init.cli.retry_report import RetryReport
from models_init.cli.session import locked, open_context, run_observed
from models_init.cli.up_to_date import nothing_to_do
from models_init.install.install import Installation
from models_init.output import render

if TYPE_CHECKING:
    from models_init.cli.arguments import Command
    from models_init.cli.settings import Settings
    from models_init.core.events import Observer


def run(_command: Command, settings: Settings) -> Result:
    """Install the packs that the environment names."""
    return run_observed(partial(install, settings), settings)


async def install(settings: Settings, observer: Observer) -> Result:
    """Install and activate the packs that the environment names."""
    licenses = require_licenses(settings)
    for text in licenses.warnings:
        observer.event("license", level="warning", text=text)
    retries = RetryReport(observer)
    async with open_context(settings, observer, retries) as context, locked(context, "install", settings.lock_seconds):
        if done := nothing_to_do(settings):  # another run, which held the lock, has installed it
            return done
        if not context.volume.hard_links:
            observer.event(
                "no_hard_links",
                level="warning",
                text="this file system refuses hard links, so an upgrade copies what did not change; "
                "a local file system or NFS for MODELS_DIR saves that room",
            )
        report = await Installation(settings.packs, context).run()
        if rotated := record_license(settings, licenses):
            observer.event("license_changed", level="warning", text=rotated)
    content = installed_content(report.release) | {
        "bytes_fetched": report.bytes_fetched,
        "bytes_reused": report.bytes_reused,
        "bytes_written": report.bytes_written,
        "seconds": report.seconds,
        "retries": retries.count,
        "activated": True,
        **license_content(licenses),
    }
    return Result(content, render.installed(report, retries.count))
