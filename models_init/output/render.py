"""Render results as JSON objects for programs, and as text and tables for people."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from models_init.core.errors import EXIT_OK, ManifestError
from models_init.core.units import count, human_size, human_time, one_line, table
from models_init.formats import manifest
from models_init.install.assemble import lack_of_space
from models_init.install.check_report import FAILED, WARNING
from models_init.volume.activation import Switch
from models_init.volume.retention import ROLLED_BACK
from models_init.volume.staging import staging_progress

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from models_init.core.pack_ref import PackRef
    from models_init.formats.release import Release
    from models_init.install.install import InstallReport
    from models_init.install.preflight import PreflightReport
    from models_init.install.repair import RepairResult
    from models_init.transfer.plan import PackPlan, Plan
    from models_init.volume.layout import Volume
    from models_init.volume.license_record import LicenseRecord
    from models_init.volume.prune import PrunedItem
    from models_init.volume.verify import Damage, ReleaseState

_SHOWN_DIGITS = 12  # of a SHA-256


def _known_size(size: int | None) -> str:
    return "?" if size is None else human_size(size)


def share(done: int, total: int | None) -> str:
    """Return the share of a staged pack that is stored, e.g. `36 %`, rounded down; empty if that is unknown."""
    return f"{min(100, 100 * done // total)} %" if total else ""


def _incomplete(done: int, total: int | None) -> str:
    """Describe a staged pack, e.g. `incomplete, 36 % (543 MiB)`."""
    return f"{', '.join(filter(None, ['incomplete', share(done, total)]))} ({human_size(done)})"


_REPAIRS = {"extra": "removed", "mode": "mode set"}
"""What a repair does about a kind of damage, if it does not restore an entry."""


def plan(found: Plan, volume: Volume, sources: Sequence[str]) -> tuple[dict[str, Any], str]:
    """Render a plan as an object and a table; `sources` are the mirrors and the origin, in their order."""
    *mirrors, source = sources
    free_bytes, free_inodes = volume.free()
    current, lack = volume.current(), lack_of_space(found, free_bytes, free_inodes)
    content = {
        "source": source,
        "mirrors": mirrors,
        "current": current.id if current else None,
        "activates": {pack.manifest.pack: pack.manifest.version for pack in found.packs},
        "packs": {pack.manifest.pack: _pack(pack) for pack in found.packs},
        "bytes_to_fetch": found.fetch_bytes,
        "bytes_to_reuse": found.reused_bytes,
        "bytes_to_write": found.write_bytes,
        "disk_bytes_needed": found.needed_bytes,
        "disk_bytes_free": free_bytes,
        "fits": not lack,
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
        *(f"mirror   {mirror}" for mirror in mirrors),
        f"source   {source}",
        f"volume   {volume.root}: {human_size(found.needed_bytes)} needed, {human_size(free_bytes)} free",
        f"current  {current or 'none'}",
        "",
        table(rows, ("PACK", "VERSION", "SIZE", "FETCH", "REUSE", "WRITE", "STATE")),
        "",
        f"DOES NOT FIT: {lack}" if lack else _next_steps(found, current),
    ]
    return content, "\n".join(lines)


def _next_steps(found: Plan, current: Release | None) -> str:
    """Return what an install with this plan would do."""
    packs = [pack.manifest.ref for pack in found.packs]
    if current and current.holds(packs):
        return f"nothing to do: release {current} is current"
    names = ", ".join(map(str, packs))
    if all(pack.installed for pack in found.packs):
        return f"would activate {names}: all packs are installed"
    return (
        f"would fetch {human_size(found.fetch_bytes)}, reuse {human_size(found.reused_bytes)}, "
        f"write {human_size(found.write_bytes)}, and activate {names}"
    )


def status(volume: Volume) -> tuple[dict[str, Any], str]:
    """Render the content of the volume as an object and tables."""
    current, releases, staged_releases = volume.current(), volume.releases(), Switch(volume).staged()
    active = {pack.ref for pack in current.packs} if current else set()
    free_bytes, _ = volume.free()
    packs = [(ref, _size(volume, ref), "current" if ref in active else "installed") for ref in volume.packs()]
    staged = [(ref, *staging_progress(path, ref)) for ref, path in volume.staged()]
    content = {
        "volume": str(volume.root),
        "disk_bytes_free": free_bytes,
        "current": current.id if current else None,
        "releases": [
            {
                "release": release.id,
                "packs": release.versions,
                "created": release.created,
                "source": release.source,
                "staged": release.id in staged_releases,
            }
            for release in releases
        ],
        "packs": [
            {"pack": ref.name, "version": ref.version, "bytes": size, "state": state} for ref, size, state in packs
        ]
        + [
            {"pack": ref.name, "version": ref.version, "bytes": done, "bytes_total": total, "state": "incomplete"}
            for ref, done, total in staged
        ],
    }
    lines = [
        f"volume   {volume.root}: {human_size(free_bytes)} free",
        f"current  {current or 'none'}",
    ]
    if packs or staged:
        rows = [(ref.name, ref.version, human_size(size), state) for ref, size, state in packs]
        rows += [(ref.name, ref.version, _known_size(total), _incomplete(done, total)) for ref, done, total in staged]
        lines += ["", table(rows, ("PACK", "VERSION", "SIZE", "STATE"))]
    if releases:
        lines += ["", _releases_table(releases, current, staged_releases)]
    return content, "\n".join(lines)


def _releases_table(releases: Sequence[Release], current: Release | None, staged_ids: Collection[str]) -> str:
    """Return a table of the releases; the current one has an asterisk."""
    rows = [
        (
            "*" if current and release.id == current.id else "staged" if release.id in staged_ids else "",
            release.id,
            release.created,
            ", ".join(str(pack.ref) for pack in release.packs),
            release.source,
        )
        for release in releases
    ]
    return table(rows, ("", "RELEASE", "INSTALLED", "PACKS", "FROM"))


def engine_license(record: LicenseRecord, now: str) -> tuple[dict[str, Any], str]:
    """Render the record of the engine license; `now` is the SHA-256 of the file now, or '' if unknown."""
    changed = bool(now) and now != record.sha256
    content = {"engine_license": {**asdict(record), "now": now or None, "changed": changed}}
    before = f", before that {record.previous[:_SHOWN_DIGITS]}" if record.previous else ""
    line = f"engine license  sha256 {record.sha256[:_SHOWN_DIGITS]} since {record.since}{before}"
    if changed:
        line += f"; CHANGED since the last run, now {now[:_SHOWN_DIGITS]}: restart the engine to use it"
    return content, line


def checked(report: PreflightReport) -> tuple[dict[str, Any], str]:
    """Render the report of a preflight as an object and a table that fits on a screen."""
    code, plan = report.found.exit_code, report.plan
    content = {
        "ready": code == EXIT_OK,
        "up_to_date": report.up_to_date is not None,
        "exit_code": code,
        "source": report.source,
        "volume": report.volume,
        "checks": [
            {
                "check": finding.check,
                "state": finding.state,
                "text": one_line(finding.text),
                "exit_code": finding.exit_code,
            }
            for finding in report.found.all
        ],
        "bytes_to_fetch": plan.fetch_bytes if plan else None,
        "disk_bytes_needed": plan.needed_bytes if plan else None,
        "disk_bytes_free": report.free_bytes,
        "inodes_needed": plan.disk_inodes if plan else None,
        "inodes_free": report.free_inodes,
        "token_expires": report.expires.isoformat() if report.expires else None,
        "clock_ahead_seconds": None if report.clock_ahead is None else round(report.clock_ahead, 1),
        "bytes_per_second": None if report.rate is None else round(report.rate),
        "seconds_to_fetch": None if report.seconds is None else round(report.seconds, 3),
    }
    shown = [
        (finding.check, finding.state.upper() if finding.exit_code else finding.state, one_line(finding.text))
        for finding in report.found.all
    ]
    return content, f"{table(shown, ('CHECK', 'STATE', 'FOUND'))}\n\n{_verdict(report)}"


def _verdict(report: PreflightReport) -> str:
    states = [finding.state for finding in report.found.all]
    warnings = f", {count(states.count(WARNING), 'warning')}" if WARNING in states else ""
    if code := report.found.exit_code:
        return f"NOT READY: {count(states.count(FAILED), 'failure')}{warnings}; exit code {code}"
    if report.up_to_date:
        return f"nothing to do: release {report.up_to_date} is current{warnings}"
    return f"ready to install{warnings}"


def installed(report: InstallReport, retries: int) -> str:
    """Render the result of an install as one line."""
    return f"release {report.release} is current: {_transfer(report, retries)}"


def staged(report: InstallReport, retries: int) -> str:
    """Render the result of an install without activation as one line."""
    return f"release {report.release} is staged: {_transfer(report, retries)}; run without an action to activate it"


def _transfer(report: InstallReport, retries: int) -> str:
    return (
        f"{human_size(report.bytes_fetched)} fetched{_shares(report.bytes_by_source)}, "
        f"{human_size(report.bytes_reused)} reused, {human_size(report.bytes_written)} written "
        f"in {human_time(report.seconds)}, {retries} retries"
    )


def _shares(by_source: Mapping[str, int]) -> str:
    """Describe the bytes from each source, in the order in which they are tried; empty for a single source."""
    shares = ", ".join(f"{human_size(size)} from {name}" for name, size in by_source.items())
    return f" ({shares})" if len(by_source) > 1 else ""


def state(found: ReleaseState) -> tuple[dict[str, Any], str]:
    """Render the result of a verification as an object and a table of damages."""
    content = {
        "release": found.release.id,
        "packs": found.release.versions,
        "bytes": found.size,
        "damages": _damages(found.damages),
    }
    if not found.damages:
        return content, f"release {found.release} is intact: {human_size(found.size)} verified"
    rows = [(damage.where, damage.path, damage.kind, damage.detail) for damage in found.damages]
    text = f"release {found.release} is DAMAGED: {count(len(rows), 'difference')}; run with --repair to restore it"
    return content, f"{table(rows, ('WHERE', 'PATH', 'KIND', 'DETAIL'))}\n\n{text}"


def _damages(damages: Iterable[Damage]) -> list[dict[str, str]]:
    return [asdict(damage) for damage in damages]


def repaired(done: RepairResult) -> tuple[dict[str, Any], str]:
    """Render the result of a repair as an object and one line."""
    content, _ = state(done.state)
    content |= {"damages": _damages(done.damages), "bytes_fetched": done.bytes_fetched}
    if not done.damages:
        return content, f"release {done.state.release} is intact: nothing to repair"
    rows = [(damage.where, damage.path, damage.kind, _REPAIRS.get(damage.kind, "restored")) for damage in done.damages]
    text = (
        f"release {done.state.release} is repaired: {count(len(rows), 'difference')}, "
        f"{human_size(done.bytes_fetched)} fetched"
    )
    return content, f"{table(rows, ('WHERE', 'PATH', 'KIND', 'DONE'))}\n\n{text}"


def pruned(done: Sequence[PrunedItem], *, dry_run: bool) -> tuple[dict[str, Any], str]:
    """Render the result of a prune as an object and a table."""
    freed = sum(item.freed for item in done)
    content = {
        "dry_run": dry_run,
        "bytes_freed": freed,
        "items": [
            {
                "kind": item.verdict.kind,
                "name": item.verdict.name,
                "stays": item.verdict.stays,
                "why": item.verdict.why,
                "bytes_freed": item.freed,
            }
            for item in done
        ],
    }
    kept, removed = ("keep", "remove") if dry_run else ("kept", "removed")
    rows = [
        (kept if item.verdict.stays else removed, item.verdict.kind, item.verdict.name, item.verdict.why)
        for item in done
        if item.verdict.kind != "manifest"
    ]
    lines = [table(rows, ("", "WHAT", "NAME", "WHY")), ""] if rows else []
    lines.append(f"{human_size(freed)} {'would be freed' if dry_run else 'freed'}")
    lines += [
        f"to remove {item.verdict.name} too, set the versions of the current release and prune again"
        for item in done
        if item.verdict.why == ROLLED_BACK
    ]
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
    """Return the size in bytes of an installed pack from its manifest; 0 if the manifest is damaged."""
    try:
        return manifest.parse(volume.manifest_path(ref).read_bytes(), ref).size
    except (OSError, ManifestError):
        return 0
