"""What a site says it has installed, so that the next bundle can leave it out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models_init.names import PackRef

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMA = 1

RECEIPT_LIMIT = 1 << 20
"""Bytes of a receipt, at most: several thousand packs."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """Installed packs with the digests of their manifests; `release` is the current one, or empty. No secrets."""

    packs: Mapping[PackRef, str]
    release: str

    def encode(self) -> bytes:
        """Write it: the same volume gives the same bytes."""
        packs = [{"pack": ref.name, "version": ref.version, "manifest": self.packs[ref]} for ref in sorted(self.packs)]
        return json.dumps({"schema": SCHEMA, "release": self.release, "packs": packs}, indent=2).encode() + b"\n"


def parse(document: bytes) -> Receipt:
    """Read one; raise `ValueError` for anything that we have not written."""
    content: Any = json.loads(document)
    try:
        if content["schema"] != SCHEMA:
            raise ValueError(f"it has schema {content['schema']}, and this version of models_init reads {SCHEMA}")
        packs = {PackRef.make(pack["pack"], pack["version"]): str(pack["manifest"]) for pack in content["packs"]}
        return Receipt(packs, str(content["release"]))
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"it lacks {error}, or has it wrongly") from error
