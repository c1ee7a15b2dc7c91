"""Record which engine license was used, so that a rotation can be reported: its SHA-256, never its content.

The record `releases/.engine-license.json` is advisory only.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from models_init.core.errors import VolumeError

if TYPE_CHECKING:
    from pathlib import Path

    from models_init.volume.layout import Volume


@dataclass(frozen=True, slots=True)
class LicenseRecord:
    """The license of the last run.

    `since` is an ISO 8601 time in UTC; `previous` is the SHA-256 of the previous license, or empty.
    """

    sha256: str
    since: str
    previous: str = ""


def read(volume: Volume) -> LicenseRecord | None:
    """Return the record, or None if there is no readable one."""
    try:
        content = json.loads(_path(volume).read_bytes())
        return LicenseRecord(*(str(content[name]) for name in ("sha256", "since", "previous")))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def update(volume: Volume, sha256: str) -> LicenseRecord | None:
    """Record the license if it differs from the recorded one; return the record that it replaces, if any.

    If the volume cannot be written, the old record stays: a run must not fail because of the record.
    """
    before = read(volume)
    if before and before.sha256 == sha256:
        return None
    since = datetime.now(UTC).isoformat(timespec="seconds")
    record = LicenseRecord(sha256, since, before.sha256 if before else "")
    with suppress(OSError, VolumeError):
        volume.replace(_path(volume), json.dumps(asdict(record)).encode() + b"\n")
    return before


def _path(volume: Volume) -> Path:
    return volume.root / "releases" / ".engine-license.json"
