"""The release, a set of packs that is activated together, and its document `release.json`."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import ConfigDict, Field, StrictStr, TypeAdapter
from pydantic.dataclasses import dataclass as document

from models_init.core.pack_ref import DIGEST_PATTERN, PackRef
from models_init.formats.documents import flaw, load

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_ID_LENGTH = 12  # hexadecimal digits: 48 bits are enough for the few dozen releases that a volume ever has


@dataclass(frozen=True, slots=True)
class InstalledPack:
    """A pack of a release; `manifest` is the digest of the manifest that it was verified against."""

    ref: PackRef
    manifest: str


@dataclass(frozen=True, slots=True)
class Release:
    """A set of packs in order of name.

    `created` is an ISO 8601 time in UTC; `source` and `program` name the source and the program version that installed
    the packs.
    """

    packs: tuple[InstalledPack, ...]
    created: str
    source: str
    program: str

    @property
    def id(self) -> str:
        """The release's id, a hash of the packs and their manifests: the same set has the same id on every volume."""
        lines = "".join(f"{pack.ref.name} {pack.ref.version} {pack.manifest}\n" for pack in self.packs)
        return hashlib.sha256(lines.encode()).hexdigest()[:_ID_LENGTH]

    @property
    def versions(self) -> dict[str, str]:
        """The packs' versions by name."""
        return {pack.ref.name: pack.ref.version for pack in self.packs}

    def holds(self, wanted: Iterable[PackRef]) -> bool:
        """Return True if the release consists of exactly these packs."""
        return {pack.ref for pack in self.packs} == set(wanted)

    def encode(self) -> bytes:
        """Return the content of `release.json`."""
        content = {
            "schema": 1,
            "release": self.id,
            "packs": {pack.ref.name: {"version": pack.ref.version, "manifest": pack.manifest} for pack in self.packs},
            "created": self.created,
            "source": self.source,
            "program": self.program,
        }
        return json.dumps(content, indent=2).encode() + b"\n"

    def __str__(self) -> str:
        return f"{self.id} ({', '.join(str(pack.ref) for pack in self.packs)})"


def release_of(packs: Mapping[PackRef, str], created: str, source: str, program: str) -> Release:
    """Return a release of these packs; `packs` maps them to the digests of their manifests."""
    ordered = tuple(InstalledPack(ref, packs[ref]) for ref in sorted(packs))
    return Release(ordered, created, source, program)


@document(config=ConfigDict(defer_build=True))
class _RecordedPack:
    version: StrictStr
    manifest: Annotated[str, Field(strict=True, pattern=DIGEST_PATTERN)]


@document(config=ConfigDict(defer_build=True))
class _Record:
    """The content of `release.json`. Unknown fields, which later versions may add, are ignored."""

    release: StrictStr
    packs: dict[str, _RecordedPack]
    created: StrictStr
    source: StrictStr
    program: StrictStr


_RECORD = TypeAdapter(_Record)


def parse(text: bytes) -> Release:
    """Parse `release.json`. Raises `ValueError`: it is not a valid record of a release."""
    try:
        record = _RECORD.validate_python(load(text))
    except ValueError as error:
        raise ValueError(f"it is not the record of a release: {flaw(error)}") from error
    packs = {PackRef.make(name, pack.version): pack.manifest for name, pack in record.packs.items()}
    release = release_of(packs, record.created, record.source, record.program)
    if record.release != release.id:
        raise ValueError(f"the record of release {record.release} describes {release.id}")
    return release
