"""What a plan and a volume look like, to programs and to people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from models_init import manifest
from models_init.errors import ManifestError
from models_init.figures import human_size, table
from models_init.plan import SPARE

if TYPE_CHECKING:
    from models_init.names import PackRef
    from models_init.plan import PackPlan, Plan
    from models_init.volume import Volume


def plan(found: Plan, volume: Volume, source: str) -> tuple[dict[str, Any], str]:
    """What an install would do: an object, and a table."""
    free_bytes, _ = volume.free()
    current = volume.current()
    content = {
        "source": source,
        "current": current.id if current else None,
        "activates": {pack.manifest.pack: pack.manifest.version for pack in found.packs},
        "packs": {pack.manifest.pack: _pack(pack) for pack in found.packs},
        "bytes_to_fetch": found.fetch_bytes,
        "bytes_to_reuse": found.reused_bytes,
        "bytes_to_write": found.write_bytes,
        "disk_bytes_needed": found.disk_bytes,
        "disk_bytes_free": free_bytes,
        "fits": not found.disk_bytes or found.disk_bytes + SPARE <= free_bytes,
    }
    rows = [
        (
            pack.manifest.pack,
            pack.manifest.version,
            human_size(pack.manifest.size),
            human_size(pack.fetch_bytes),
            human_size(pack.reused_bytes),
            human_size(pack.write_bytes),
            "installed" if pack.installed else "to install",
        )
        for pack in found.packs
    ]
    lines = [
        f"source   {source}",
        f"volume   {volume.root}: {human_size(found.disk_bytes)} needed, {human_size(free_bytes)} free"
        + ("" if content["fits"] else ": TOO LITTLE"),
        f"current  {current or 'none'}",
        "",
        table(rows, ("PACK", "VERSION", "SIZE", "FETCH", "REUSE", "WRITE", "STATE")),
        "",
        f"would fetch {human_size(found.fetch_bytes)}, reuse {human_size(found.reused_bytes)}, "
        f"write {human_size(found.write_bytes)}, and activate "
        + ", ".join(str(pack.manifest.ref) for pack in found.packs),
    ]
    return content, "\n".join(lines)


def status(volume: Volume) -> tuple[dict[str, Any], str]:
    """What is on the volume: an object, and tables."""
    current, releases = volume.current(), volume.releases()
    active = {pack.ref for pack in current.packs} if current else set()
    free_bytes, _ = volume.free()
    packs = [(ref, _size(volume, ref), "current" if ref in active else "installed") for ref in volume.packs()]
    staged = [(ref, volume.staged_bytes(ref), "incomplete") for ref in volume.staged()]
    content = {
        "volume": str(volume.root),
        "disk_bytes_free": free_bytes,
        "current": current.id if current else None,
        "releases": [
            {"release": release.id, "packs": release.versions, "created": release.created, "source": release.source}
            for release in releases
        ],
        "packs": [
            {"pack": ref.name, "version": ref.version, "bytes": size, "state": state}
            for ref, size, state in packs + staged
        ],
    }
    lines = [
        f"volume   {volume.root}: {human_size(free_bytes)} free",
        f"current  {current or 'none'}",
    ]
    if packs or staged:
        rows = [(ref.name, ref.version, human_size(size), state) for ref, size, state in packs + staged]
        lines += ["", table(rows, ("PACK", "VERSION", "SIZE", "STATE"))]
    if releases:
        marks = [("*" if current and release.id == current.id else "", release) for release in releases]
        shown = [
            (mark, release.id, release.created, ", ".join(str(pack.ref) for pack in release.packs), release.source)
            for mark, release in marks
        ]
        lines += ["", table(shown, ("", "RELEASE", "INSTALLED", "PACKS", "FROM"))]
    return content, "\n".join(lines)


def _pack(pack: PackPlan) -> dict[str, Any]:
    return {
        "version": pack.manifest.version,
        "installed": pack.installed,
        "bytes": pack.manifest.size,
        "bytes_to_fetch": pack.fetch_bytes,
        "bytes_to_reuse": pack.reused_bytes,
        "bytes_to_write": pack.write_bytes,
    }


def _size(volume: Volume, ref: PackRef) -> int:
    """Bytes of an installed pack, by its manifest; 0 where that is damaged."""
    try:
        return manifest.parse(volume.manifest_path(ref).read_bytes(), ref).size
    except (OSError, ManifestError):
        return 0
