"""The order of the steps: resolve, plan, fetch, publish, activate."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

from models_init import __version__, manifest
from models_init.errors import (
    DamagedError,
    ManifestError,
    ModelsInitError,
    NoSpaceError,
    NotFoundError,
    WrongBytesError,
    first_fault,
)
from models_init.fetch import Buffers, Fetcher
from models_init.manifest import MANIFEST_LIMIT, MANIFEST_NAME
from models_init.plan import SPARE, Facts, PackPlan, Plan, decide, portions
from models_init.release import release_of
from models_init.staging import Staging

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from concurrent.futures import Executor

    from models_init.manifest import Manifest
    from models_init.names import PackRef
    from models_init.release import Release
    from models_init.sources.source import Source
    from models_init.volume import Volume
    from models_init.watch import Watcher

    Keep = Callable[[PackRef, bytes], None]

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True, slots=True)
class Means:
    """What the work may use: worker threads, connections, and bytes of memory for buffers."""

    workers: Executor
    watcher: Watcher
    connections: int
    memory: int


@dataclass(frozen=True, slots=True)
class Report:
    """What was done; sizes in bytes. `bytes_fetched` counts all bytes of archives that came, wanted or not."""

    release: Release
    bytes_fetched: int
    bytes_reused: int
    bytes_written: int
    seconds: float
    activated: bool


@dataclass(frozen=True)
class Installation:
    """Brings `volume` to the release that consists of the packs `wanted`, with what `source` has."""

    wanted: Sequence[PackRef]
    source: Source
    volume: Volume
    means: Means
    began: float = field(default_factory=monotonic)

    async def plan(self) -> Plan:
        """Find out what is missing and what it costs; change nothing."""
        return await self._plan(lambda _ref, _document: None)

    async def run(self) -> Report:
        """Do it; the volume is prepared and locked.

        Raises the error that ends it. Whatever was verified until then is kept, and the next run goes on from there.
        """
        plan = await self._plan(self.volume.keep_manifest)
        _require_space(plan, *self.volume.free())
        fetcher = self._fetcher(plan)
        self.means.watcher.event("fetching", bytes=plan.fetch_bytes, reused=plan.reused_bytes, source=self.source.name)
        self.means.watcher.expect(plan.fetch_bytes)
        wrong = await _each(lambda pack: self._bring(pack, fetcher), plan.packs)
        for error in filter(None, wrong):
            raise error
        return await self._activate(plan, fetcher)

    async def _plan(self, keep: Keep) -> Plan:
        facts = await _each(lambda ref: self._facts(ref, keep), self.wanted)
        return decide(facts)

    async def _facts(self, ref: PackRef, keep: Keep) -> Facts:
        """What the volume says about a pack, once it is known what the pack consists of."""
        if self.volume.is_installed(ref):
            return self._installed(ref)
        document = await self._document(ref)
        content, digest = manifest.parse(document, ref), _digest(document)
        await self._in_worker(keep, ref, document)
        del document  # a manifest of 100,000 files is 28 MiB of text
        self.means.watcher.event("resolved", pack=ref.name, version=ref.version, bytes=content.size)
        return await self._survey(content, digest)

    def _installed(self, ref: PackRef) -> Facts:
        document = self.volume.manifest_path(ref).read_bytes()
        try:
            return Facts(manifest.parse(document, ref), _digest(document), installed=True)
        except ManifestError as error:
            raise DamagedError(f"the manifest of the installed {ref} is damaged; run with --repair") from error

    async def _document(self, ref: PackRef) -> bytes:
        try:
            return await self.source.read(f"{ref.name}/{ref.version}/{MANIFEST_NAME}", MANIFEST_LIMIT)
        except NotFoundError as error:
            raise await self._absence(ref, error) from error

    async def _absence(self, ref: PackRef, error: NotFoundError) -> NotFoundError:
        """Say what there is instead, if the source lets us list it."""
        try:
            versions = await self.source.names(ref.name)
            packs = [] if versions else await self.source.names("")
        except ModelsInitError:
            return NotFoundError(f"{ref} is not at {self.source.name} ({error}); check its name and version")
        if versions:
            return NotFoundError(
                f"{ref} does not exist; versions of {ref.name} are: {_list(versions)}; set one of them"
            )
        return NotFoundError(f"there is no pack {ref.name} at {self.source.name}; packs are: {_list(packs)}")

    async def _survey(self, content: Manifest, digest: str) -> Facts:
        """Hash what lies in staging: content is the only record."""
        staging = Staging(self.volume.staging_path(content.ref), content)
        if not staging.exists():
            return Facts(content, digest, installed=False)
        size, inodes = await self._in_worker(staging.allocated)
        found = await _each(lambda part: self._in_worker(staging.sound, part), portions(content.placements()))
        sound = [placement for part in found for placement in part]
        return Facts(content, digest, installed=False, sound=sound, staged_bytes=size, staged_inodes=inodes)

    def _fetcher(self, plan: Plan) -> Fetcher:
        size = plan.largest_batch
        buffers = Buffers(max(1, self.means.memory // size), size)
        connections = asyncio.Semaphore(self.means.connections)
        return Fetcher(self.source, self.means.workers, self.means.watcher, connections, buffers)

    async def _bring(self, pack: PackPlan, fetcher: Fetcher) -> WrongBytesError | None:
        """Fetch and publish one pack. Wrong bytes are returned, so that they do not keep other packs from coming."""
        if pack.installed:
            return None
        ref, staging = pack.manifest.ref, Staging(self.volume.staging_path(pack.manifest.ref), pack.manifest)
        await self._in_worker(staging.prepare, pack.missing)
        try:
            await fetcher.fetch(staging, pack.missing)
        except WrongBytesError as error:
            return error
        await self._in_worker(self.volume.publish, ref, pack.digest)
        self.means.watcher.event("published", pack=ref.name, version=ref.version, bytes=pack.manifest.size)
        return None

    async def _activate(self, plan: Plan, fetcher: Fetcher) -> Report:
        release = release_of(
            {pack.manifest.ref: pack.digest for pack in plan.packs},
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            source=self.source.name,
            program=f"models_init {__version__}",
        )
        await self._in_worker(self.volume.activate, release)
        self.means.watcher.event("activated", release=release.id, **release.versions)
        return Report(
            release=release,
            bytes_fetched=fetcher.traffic.fetched,
            bytes_reused=plan.reused_bytes,
            bytes_written=fetcher.traffic.written,
            seconds=round(monotonic() - self.began, 3),
            activated=True,
        )

    async def _in_worker(self, call: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.means.workers, call, *arguments)


async def _each(step: Callable[[T], Awaitable[U]], items: Iterable[T]) -> list[U]:
    """Take the step for all items side by side; the first error ends all and is raised alone."""

    async def one(item: T) -> U:
        return await step(item)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(item)) for item in items]
    except BaseExceptionGroup as errors:
        raise first_fault(errors) from errors
    return [task.result() for task in tasks]


def _require_space(plan: Plan, free_bytes: int, free_inodes: int) -> None:
    lacking = plan.disk_bytes + SPARE - free_bytes
    if plan.disk_bytes and lacking > 0:
        raise NoSpaceError(
            f"the volume lacks {lacking / 1e9:.2f} GB: {plan.disk_bytes / 1e9:.2f} GB are needed and "
            f"{free_bytes / 1e9:.2f} GB are free; make room or run with --prune, then run again"
        )
    if plan.disk_inodes > free_inodes:
        raise NoSpaceError(
            f"the volume lacks {plan.disk_inodes - free_inodes} inodes: {plan.disk_inodes} files and folders are to be "
            "made; make room or run with --prune, then run again"
        )


def _digest(document: bytes) -> str:
    return "sha256:" + hashlib.sha256(document).hexdigest()


def _list(names: Sequence[str], most: int = 20) -> str:
    if not names:
        return "none"
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
