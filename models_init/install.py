"""The order of the steps: resolve, plan, fetch, publish, activate."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING

from models_init import __version__, manifest, resolve, stage
from models_init.errors import WrongBytesError
from models_init.plan import Facts, Plan, decide, require_fit
from models_init.release import release_of
from models_init.switch import Switch
from models_init.workers import each

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from models_init.fetch import Fetcher
    from models_init.manifest import Resolved
    from models_init.names import PackRef
    from models_init.plan import PackPlan
    from models_init.release import Release
    from models_init.stage import Means

    Keep = Callable[[PackRef, str, bytes], None]


@dataclass(frozen=True, slots=True)
class Report:
    """What was done; sizes in bytes. `bytes_fetched` counts all bytes of archives that came, wanted or not."""

    release: Release
    bytes_fetched: int
    bytes_reused: int
    bytes_written: int
    seconds: float


@dataclass(frozen=True)
class Installation:
    """Brings a volume to the release that consists of the packs `wanted`."""

    wanted: Sequence[PackRef]
    means: Means
    began: float = field(default_factory=monotonic)

    async def plan(self) -> Plan:
        """Find out what is missing and what it costs; change nothing."""
        return await self._plan(lambda _ref, _digest, _document: None)

    async def run(self) -> Report:
        """Do it; the volume is prepared and locked.

        Raises the error that ends it. Whatever was verified until then is kept, and the next run goes on from there.
        """
        volume, watcher = self.means.volume, self.means.watcher
        plan = await self._plan(volume.keep_manifest)
        stage.require_space(plan, *volume.free())
        watcher.event("fetching", bytes=plan.fetch_bytes, reused_bytes=plan.reused_bytes, source=self.means.source.name)
        watcher.expect(plan.fetch_bytes)
        fetcher = self.means.fetcher(plan)
        wrong = await each(lambda pack: self._bring(pack, fetcher), plan.packs)
        for error in filter(None, wrong):
            raise error
        return await self._activate(plan, fetcher)

    async def _plan(self, keep: Keep) -> Plan:
        here = [ref for ref in self.wanted if self.means.volume.is_installed(ref)]
        known = [resolve.installed(self.means.volume, ref) for ref in here]
        new = await each(lambda ref: self._resolve(ref, keep), [ref for ref in self.wanted if ref not in here])
        require_fit([pack.manifest for pack in known + new])
        return decide([*(Facts(pack, installed=True) for pack in known), *await stage.survey(self.means, new)])

    async def _resolve(self, ref: PackRef, keep: Keep) -> Resolved:
        document = await resolve.fetch_document(self.means.source, ref)
        resolved = manifest.resolved(document, ref)
        self.means.watcher.event("resolved", pack=ref.name, version=ref.version, bytes=resolved.manifest.size)
        await self.means.workers.run(keep, ref, resolved.digest, document)
        return resolved

    async def _bring(self, pack: PackPlan, fetcher: Fetcher) -> WrongBytesError | None:
        """Fetch and publish one pack. Wrong bytes are returned, so that they do not keep other packs from coming."""
        if pack.installed:
            return None
        ref = pack.manifest.ref
        try:
            await stage.bring(self.means, pack, fetcher)
        except WrongBytesError as error:
            return error
        await self.means.workers.run(self.means.volume.publish, ref, pack.digest)
        self.means.watcher.event("published", pack=ref.name, version=ref.version, bytes=pack.manifest.size)
        return None

    async def _activate(self, plan: Plan, fetcher: Fetcher) -> Report:
        release = release_of(
            {pack.manifest.ref: pack.digest for pack in plan.packs},
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            source=self.means.source.name,
            program=f"models_init {__version__}",
        )
        await self.means.workers.run(Switch(self.means.volume).install, release)
        self.means.watcher.event("activated", release=release.id, packs=[pack.ref for pack in release.packs])
        return Report(
            release=release,
            bytes_fetched=fetcher.traffic.fetched,
            bytes_reused=plan.size - fetcher.traffic.written,
            bytes_written=fetcher.traffic.written + fetcher.traffic.copied,
            seconds=round(monotonic() - self.began, 3),
        )
