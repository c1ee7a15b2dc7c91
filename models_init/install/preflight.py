"""Run all preflight checks in order. A check whose prerequisite failed is skipped; all others still run."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from models_init.core.errors import AccessError, ModelsInitError, UsageError, VolumeError
from models_init.core.units import human_rate, human_size, human_time
from models_init.install import assemble, volume_checks
from models_init.install.check_report import CheckReport
from models_init.install.install import Installation
from models_init.install.mirror_checks import check_mirrors
from models_init.install.rate_sample import DiscardingSink, sample_rate
from models_init.runtime.workers import each
from models_init.sources.azure.sas import GET_A_TOKEN
from models_init.transfer.plan import check_compatibility
from models_init.volume.activation import Switch
from models_init.volume.pack_places import require_places

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models_init.core.pack_ref import PackRef
    from models_init.formats.manifest import Resolved
    from models_init.formats.release import Release
    from models_init.install.context import InstallContext
    from models_init.install.license_checks import LicenseReport
    from models_init.install.mirror_checks import CheckedSources
    from models_init.sources.probe import Credential, ProbeResult
    from models_init.transfer.plan import Plan

_SKEW_SECONDS = 120.0
"""Tolerated difference of the clocks: the service tolerates about as much before a token's start time."""

_SOON = timedelta(days=1)


@dataclass(slots=True)
class PreflightReport:
    """The findings and the known figures behind them; sizes in bytes, times in seconds.

    `up_to_date` is the current release if a run would have nothing to do.
    """

    source: str
    volume: str
    found: CheckReport = field(default_factory=CheckReport)
    free_bytes: int | None = None
    free_inodes: int | None = None
    clock_ahead: float | None = None
    expires: datetime | None = None
    plan: Plan | None = None
    rate: float | None = None
    up_to_date: Release | None = None

    @property
    def seconds(self) -> float | None:
        """Return the estimated time of the fetch, or None if unknown."""
        if self.plan and not self.plan.fetch_bytes:
            return 0.0
        return self.plan.fetch_bytes / self.rate if self.plan and self.rate else None


