"""Run an install: resolve, plan, fetch, publish, activate."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING

from models_init import __version__
from models_init.core.errors import ArchiveError, WrongBytesError
from models_init.formats import manifest
from models_init.formats.release import release_of
from models_init.install import assemble, resolve
from models_init.install.volume_checks import check_names
from models_init.runtime.workers import each
from models_init.transfer.plan import PackSurvey, Plan, check_compatibility, make_plan
from models_init.volume.activation import Switch
from models_init.volume.pack_places import require_places

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from models_init.core.pack_ref import PackRef
    from models_init.formats.manifest import Resolved
    from models_init.formats.release import Release
    from models_init.install.context import InstallContext
    from models_init.transfer.fetcher import Fetcher
    from models_init.transfer.plan import PackPlan

    StoreManifest = Callable[[PackRef, str, bytes], None]


@dataclass(frozen=True, slots=True)
class InstallReport:
    """The result of an install; sizes in bytes.

    `bytes_fetched` counts all received bytes of archives, including those that no pack needed.
    """

    release: Release
    bytes_fetched: int
    bytes_by_source: dict[str, int]
    bytes_reused: int
    bytes_written: int
    seconds: float


@dataclass(frozen=True)
class Installation:
    """Installs and activates the release that consists of the packs `wanted`.

    `unstored` are manifests (pack, digest, document) that are written to the volume only after the plan has succeeded.
    """

    wanted: Sequence[PackRef]
    context: InstallContext
    began: float = field(default_factory=monotonic)
    unstored: list[tuple[PackRef, str, bytes]] = field(default_factory=list)

    async def plan(self) -> Plan:
        """Plan the install without changing anything."""
        return await self._plan(_store_nothing)

    async def look_up(self, ref: PackRef) -> Resolved:
        """Return the manifest of one pack from the volume or the source, without changing anything."""
        if self.context.volume.is_installed(ref):
            return resolve.installed(self.context.volume, ref)
        return await self._resolve(ref, _store_nothing)

    async def run(self) -> InstallReport:
        """Install and activate the packs; the volume must be prepared and locked.

        Raises the error that ends the install. Everything verified until then is kept, and the next run continues from
        there.
        """
        report = await self._install(Switch.install)
        self.context.observer.event("activated", release=report.release.id, packs=_refs(report.release))
        return report

    async def stage(self) -> InstallReport:
        """Install the packs in the same way, and record their release without activating it."""
        report = await self._install(Switch.stage)
        self.context.observer.event("staged", release=report.release.id, packs=_refs(report.release))
        return report

    async def _install(self, record: Callable[[Switch, Release], None]) -> InstallReport:
        """Install the packs; `record` records their release on the volume."""
        volume, observer = self.context.volume, self.context.observer
        await self.context.workers.run(require_places, volume, self.wanted)
        plan = await self._plan(volume.keep_manifest)
        while self.unstored:
            await self.context.workers.run(volume.keep_manifest, *self.unstored.pop())
        assemble.check_space(plan, *volume.free())
        if plan.fetch_bytes:
            sources: dict[str, object] = {"source": self.context.source.name}
            if mirrors := self.context.mirrors:
                sources["mirrors"] = mirrors
            observer.event("fetching", bytes=plan.fetch_bytes, reused_bytes=plan.reused_bytes, **sources)
            for pack in plan.packs:
                if pack.fetch_bytes:
                    observer.expect(pack.fetch_bytes, str(pack.manifest.ref))
        elif new := [pack for pack in plan.packs if not pack.installed]:
            observer.event("reusing", bytes=sum(pack.reused_bytes for pack in new))
        fetcher = self.context.fetcher_for(plan)
        results = await each(lambda pack: self._install_pack(pack, fetcher), plan.packs)
        digests = {}
        for pack, result in zip(plan.packs, results, strict=True):
            if not isinstance(result, str):
                raise result
            digests[pack.manifest.ref] = result
        return await self._finish(plan, digests, fetcher, record)

    async def _plan(self, store: StoreManifest) -> Plan:
        installed = [ref for ref in self.wanted if self.context.volume.is_installed(ref)]
        known = [resolve.installed(self.context.volume, ref) for ref in installed]
        new = await each(lambda ref: self._resolve(ref, store), [ref for ref in self.wanted if ref not in installed])
        check_compatibility([pack.manifest for pack in known + new])
        return await self.make_plan([*known, *new])

    async def make_plan(self, packs: Sequence[Resolved]) -> Plan:
        """Plan the install of these packs, even if they are incompatible, without changing anything."""
        installed = {ref for ref in self.wanted if self.context.volume.is_installed(ref)}
        known = [pack for pack in packs if pack.manifest.ref in installed]
        new = [pack for pack in packs if pack.manifest.ref not in installed]
        for pack in new:
            await self.context.workers.run(check_names, self.context.volume, pack.manifest)
        plan = make_plan(
            [*(PackSurvey(pack, installed=True) for pack in known), *await assemble.survey(self.context, new)]
        )
        assemble.check_available(plan, self.context.source)
        return plan

    async def _resolve(self, ref: PackRef, store: StoreManifest) -> Resolved:
        document = await resolve.fetch_document(self.context.source, self.context.trust, ref)
        resolved = manifest.published(document, ref)
        self.context.observer.event("resolved", pack=ref.name, version=ref.version, bytes=resolved.manifest.size)
        if self.context.source.unavailable_reason(resolved.manifest.archive_key, 0, resolved.manifest.archive.size):
            self.unstored.append((ref, resolved.digest, document))  # stored once the plan is feasible
        else:
            await self.context.workers.run(store, ref, resolved.digest, document)
        if archive := self.context.source.recompressed(resolved.manifest.archive_key):
            self.context.observer.event(
                "recompressed",
                level="warning",
                pack=ref.name,
                version=ref.version,
                text="the source has this archive compressed again, so it is fetched as a whole; copy images with a "
                "tool that keeps their layers, such as skopeo or oras",
            )
            return manifest.recompressed(resolved, archive)
        return resolved

    async def _install_pack(self, pack: PackPlan, fetcher: Fetcher) -> str | WrongBytesError | ArchiveError:
        """Fetch and publish one pack; return the digest of the manifest that it was verified against.

        Returns `WrongBytesError` and `ArchiveError` instead of raising them, so that other packs are still installed.
        """
        ref, volume = pack.manifest.ref, self.context.volume
        if pack.installed:
            if pack.manifest.is_derived:  # a run may have been killed just before it removed the spool
                origin = volume.staging_path(ref, manifest.origin(pack.manifest).digest)
                await self.context.workers.run(volume.remove_staged, origin)
            return pack.digest
        try:
            found, is_whole = await assemble.assemble_pack(self.context, pack, fetcher)
        except (WrongBytesError, ArchiveError) as error:
            return error
        await self.context.workers.run(volume.publish, ref, found.digest, is_whole)
        if pack.is_opaque:
            fetcher.traffic.unpacked += found.manifest.size
            await self.context.workers.run(volume.remove_staged, volume.staging_path(ref, pack.digest))
        self.context.observer.event("published", pack=ref.name, version=ref.version, bytes=found.manifest.size)
        return found.digest

    async def _finish(
        self,
        plan: Plan,
        digests: Mapping[PackRef, str],
        fetcher: Fetcher,
        record: Callable[[Switch, Release], None],
    ) -> InstallReport:
        release = release_of(
            digests,
            created=datetime.now(UTC).isoformat(timespec="milliseconds"),
            source=self.context.source.name,
            program=f"models_init {__version__}",
        )
        await self.context.workers.run(record, Switch(self.context.volume), release)
        return InstallReport(
            release=release,
            bytes_fetched=fetcher.traffic.fetched,
            bytes_by_source=dict(self.context.bytes_by_source),
            bytes_reused=plan.known_size - fetcher.traffic.written,
            bytes_written=fetcher.traffic.written + fetcher.traffic.copied + fetcher.traffic.unpacked,
            seconds=round(monotonic() - self.began, 3),
        )


def _refs(release: Release) -> list[PackRef]:
    return [pack.ref for pack in release.packs]


def _store_nothing(_ref: PackRef, _digest: str, _document: bytes) -> None:
    """Store no manifest, because the volume must not change."""
