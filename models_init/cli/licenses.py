"""Check the licenses that the settings name, and record the engine license."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from models_init.cli.compose_overlay import languages
from models_init.core.errors import LicenseError
from models_init.install import license_checks
from models_init.volume import license_record
from models_init.volume.layout import Volume

if TYPE_CHECKING:
    from models_init.cli.settings import Settings
    from models_init.install.license_checks import LicenseFiles, LicenseReport


def license_report(settings: Settings) -> LicenseReport:
    """Check both license files for the languages of the settings."""
    lenient = settings.license_checks == "warn"
    return license_checks.inspect(license_files(settings), languages(settings.packs), lenient=lenient)


def license_files(settings: Settings) -> LicenseFiles:
    """Return the paths of the license files; `license.json` is next to `license.dat` unless it is named."""
    engine = _path(settings.engine_license)
    named = _path(settings.platform_license)
    return license_checks.LicenseFiles(named or (engine.with_name("license.json") if engine else None), engine)


def require_licenses(settings: Settings) -> LicenseReport:
    """Check both license files. Raises `LicenseError` with all failures."""
    report = license_report(settings)
    if report.failures:
        raise LicenseError(*report.failures)
    return report


def record_license(settings: Settings, report: LicenseReport) -> str:
    """Record the engine license on the volume; return a line that reports a rotation, or ''."""
    if not report.engine_sha256:
        return ""
    before = license_record.update(Volume(settings.directory), report.engine_sha256)
    if not before:
        return ""
    return f"the engine license has changed since {before.since}; restart the engine to use it"


def license_content(report: LicenseReport) -> dict[str, object]:
    """Return the part of a JSON result about the licenses; empty if there is none to check."""
    return {"licenses": report.facts()} if report.content or report.engine_sha256 or report.failures else {}


def _path(text: str) -> Path | None:
    """Return a path in its shortest form, so that messages name the file as the operator does."""
    return Path(os.path.normpath(text)) if text else None