class Preflight:
    """Checks the conditions for an install of the packs `wanted` from these sources."""

    def __init__(self, wanted: Sequence[PackRef], context: InstallContext, sources: CheckedSources) -> None:
        self.report = PreflightReport(context.source.name, str(context.volume.root))
        self._found = self.report.found
        self._wanted = wanted
        self._context = context
        self._sources = sources
        self._probe = sources.probe
        self._installation = Installation(wanted, context)
        self._credential: Credential | None = None
        self._packs: list[Resolved] = []

    async def run(
        self,
        faults: Sequence[str],
        key_faults: Sequence[str],
        no_proxy_ignored: Sequence[str],
        licenses: LicenseReport,
    ) -> PreflightReport:
        """Run all checks, even if some fail, without changing anything.

        `faults` are the errors of the environment, `key_faults` those of the file with public keys; `no_proxy_ignored`
        are the entries of NO_PROXY that cannot match.
        """
        self._check_environment(faults)
        licenses.add_to(self._found)
        await self._context.workers.run(self._check_installed, faults)
        if key_faults:
            self._found.fail("keys", UsageError(*key_faults))
        await self._context.workers.run(volume_checks.inspect, self._context.volume, self._found)
        result = await self._check_source()
        if no_proxy_ignored:
            self._found.warn(
                "proxy", f"entries of NO_PROXY that cannot match any server: {', '.join(no_proxy_ignored)}"
            )
        self._check_clock(result)
        self._check_token()
        await self._check_packs()
        await self._check_mirrors()
        self._check_set()
        await self._check_plan()
        self._check_space()
        await self._check_rate()
        self._check_time()
        self._check_expiry()
        return self.report

    def _check_environment(self, faults: Sequence[str]) -> None:
        if faults:
            self._found.fail("environment", UsageError(*faults))
        else:
            self._found.ok("environment", f"asks for {', '.join(map(str, self._wanted))}")

    def _check_installed(self, faults: Sequence[str]) -> None:
        """Determine the checks that a run does not need because the packs are already installed."""
        with suppress(VolumeError):
            volume = self._context.volume
            current = volume.current()
            if not faults and current and (current.holds(self._wanted) or Switch(volume).rolled_back(self._wanted)):
                self.report.up_to_date = current
                self._found.not_needed = _ALL_BUT_ENVIRONMENT
            elif self._wanted and all(map(volume.is_installed, self._wanted)):
                self._found.not_needed = _FOR_FETCHING

    async def _check_source(self) -> ProbeResult | None:
        if not self._probe:
            self._found.skip("source", "MODELS_URL is not valid")
            return None
        result = None
        with self._found.guarding("source"):
            result = await self._probe.ping()
            self._found.ok("source", ", ".join(filter(None, [f"reached {result.where}", result.way])))
        return result

    def _check_clock(self, result: ProbeResult | None) -> None:
        if not result or not result.time:
            self._found.skip("clock", "the source does not send its time" if result else "the source was not reached")
            return
        seconds = (datetime.now(UTC) - result.time).total_seconds()
        self.report.clock_ahead = seconds
        difference = f"{human_time(abs(seconds))} {'ahead of' if seconds > 0 else 'behind'} the service's clock"
        if abs(seconds) > _SKEW_SECONDS:
            self._found.warn("clock", f"this machine's clock is {difference}; set it")
        else:
            self._found.ok("clock", difference)

    def _check_token(self) -> None:
        if not self._probe:
            self._found.skip("token", "MODELS_URL is not valid")
            return
        with self._found.guarding("token"):
            token = self._credential = self._probe.credential()
            if not token:
                self._found.ok("token", "not needed")
                return
            self.report.expires = token.expires
            if flaw := token.flaw or token.time_flaw(self._now()):
                raise AccessError(f"the token {flaw}; {GET_A_TOKEN}")
            self._found.ok("token", f"{token.scope}; {_life(token.expires, self._now())}")

    def _now(self) -> datetime:
        """Return the service's time, or this machine's if that is unknown."""
        return datetime.now(UTC) - timedelta(seconds=self.report.clock_ahead or 0.0)

    async def _check_packs(self) -> None:
        if not self._wanted:
            self._found.skip("packs", "the environment does not name them")
        outcomes = await each(self._look_up, self._wanted)
        denied = [outcome for outcome in outcomes if isinstance(outcome, AccessError)]
        if denied and self._credential:
            self._found.fail("token", denied[0])
        for ref, outcome in zip(self._wanted, outcomes, strict=True):
            self._report_pack(f"pack {ref.name}", ref, outcome)

    async def _look_up(self, ref: PackRef) -> Resolved | ModelsInitError | str:
        """Return the pack's manifest, or the error, or the reason why the check is skipped."""
        try:
            if not self._context.volume.is_installed(ref):
                for check in () if self._sources.may_replace_origin else ("source", "token"):
                    if not self._probe or self._found.failed(check):
                        return f"the check of the {check} failed"
            resolved = await self._installation.look_up(ref)
            await self._context.workers.run(require_places, self._context.volume, [ref])
            await self._fetch_last_byte(resolved)
        except ModelsInitError as error:
            return error
        return resolved

    async def _fetch_last_byte(self, pack: Resolved) -> None:
        """Fetch the last byte of the archive to check that the archive exists in its full size."""
        content, source = pack.manifest, self._context.source
        key, size = content.archive_key, content.archive.size
        if (
            size
            and not self._context.volume.is_installed(content.ref)
            and not source.unavailable_reason(key, size - 1, size)
        ):
            await source.get_range(key, size - 1, size, DiscardingSink())

    def _report_pack(self, check: str, ref: PackRef, outcome: Resolved | ModelsInitError | str) -> None:
        match outcome:
            case AccessError() if self._credential:
                self._found.skip(check, "the token was refused")
            case ModelsInitError():
                self._found.fail(check, outcome)
            case str():
                self._found.skip(check, outcome)
            case _:
                self._packs.append(outcome)
                where = "installed" if self._context.volume.is_installed(ref) else "published"
                self._found.ok(check, f"{ref.version}, {human_size(outcome.manifest.size)}, {where}")

    async def _check_mirrors(self) -> None:
        """Check the mirrors. Failures of the origin are warnings if all packs were found without it."""
        to_fetch = [pack for pack in self._packs if not self._context.volume.is_installed(pack.manifest.ref)]
        await check_mirrors(self._sources.mirrors, to_fetch, self._found)
        for check in _FOR_FETCHING if self._sources.may_replace_origin and self._all_known else ():
            self._found.downgrade(check, "not needed, because the mirrors have all packs")

    @property
    def _all_known(self) -> bool:
        return bool(self._wanted) and len(self._packs) == len(self._wanted)

    def _check_set(self) -> None:
        if not self._all_known:
            self._found.skip("set", _NOT_ALL)
            return
        with self._found.guarding("set"):
            check_compatibility([pack.manifest for pack in self._packs])
            self._found.ok("set", "the versions are compatible")

    async def _check_plan(self) -> None:
        if not self._all_known:
            self._found.skip("plan", _NOT_ALL)
            return
        with self._found.guarding("plan"):
            plan = self.report.plan = await self._installation.make_plan(self._packs)
            self._found.ok(
                "plan",
                f"{human_size(plan.fetch_bytes)} to fetch, {human_size(plan.reused_bytes)} to reuse, "
                f"{human_size(plan.write_bytes)} to write",
            )

    def _check_space(self) -> None:
        report = self.report
        with self._found.guarding("space"):
            free_bytes, free_inodes = report.free_bytes, report.free_inodes = self._context.volume.free()
            inodes = f" and {free_inodes} inodes" if free_inodes < 1 << 63 else ""
            free = f"{human_size(free_bytes)}{inodes} free"
            if not report.plan:
                self._found.skip("space", f"the needed space is not known; {free}")
                return
            assemble.check_space(report.plan, free_bytes, free_inodes)
            needed = f"{human_size(report.plan.needed_bytes)} and {report.plan.disk_inodes} inodes needed"
            self._found.ok("space", f"{needed}, {free}")

    async def _check_rate(self) -> None:
        plan = self.report.plan
        if not plan or not plan.fetch_bytes:
            self._found.skip("rate", _NOTHING_TO_FETCH if plan else "the bytes to fetch are not known")
            return
        with self._found.guarding("rate"):
            largest = max(plan.packs, key=lambda pack: pack.fetch_bytes)
            count, seconds = await sample_rate(self._context.source, largest)
            if count:
                self.report.rate = count / seconds
                self._found.ok("rate", f"about {human_rate(self.report.rate)}, measured with {human_size(count)}")
            else:
                self._found.warn("rate", f"no data arrived within {human_time(seconds)}; check the network")

    def _check_time(self) -> None:
        plan, seconds = self.report.plan, self.report.seconds
        if plan and not plan.fetch_bytes:
            self._found.skip("time", _NOTHING_TO_FETCH)
        elif seconds is None:
            self._found.skip("time", "the rate is not known")
        else:
            self._found.ok("time", f"about {human_time(seconds)} for the download at that rate")

    def _check_expiry(self) -> None:
        """Warn if the token expires before the end of the install, or within a day."""
        token, now = self._credential, self._now()
        if not token or not token.expires or self._found.failed("token"):
            return
        end = now + timedelta(seconds=self.report.seconds or 0.0)
        if token.expires < end:
            advice = f"the install would end later, at about {_shown(end)}; get a token that expires later"
        elif token.expires < now + _SOON:
            advice = "get a new token for later installs"
        else:
            return
        self._found.warn("token", f"{token.scope}; {_life(token.expires, now)}: {advice}")


_NOT_ALL = "not all packs are known"
_NOTHING_TO_FETCH = "nothing to fetch"
_FOR_FETCHING = frozenset({"source", "token"})
_ALL_BUT_ENVIRONMENT = _FOR_FETCHING | {
    "keys",
    "volume",
    "links",
    "modes",
    "lock",
    "pack",
    "set",
    "plan",
    "space",
    "rate",
}


def _life(expires: datetime | None, now: datetime) -> str:
    if not expires:
        return "without an expiry date"
    return f"expires {_shown(expires)}, in {human_time((expires - now).total_seconds())}"


def _shown(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
