"""Describe the site: settings, volume, releases, manifests, licenses. Nothing is changed."""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models_init.cli.licenses import license_report
from models_init.cli.settings import SETTINGS
from models_init.volume import license_record
from models_init.volume.activation import Switch
from models_init.volume.layout import Volume
from models_init.volume.lock import Lock

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from models_init.cli.settings import Settings

_MOST_ENTRIES = 500  # largest number of entries to list for a directory


def effective_settings(settings: Settings, values: Mapping[str, str]) -> dict[str, object]:
    """Return each setting with its value and whether that is the default. Secrets are shown as their length only."""
    return {
        "settings": {
            setting.variable: {
                "value": _shown(setting.flag, values.get(setting.variable, "").strip()) or setting.default,
                "is_default": not values.get(setting.variable, "").strip(),
            }
            for setting in SETTINGS
        },
        "packs": [str(pack) for pack in settings.packs],
        "faults": list(settings.faults),
    }


def _shown(flag: str | None, value: str) -> str:
    """Return a value; that of a setting without a flag is secret."""
    return value if flag or not value else f"(set, {len(value)} characters)"


def volume(root: Path) -> dict[str, object]:
    """Describe the volume's file system and the entries of its directories."""
    existing = next(path for path in (root, *root.absolute().parents) if path.exists())
    status = os.statvfs(existing)
    lock = Lock(root / ".lock")
    return {
        "path": str(root),
        "exists": root.exists(),
        "mount": _mount(existing.resolve()),
        "read_only": bool(status.f_flag & os.ST_RDONLY),
        "bytes": {"all": status.f_blocks * status.f_frsize, "free": status.f_bavail * status.f_frsize},
        "inodes": {"all": status.f_files, "free": status.f_favail},
        "lock": {"is_held": lock.is_held(), "holder": lock.holder()} if (root / ".lock").exists() else None,
        "entries": {name: list(_entries(root / name)) for name in ("", "releases", "staging", "logs")},
        "staged": [entry for path in sorted(root.glob("staging/*/")) for entry in _entries(path)],
    }


def _mount(path: Path) -> str | None:
    """Return the line of the mount that contains the path: the one with the longest mount point, the last if equal."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [(line.split()[4].replace("\\040", " "), line) for line in lines]
    found = [(len(point), number, line) for number, (point, line) in enumerate(points) if path.is_relative_to(point)]
    return max(found)[2] if found else None


def _entries(directory: Path) -> Iterator[dict[str, object]]:
    try:
        names = sorted(os.listdir(directory))
    except OSError as error:
        if not isinstance(error, FileNotFoundError):
            yield {"name": str(directory), "error": error.strerror}
        return
    for name in names[:_MOST_ENTRIES]:
        with suppress(OSError):  # removed meanwhile
            yield _entry(directory / name)


def _entry(path: Path) -> dict[str, object]:
    status = path.lstat()
    entry = {
        "name": str(path),
        "mode": stat.filemode(status.st_mode),
        "owner": f"{status.st_uid}:{status.st_gid}",
        "bytes": status.st_size,
        "changed": datetime.fromtimestamp(status.st_mtime, UTC).isoformat(timespec="seconds"),
    }
    return entry | ({"target": os.readlink(path)} if path.is_symlink() else {})


def releases(root: Path) -> dict[str, object]:
    """Return the records of all releases, the history and the rollback record."""
    found = Volume(root)
    left = Switch(found).rolled_back_from()
    return {
        "current": found.current_name() or None,
        "rolled_back_from": left.id if left else None,
        "releases": [_release(found, name) for name in found.release_names()],
        "history": _lines(root / "releases/.history"),
    }


def _release(found: Volume, name: str) -> dict[str, Any]:
    record = found.record(name)
    if not record:
        return {"release": name, "record": None}
    complete = found.release(name) is not None
    return {"release": name, "complete": complete, "record": asdict(record)}


def _lines(path: Path) -> list[str]:
    with suppress(OSError):
        return path.read_text(errors="replace").splitlines()[-100:]
    return []


def manifests(root: Path) -> dict[str, object]:
    """Return size and SHA-256 of each manifest on the volume."""
    found: dict[str, object] = {}
    for path in [*sorted(root.glob("manifests/*/*.json")), *sorted(root.glob("staging/*/*.json"))]:
        content = path.read_bytes()
        found[str(path.relative_to(root))] = {
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
    return found


def licenses(settings: Settings) -> dict[str, object]:
    """Return what is known about the licenses: licensee, hash, findings. Never their content."""
    report = license_report(settings)
    record = license_record.read(Volume(settings.directory))
    notes = {finding.check: finding.note for finding in report.findings}
    return report.facts() | {"notes": notes, "recorded": asdict(record) if record else None}
