"""Check the signatures of manifests, or accept unsigned ones."""

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
    """Accepts or rejects a manifest before it is parsed."""

    async def check(self, source: Source, ref: PackRef, document: bytes) -> None:
        """Raise `SignatureError` if the document is not accepted as the manifest of `ref`.

        Raises the source's errors, too.
        """


class AcceptUnsigned:
    """Accepts every manifest without fetching a signature, for sites without a key."""

    async def check(self, source: Source, ref: PackRef, document: bytes) -> None:
        """Accept the document."""


@dataclass(frozen=True, slots=True)
class RequireSignature:
    """Accepts manifests that one of the keys has signed for this pack and version."""

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
