"""What a bundle says about itself: its table of contents, which proves itself and stands at both ends.

A bundle is an ordinary tar. Its first member is the table, its last one a copy of it, so that a damaged byte costs at
most one of the two. The text is JSON whose first and last line have a fixed length: they hold the text's own length
and the digest of all lines but the last. So it is found from either end without trusting a tar header.
"""

from __future__ import annotations

import hashlib
import re
from operator import not_
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import ConfigDict, FailFast, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from models_init.core.errors import SourceError, UnsupportedError
from models_init.core.pack_ref import DIGEST_PATTERN
from models_init.formats.documents import FORBID_UNKNOWN, flaw, load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SCHEMA = 1

CONTENTS_NAME = "bundle.json"
COPY_NAME = "bundle.json.copy"
"""The table, and its copy at the end."""

DOCUMENT_COPIES = "copies/"
"""Where the second copies of manifests and signatures stand: they are small, and without them a pack is lost."""

SITE_FOLDER = "site/"
IMAGES_FOLDER = "images/"
"""What the site unpacks beside its compose files, and container images."""

TAR_BLOCK = 512
TAR_END = 2 * TAR_BLOCK

CONTENTS_START = TAR_BLOCK
"""Where the table's text begins: after one tar header."""

CONTENTS_LIMIT = 64 << 20
"""Bytes of a table, at most: a hundred thousand pieces of archives."""

FINGERPRINT_SIZE = 4096
"""Bytes at the beginning of a numbered part that tell it from the others."""

_STEP = 4096  # the text is filled up to a multiple: a whole number of tar blocks
_DIGIT_COUNT = 12
_HEAD = re.compile(rb'\{"length":"([0-9]{12})",\n')
_SEAL = re.compile(rb'"seal":\["([0-9]{12})","(sha256:[0-9a-f]{64})"\]\}\n')
HEAD_SIZE = len('{"length":"",\n') + _DIGIT_COUNT
SEAL_SIZE = len('"seal":["",""]}\n') + _DIGIT_COUNT + len("sha256:") + 64

UNKNOWN_DIGEST = "sha256:" + "0" * 64
"""Holds the place of a digest that is known at the end only."""

_SIZE_LIMIT = 2**53 - 1

Size = Annotated[int, Field(strict=True, ge=0, le=_SIZE_LIMIT)]
Digest = Annotated[str, Field(strict=True, pattern=DIGEST_PATTERN)]
Line = Annotated[str, Field(strict=True, max_length=1024)]


@dataclass(frozen=True, slots=True, config=FORBID_UNKNOWN)
class Member:
    """A member of the tar: its bytes begin at `offset` of the whole and have this digest.

    `key` is the object of a source that it is, or is a piece of from byte `start` on; empty for all else.
    """

    name: Line
    offset: Size
    size: Size
    digest: Digest
    key: Line = ""
    start: Size = 0

    def __post_init__(self) -> None:
        if not (self.name + self.key).isprintable():
            raise ValueError(f"{self.name!r} is no name")

    @property
    def stop(self) -> int:
        """Where the piece ends in its object."""
        return self.start + self.size


@dataclass(frozen=True, slots=True, config=FORBID_UNKNOWN)
class BundledPack:
    """A pack that the bundle is for: the digest of its manifest, and the size of its whole archive."""

    version: Line
    manifest: Digest
    archive: Line
    archive_size: Size


@dataclass(frozen=True, slots=True, config=FORBID_UNKNOWN)
class ReceiptPacks:
    """What the site holds already by its receipt, and the bundle leaves out: packs with their manifests' digests."""

    packs: dict[Line, Digest]
    release: Line = ""


