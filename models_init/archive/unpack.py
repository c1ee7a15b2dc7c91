"""Download an opaque archive, unpack it while it arrives, verify it as a whole, and stage the tree."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

from models_init.archive.image.layer_reuse import InstalledLayer, find_layers
from models_init.archive.image.scan import ImageArchive, scan_image
from models_init.archive.image.tree import ChangedFileError
from models_init.archive.scan import limits_of, scan
from models_init.archive.spool import Spool, SpoolReader, SpoolWriter, spans
from models_init.archive.tar_headers import shown
from models_init.archive.tree_writer import TreeWriter
from models_init.core.digests import digest_of
from models_init.core.errors import ArchiveError, ManifestError, WrongBytesError
from models_init.core.units import human_size
from models_init.formats import manifest
from models_init.formats.manifest import MANIFEST_LIMIT, OpaqueArchive, Resolved, encode
from models_init.formats.ordinary_image import path_parts
from models_init.fs.files import disk_usage, temp_path
from models_init.fs.os_errors import volume_errors
from models_init.runtime.thread_pools import thread_pool
from models_init.runtime.workers import unwrap_group
from models_init.volume import lock
from models_init.volume.layout import manifest_path_of, spool_path_of

if TYPE_CHECKING:
    from collections.abc import Collection, Container
    from pathlib import Path

    from models_init.archive.scan import ScanResult
    from models_init.archive.spool import Part
    from models_init.formats.manifest import Manifest
    from models_init.fs.page_cache import PageCachePolicy
    from models_init.transfer.fetcher import Fetcher
    from models_init.volume.layout import Volume


class SpoolUsage(NamedTuple):
    """Data of an opaque archive that earlier runs left: stored bytes of the archive, and total disk usage.

    `installed_bytes` are the bytes of layers whose content is in installed packs.
    """

    spooled_bytes: int
    disk_bytes: int
    disk_inodes: int
    installed_bytes: int


@dataclass(frozen=True, slots=True)
class ArchiveInstall:
    """The download of one opaque archive to staging; `published` is the manifest with its size and digest."""

    volume: Volume
    pages: PageCachePolicy
    published: Resolved

    def staged(self) -> SpoolUsage:
        """Return the usage by data that earlier runs left. Blocks; call it in a worker thread."""
        spool = self._spool(self._installed_layers())
        needed = sum(part.size for part in spool.parts())
        missing = sum(part.size for part in spool.missing())
        usages = [disk_usage(path) for path in (spool.root, *self._unpublished())]
        size, inodes = (sum(figures) for figures in zip(*usages, strict=True))
        return SpoolUsage(needed - missing, size, inodes, self.published.manifest.archive.size - needed)

    async def fetch_and_unpack(self, fetcher: Fetcher) -> Resolved:
        """Create the tree in staging, and the derived manifest that identifies the pack on the volume.

        Parts stored by an earlier run are reused. If the digest of the archive is then wrong, its parts (of an image,
        the parts of the wrong layers) are fetched again, from each server of the source in turn. Nothing is moved to
        the staging path until the whole archive is verified. Raises `WrongBytesError`: the archive is wrong again.
        Raises `ArchiveError`: the archive is the published one, but not a valid pack. Raises the errors of the source
        and the volume.
        """
        workers, archive = fetcher.workers, self.published.manifest.archive
        installed = await workers.run(self._installed_layers)
        self._report_installed(fetcher, installed)
        past_caches = False
        while True:
            await workers.run(self._clean_up)
            tree = temp_path(self._root, "tree")
            try:
                result = await self._fetch_and_scan(fetcher, tree, installed)
            except ChangedFileError as error:
                changed = installed if error.layer is None else {error.layer}
                self._fetch_again(fetcher, changed)
                installed = {number: layer for number, layer in installed.items() if number not in changed}
                continue
            if result.digest == archive.digest:
                return await workers.run(self._stage_tree, tree, result)
            wrong = result.wrong or frozenset({0})
            await workers.run(self._spool(installed).remove, wrong)
            if not self._report_wrong(fetcher, wrong):
                if past_caches:
                    break
                past_caches = True
            self._fetch_again(fetcher, wrong)
        raise WrongBytesError(
            f"{self.published.manifest.ref}: the SHA-256 of {self._named(min(wrong))} is wrong, also after "
            f"fetching it again; {fetcher.source.repair_hint(self.published.manifest.archive_key, 0)}"
        )

    def _report_installed(self, fetcher: Fetcher, installed: Collection[int]) -> None:
        if installed:
            ref = self.published.manifest.ref
            size = sum(self._sections[number] for number in installed)
            fetcher.observer.event(
                "layers_reused", pack=ref.name, version=ref.version, layers=len(installed), bytes=size
            )

    def _report_wrong(self, fetcher: Fetcher, sections: Collection[int]) -> bool:
        """Report wrong sections to the source; return True if it reads them from another server next time."""
        content, ends = self.published.manifest, [*accumulate(self._sections)]
        other_server = False
        for number in sections:
            start, reason = ends[number] - self._sections[number], f"the SHA-256 of {self._named(number)} is wrong"
            other_server |= fetcher.source.report_wrong(
                content.archive_key, start, ends[number], f"it sent wrong bytes of {content.ref}: {reason}"
            )
        return other_server

    def _fetch_again(self, fetcher: Fetcher, sections: Collection[int]) -> None:
        """Report that these sections of the archive are fetched in addition to the planned bytes."""
        content, size = self.published.manifest, sum(self._sections[number] for number in sections)
        fetcher.observer.event("fetching_again", level="warning", archive=content.archive.file, bytes=size)
        fetcher.observer.expect(size, str(content.ref))

    def _named(self, section: int) -> str:
        """Return the name of the archive, or of a layer of the image, for messages."""
        content = self.published.manifest
        if not content.image:
            return f"the archive {content.archive.file}"
        return f"layer {section + 1} of {len(content.image.layers)} ({content.image.layers[section].digest})"

    @property
    def _sections(self) -> list[int]:
        content = self.published.manifest
        return [layer.size for layer in content.image.layers] if content.image else [content.archive.size]

    def _installed_layers(self) -> dict[int, InstalledLayer]:
        """Return the layers that need not be fetched, by number. Blocks; call it in a worker thread."""
        content = self.published.manifest
        return find_layers(self.volume, content.pack, content.image) if content.image else {}

    @property
    def _root(self) -> Path:
        return spool_path_of(self.volume.staging_path(self.published.manifest.ref, self.published.digest))

    def _spool(self, installed: Container[int] = ()) -> Spool:
        return Spool(self._root, self._sections, self.pages, installed)

    def _clean_up(self) -> None:
        """Create the spool; remove unfinished files of killed runs, unless a concurrent run may be using them."""
        locked = lock.is_exclusive(self.volume.root / ".lock")
        self._spool().prepare(locked=locked)
        if locked:
            for path in self._unpublished():
                self.volume.remove_staged(path)

    def _unpublished(self) -> list[Path]:
        """Return the staged trees of this archive whose run was killed before publishing."""
        ref = self.published.manifest.ref
        return [staged.path for staged in self.volume.staged() if staged.ref == ref and self._is_origin_of(staged.path)]

    def _is_origin_of(self, path: Path) -> bool:
        try:
            content = manifest.parse(manifest_path_of(path).read_bytes(), self.published.manifest.ref)
        except (OSError, ManifestError):
            return False
        return content.plain is not None and content.plain.derived_from == self.published.digest

    async def _fetch_and_scan(self, fetcher: Fetcher, tree: Path, installed: dict[int, InstalledLayer]) -> ScanResult:
        """Fetch the missing parts; at the same time, unpack the parts that are stored."""
        loop, spool, pack = asyncio.get_running_loop(), self._spool(installed), str(self.published.manifest.ref)
        missing = await fetcher.workers.run(spool.missing)
        reader = SpoolReader(spool)
        reader.mark_stored(*set(spool.parts()).difference(missing))

        def on_part(part: Part) -> None:
            reader.mark_stored(part)
            loop.call_soon_threadsafe(partial(fetcher.count, verified=part.size, pack=pack))

        thread = thread_pool(1, "unpack")  # not a worker: it waits for workers

        async def unpack(fetching: asyncio.Task[None]) -> ScanResult:
            result = await loop.run_in_executor(thread, self._unpack, reader, tree, installed)
            if result.fault:
                fetching.cancel()  # the rest cannot make it valid
            return result

        try:
            with unwrap_group():
                async with asyncio.TaskGroup() as group:
                    target = SpoolWriter(spool, self.published.manifest, on_part)
                    fetching = group.create_task(fetcher.fetch_spans(target, spans(missing)))
                    unpacking = group.create_task(unpack(fetching))
        finally:
            reader.stop()
            await loop.run_in_executor(None, thread.shutdown)
        return unpacking.result()

    def _unpack(self, reader: SpoolReader, root: Path, installed: dict[int, InstalledLayer]) -> ScanResult:
        tree = TreeWriter(root, self.pages)
        try:
            result = self._scan(reader, tree, installed)
        except BaseException:
            tree.discard()
            raise
        finally:
            reader.close()
        tree.complete()
        return result

    def _scan(self, reader: SpoolReader, tree: TreeWriter, installed: dict[int, InstalledLayer]) -> ScanResult:
        content = self.published.manifest
        declared = content.plain or OpaqueArchive()
        if content.image:
            return scan_image(reader, ImageArchive(content.archive, declared, content.image, installed), tree)
        return scan(reader, limits_of(content.archive, declared), declared, tree)

    def _stage_tree(self, tree: Path, result: ScanResult) -> Resolved:
        """Move the tree of a verified archive to its staging path and store its manifest next to it."""
        content = self.published.manifest
        if result.fault:
            self._spool().clear()
            raise _archive_error(self.published, result.fault)
        derived = result.builder.derived(content, self.published.digest, result.image)
        if self.published.original:
            return self._stage_recompressed(tree, derived, self.published.original)
        document = encode(derived)
        if len(document) > MANIFEST_LIMIT:
            self._spool().clear()
            raise _archive_error(
                self.published,
                f"the list of its files would have {human_size(len(document))}, more than {human_size(MANIFEST_LIMIT)}",
            )
        found = Resolved(derived, digest_of(document))
        self.volume.keep_manifest(content.ref, found.digest, document)
        inside = path_parts(result.image.root)[len(result.image.base()) :] if result.image else ()
        self._move(tree.joinpath(*inside), found)
        return found

    def _stage_recompressed(self, tree: Path, found: Manifest, original: Manifest) -> Resolved:
        """Move a tree whose files match the published manifest to its staging path; the manifest is stored already.

        Raises `WrongBytesError`: a file differs.
        """
        differing = _contents(found).symmetric_difference(_contents(original))
        if differing:
            self._spool().clear()
            raise WrongBytesError(
                f"{original.ref}: {shown(min(differing)[0])} differs from the pack's manifest, in an image that was "
                "compressed again; the publisher must push the image again"
            )
        result = Resolved(original, self.published.digest)
        self._move(tree, result)
        return result

    def _move(self, tree: Path, found: Resolved) -> None:
        staging = self.volume.staging_path(found.manifest.ref, found.digest)
        with volume_errors(staging):
            self.volume.remove_atomically(staging)
            os.rename(tree, staging)


def _contents(content: Manifest) -> set[tuple[str, str, bool]]:
    """Return path, digest and executable bit of all files; directories have an empty digest."""
    files = {(file.path, file.digest, file.executable) for file in content.files}
    return files | {(path, "", False) for path in content.directories}


def _archive_error(published: Resolved, why: str) -> ArchiveError:
    content = published.manifest
    if content.image:
        return ArchiveError(
            f"{content.ref}: the image cannot be used: {why}; set MODELS_IMAGE_PATH if the pack is in another "
            "directory of it, or ask the publisher for a pack that `models-pack upload` has published"
        )
    return ArchiveError(
        f"{content.ref}: the archive {content.archive.file} cannot be used: {why}; the publisher must repack "
        "it and check it with `models-pack describe`"
    )
