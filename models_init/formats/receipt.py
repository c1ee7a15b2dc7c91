"""The receipt: a site's list of installed packs, so that the next bundle can omit their content."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import ConfigDict, FailFast, Field, StrictInt, StrictStr, TypeAdapter
from pydantic.dataclasses import dataclass as document

from models_init.core.pack_ref import DIGEST_PATTERN, PackRef
from models_init.formats.documents import flaw, load, shortened

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMA = 1

RECEIPT_LIMIT = 1 << 20
"""Maximum size of a receipt in bytes, enough for several thousand packs."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """Installed packs with the digests of their manifests. `release` is the current one, or empty.

    A receipt contains no secrets.
    """

    packs: Mapping[PackRef, str]
    release: str

    def encode(self) -> bytes:
        """Return the document. Equal volumes give equal bytes."""
        packs = [{"pack": ref.name, "version": ref.version, "manifest": self.packs[ref]} for ref in sorted(self.packs)]
        return json.dumps({"schema": SCHEMA, "release": self.release, "packs": packs}, indent=2).encode() + b"\n"


@document(config=ConfigDict(defer_build=True))
class _Pack:
    pack: StrictStr
    version: StrictStr
    manifest: Annotated[str, Field(strict=True, pattern=DIGEST_PATTERN)]


@document(config=ConfigDict(defer_build=True))
class _Document:
    """The content of the document. Unknown fields, which later versions may add, are ignored."""

    schema: StrictInt
    release: StrictStr
    packs: Annotated[tuple[_Pack, ...], FailFast()]


_DOCUMENT = TypeAdapter(_Document)


def parse(text: bytes) -> Receipt:
    """Parse a receipt. Raises `ValueError`: it is not a valid receipt of a supported schema."""
    content = load(text)
    if isinstance(content, dict) and content.get("schema", SCHEMA) != SCHEMA:
        raise ValueError(
            f"it has schema {shortened(str(content['schema']))}, and this version of models_init reads {SCHEMA}"
        )
    try:
        found = _DOCUMENT.validate_python(content)
    except ValueError as error:
        raise ValueError(flaw(error)) from error
    return Receipt({PackRef.make(pack.pack, pack.version): pack.manifest for pack in found.packs}, found.release)
