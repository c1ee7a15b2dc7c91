"""Which manifests a site believes: whatever the source has, or what a trusted key has signed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from models_init.core.errors import NotFoundError
from models_init.formats import minisign
from models_init.formats.manifest import SIGNATURE_NAME

if TYPE_CHECKING:
    from models_init.core.events import Observer
    from models_init.core.pack_ref import PackRef
    from models_init.formats.minisign import PublicKey
    from models_init.sources.source import Source


class SignaturePolicy(Protocol):
    """Judges a manifest before anybody reads it."""

    async def check(self, source: Source, ref: PackRef, document: bytes) -> None:
        """Raise `SignatureError` where this is not to be believed to be the manifest of `ref`, and source's errors."""


class AcceptUnsigned:
    """No key is set: nothing is fetched, nothing is checked."""

    async def check(self, source: Source, ref: PackRef, document: bytes) -> None:
        """Believe it."""


@dataclass(frozen=True, slots=True)
class RequireSignature:
    """Believes what one of the keys has signed for this very pack and version."""

    keys: tuple[PublicKey, ...]
    observer: Observer

    async def check(self, source: Source, ref: PackRef, document: bytes) -> None:
        """See `SignaturePolicy.check`."""
        try:
            text = await source.read(f"{ref.name}/{ref.version}/{SIGNATURE_NAME}", minisign.SIGNATURE_LIMIT)
        except NotFoundError as error:
            raise minisign.unsigned(ref, source.name, self.keys) from error
        key = await asyncio.to_thread(minisign.verify, ref, document, text, self.keys)
        self.observer.event("signed", pack=ref.name, version=ref.version, key=key)
