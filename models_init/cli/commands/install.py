"""Without an action's flag: install and activate the packs that the environment names."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from models_init.cli.licenses import license_content, record_license, require_licenses
from models_init.cli.result import Result, installed_content
from models_init.cli.retry_report import RetryReport
from models_init.cli.session import locked, open_context, run_observed
from models_init.cli.start_spread import wait_for_start
from models_init.cli.up_to_date import nothing_to_do
from models_init.install.install import Installation
from models_init.output import render

if TYPE_CHECKING:
    from models_init.cli.arguments import Command
    from models_init.cli.settings import Settings
    from models_init.core.events import Observer
    from models_init.install.context import InstallContext
    from models_init.install.install import InstallReport
    from models_init.install.license_checks import LicenseReport


def run(_command: Command, settings: Settings) -> Result:
    """Install the packs that the environment names."""
    return run_observed(partial(install, settings), settings)


async def install(settings: Settings, observer: Observer) -> Result:
    """Install and activate the packs that the environment names."""
    licenses, retries = report_licenses(settings, observer), RetryReport(observer)
    await wait_for_start(settings, observer)
    async with open_context(settings, observer, retries) as context, locked(context, "install", settings.lock_seconds):
        if done := nothing_to_do(settings):  # another run, which held the lock, has installed it
            return done
        warn_without_hard_links(context)
        report = await Installation(settings.packs, context).run()
        if rotated := record_license(settings, licenses):
            observer.event("license_changed", level="warning", text=rotated)
    content = report_content(report, retries.count) | {"activated": True} | license_content(licenses)
    return Result(content, render.installed(report, retries.count))


def report_licenses(settings: Settings, observer: Observer) -> LicenseReport:
    """Check the licenses, and report their warnings. Raises `LicenseError`."""
    licenses = require_licenses(settings)
    for text in licenses.warnings:
        observer.event("license", level="warning", text=text)
    return licenses


def warn_without_hard_links(context: InstallContext) -> None:
    """Warn about a file system on which versions cannot share files."""
    if not context.volume.hard_links:
        context.observer.event(
            "no_hard_links",
            level="warning",
            text="this file system refuses hard links, so an upgrade copies what did not change; "
            "a local file system or NFS for MODELS_DIR saves that room",
        )


def report_content(report: InstallReport, retries: int) -> dict[str, object]:
    """Return the release and the counters of an install as an object for programs."""
    return installed_content(report.release) | {
        "bytes_fetched": report.bytes_fetched,
        "bytes_by_source": report.bytes_by_source,
        "bytes_reused": report.bytes_reused,
        "bytes_written": report.bytes_written,
        "seconds": report.seconds,
        "retries": retries,
    }
