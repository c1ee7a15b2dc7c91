"""Resolve names and versions of packs to manifests, from the source or from the volume."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from models_init.core.errors import (
    DamagedError,
    HiddenError,
    ManifestError,
    ModelsInitError,
    NotFoundError,
    NotInstalledError,
    SignatureError,
)
from models_init.formats.manifest import MANIFEST_LIMIT, MANIFEST_NAME, resolved

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models_init.core.pack_ref import PackRef
    from models_init.formats.manifest import Resolved
    from models_init.install.trust import SignaturePolicy
    from models_init.sources.source import Source
    from models_init.volume.layout import Volume


_LIST_SECONDS = 10.0  # a list only adds advice to an error, so it is not worth minutes of retries


async def fetch_document(source: Source, trust: SignaturePolicy, ref: PackRef) -> bytes:
    """Return the published manifest document after checking its signature; it is not parsed yet.

    Raises `NotFoundError`, listing the available versions or packs; `SignatureError`; the source's errors.
    """
    key = f"{ref.name}/{ref.version}/{MANIFEST_NAME}"
    while True:
        try:
            document = await source.read(key, MANIFEST_LIMIT)
        except HiddenError:
            raise
        except NotFoundError as error:
            raise await _not_found_error(source, ref, error) from error
        try:
            await trust.check(source, ref, document)
        except SignatureError as error:
            cause = str(error).rpartition("; ")[0]  # without the remedy: the next server may have the right manifest
            if not source.report_wrong(key, 0, len(document), cause):
                raise
        else:
            return document


def installed(volume: Volume, ref: PackRef) -> Resolved:
    """Return the manifest of an installed pack.

    Raises `DamagedError`: it is damaged. Raises `NotInstalledError`: a prune has just removed the pack.
    """
    try:
        return resolved(volume.manifest_path(ref).read_bytes(), ref)
    except (OSError, ManifestError) as error:
        if not volume.is_installed(ref):
            raise NotInstalledError(f"{ref} was removed by another run; run again") from error
        remedy = _remedy(volume, ref)
        raise DamagedError(f"the manifest of the installed {ref} is damaged; {remedy}") from error


def _remedy(volume: Volume, ref: PackRef) -> str:
    """Return how to restore the manifest of a pack: by a release that contains it, the current one if possible."""
    users = [release.id for release in volume.recorded() if any(pack.ref == ref for pack in release.packs)]
    if volume.current_name() in users:
        return "run with --repair"
    if users:
        release = users[0]
        return f"run with --repair {release}"
    path = volume.manifest_path(ref)
    return f"no release contains the pack: remove {path}, then run again"


async def _not_found_error(source: Source, ref: PackRef, error: NotFoundError) -> NotFoundError:
    """Return an error that lists the available versions or packs if the source can list them."""
    try:
        async with asyncio.timeout(_LIST_SECONDS):
            versions = await source.names(ref.name)
            packs = [] if versions else await source.names("")
    except (ModelsInitError, TimeoutError):
        return NotFoundError(f"{ref} is not at {source.name} ({error}); check its name and version")
    if ref.version in versions:
        return NotFoundError(f"{ref} has no manifest: its publishing is not finished; run again later, or set another")
    if versions:
        return NotFoundError(f"{ref} does not exist; versions of {ref.name} are: {_list(versions)}; set one of them")
    return NotFoundError(f"there is no pack {ref.name} at {source.name}; packs are: {_list(packs)}")


def _list(names: Sequence[str], most: int = 20) -> str:
    if not names:
        return "none"
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