@dataclass(frozen=True, slots=True, config=ConfigDict(defer_build=True))
class Contents:
    """The table. `size` is that of the whole tar; `parts` has the fingerprint of each part where it is split.

    `environment` are the variables of an install from it, `images` the references of the container images.
    """

    schema: Annotated[int, Field(strict=True, ge=SCHEMA, le=SCHEMA)]
    source: Line
    environment: dict[Line, Line]
    packs: dict[Line, BundledPack]
    size: Size
    members: Annotated[tuple[Member, ...], FailFast()]
    recipient: Line = ""
    since: ReceiptPacks | None = None
    images: dict[Line, Line] = Field(default_factory=dict, exclude_if=not_)
    part_size: Size = 0
    parts: Annotated[tuple[Line, ...], FailFast()] = ()

    def __post_init__(self) -> None:
        end = 0
        for member in self.members:
            if member.offset < end:
                raise ValueError(f"{member.name} overlaps the member before it")
            end = member.offset + member.size
        if not end + TAR_END <= self.size <= _SIZE_LIMIT:
            raise ValueError(f"members reach to {end} of {self.size} bytes")
        if len(self.parts) != (-(-self.size // self.part_size) if self.part_size else 0):
            raise ValueError(f"{self.size} bytes are not {len(self.parts)} parts of {self.part_size}")

    @property
    def end(self) -> int:
        """Where the last member ends; the copy of the table follows."""
        return self.members[-1].offset + self.members[-1].size if self.members else 0

    def part_sizes(self) -> list[int]:
        """How large each part is, or the one file."""
        step = self.part_size or self.size
        return [min(step, self.size - start) for start in range(0, self.size, step)]


def encode(contents: Contents, length: int = 0) -> bytes:
    """Write the text, filled up to `length` bytes, or to a length of its own that is a whole number of tar blocks."""
    table = _CONTENTS.dump_json(contents, exclude_defaults=True)
    body = b"".join([table.replace(b'{"name":', b'\n{"name":')[1:-1], b",\n"])
    least = HEAD_SIZE + len(body) + 1 + SEAL_SIZE
    length = length or -(-least // _STEP) * _STEP
    if least > length:
        raise ValueError(f"the table needs {least} bytes, {length} were reserved")
    digits = f"{length:0{_DIGIT_COUNT}}"
    text = f'{{"length":"{digits}",\n'.encode() + body + b" " * (length - least) + b"\n"
    return text + f'"seal":["{digits}","sha256:{hashlib.sha256(text).hexdigest()}"]}}\n'.encode()


def length_by_head(data: bytes) -> int:
    """The text's length by its first line, 0 where that is none."""
    found = _HEAD.match(data)
    return _believed(int(found[1])) if found else 0


def length_by_seal(data: bytes) -> int:
    """The text's length by its last line, 0 where that is none."""
    found = _SEAL.fullmatch(data)
    return _believed(int(found[1])) if found else 0


def decode(text: bytes) -> Contents | None:
    """Read a text whose last line proves it; None where a byte of it is wrong.

    Raises `UnsupportedError` for another schema, `SourceError` for one that is sealed and cannot be used.
    """
    seal = _SEAL.fullmatch(text[-SEAL_SIZE:])
    if not seal or int(seal[1]) != len(text) or seal[2].decode() != _digest(text[:-SEAL_SIZE]):
        return None
    try:
        content = load(text, _make_early)
        _check_schema(content)
        return _CONTENTS.validate_python(content)
    except ValueError as error:
        raise SourceError(
            f"the bundle's table of contents cannot be used: {flaw(error)}; ask for a new bundle"
        ) from error


_MEMBER, _CONTENTS = TypeAdapter(Member), TypeAdapter(Contents)


def _make_early(fields: dict[str, Any]) -> object:
    """Make each member as soon as it is read, as `manifest` does with files; what is not one is left as it is."""
    try:
        return _MEMBER.validate_python(fields) if "offset" in fields else fields
    except ValidationError:
        return fields


def _check_schema(content: Any) -> None:
    """Raise `UnsupportedError` for another schema, whatever else the text holds."""
    schema = content.get("schema")
    if type(schema) is int and schema != SCHEMA:
        raise UnsupportedError(
            f"the bundle has schema {schema}, and this version of models_init reads schema {SCHEMA}: "
            f"{'upgrade models_init' if schema > SCHEMA else 'ask the publisher for a newer bundle'}"
        )


def fingerprints(contents: Contents, bounds: Iterable[tuple[int, int]], read: Callable[[int, int], bytes]) -> list[str]:
    """What the table says of each part, given where parts begin and end; `read` takes an offset and a size.

    The first part holds the table and needs none; the copy at the end, which would have to hold its own, is left out.
    """
    if not contents.parts:
        return []
    found = []
    for start, stop in bounds:
        size = min(FINGERPRINT_SIZE, stop - start, contents.end - start) if start else 0
        found.append(_digest(read(start, size)) if size > 0 else "")
    return found


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _believed(length: int) -> int:
    return length if HEAD_SIZE + SEAL_SIZE < length <= CONTENTS_LIMIT else 0
