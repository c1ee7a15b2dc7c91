"""Parse and encode a bundle's table of contents.

A bundle is an ordinary tar file. Its first member is the table, its last member a copy, so that a damaged byte affects
at most one of the two. The table is JSON text whose first and last line have a fixed length. Both contain the length of
the text; the last line also contains the digest of all other lines. Therefore a reader can find and verify the text
from either end without trusting a tar header.
"""

from __future__ import annotations

import re
from operator import not_
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import ConfigDict, FailFast, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from models_init.core.digests import digest_of
from models_init.core.errors import SourceError, UnsupportedError
from models_init.core.pack_ref import DIGEST_PATTERN
from models_init.formats.documents import FORBID_UNKNOWN, flaw, load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SCHEMA = 1

CONTENTS_NAME = "bundle.json"
COPY_NAME = "bundle.json.copy"
"""The member names of the table and of its copy at the end."""

DOCUMENT_COPIES = "copies/"
"""The directory with second copies of manifests and signatures. They are small, and without them a pack is unusable."""

SITE_DIRECTORY = "site/"
IMAGES_DIRECTORY = "images/"
"""The directories for files that the site unpacks next to its compose files, and for container images."""

TAR_BLOCK = 512
TAR_END = 2 * TAR_BLOCK

CONTENTS_START = TAR_BLOCK
"""Offset of the table's text in bytes: after one tar header."""

CONTENTS_LIMIT = 64 << 20
"""Maximum size of a table in bytes, enough for a hundred thousand pieces of archives."""

FINGERPRINT_SIZE = 4096
"""Bytes at the beginning of a numbered part that identify it."""

_STEP = 4096  # bytes; the text is padded to a multiple, which is a whole number of tar blocks
_DIGIT_COUNT = 12
_HEAD = re.compile(rb'\{"length":"([0-9]{12})",\n')
_SEAL = re.compile(rb'"seal":\["([0-9]{12})","(sha256:[0-9a-f]{64})"\]\}\n')
HEAD_SIZE = len('{"length":"",\n') + _DIGIT_COUNT
SEAL_SIZE = len('"seal":["",""]}\n') + _DIGIT_COUNT + len("sha256:") + 64

UNKNOWN_DIGEST = "sha256:" + "0" * 64
"""Placeholder for a digest that is known only when everything else has been written."""

_SIZE_LIMIT = 2**53 - 1

Size = Annotated[int, Field(strict=True, ge=0, le=_SIZE_LIMIT)]
Digest = Annotated[str, Field(strict=True, pattern=DIGEST_PATTERN)]
Line = Annotated[str, Field(strict=True, max_length=1024)]


@dataclass(frozen=True, slots=True, config=FORBID_UNKNOWN)
class Member:
    """A member of the tar file; `offset` is the offset of its content in the whole bundle, in bytes.

    If the member is an object of a source, or a piece of one, `key` is the object's key and `start` the offset of the
    piece in the object. Otherwise `key` is empty.
    """

    name: Line
    offset: Size
    size: Size
    digest: Digest
    key: Line = ""
    start: Size = 0

    def __post_init__(self) -> None:
        if not (self.name + self.key).isprintable():
            raise ValueError(f"{self.name!r} is not a valid name")

    @property
    def stop(self) -> int:
        """Offset in the object at which the piece ends (exclusive)."""
        return self.start + self.size


@dataclass(frozen=True, slots=True, config=FORBID_UNKNOWN)
class BundledPack:
    """A pack that the bundle installs: its manifest's digest, and the name and size of its whole archive."""

    version: Line
    manifest: Digest
    archive: Line
    archive_size: Size


@dataclass(frozen=True, slots=True, config=FORBID_UNKNOWN)
class ReceiptPacks:
    """Packs that the site has installed according to its receipt, with manifest digests; the bundle omits them."""

    packs: dict[Line, Digest]
    release: Line = ""


@dataclass(frozen=True, slots=True, config=ConfigDict(defer_build=True))
class Contents:
    """The table of contents.

    `size` is the size of the whole tar file. If the bundle is split, `part_size` is the size of each part but the last,
    and `parts` lists the parts' fingerprints. `environment` contains the variables for an install from the bundle, and
    `images` the references of its container images.
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
        """Offset at which the last member ends; the copy of the table follows."""
        return self.members[-1].offset + self.members[-1].size if self.members else 0

    def part_sizes(self) -> list[int]:
        """Return the size of each part, or that of the single file."""
        step = self.part_size or self.size
        return [min(step, self.size - start) for start in range(0, self.size, step)]


def encode(contents: Contents, length: int = 0) -> bytes:
    """Return the text, padded to `length` bytes, or by default to a whole number of tar blocks.

    Raises `ValueError`: the text is longer than `length`.
    """
    table = _CONTENTS.dump_json(contents, exclude_defaults=True)
    body = b"".join([table.replace(b'{"name":', b'\n{"name":')[1:-1], b",\n"])
    least = HEAD_SIZE + len(body) + 1 + SEAL_SIZE
    length = length or -(-least // _STEP) * _STEP
    if least > length:
        raise ValueError(f"the table needs {least} bytes, {length} were reserved")
    digits = f"{length:0{_DIGIT_COUNT}}"
    text = f'{{"length":"{digits}",\n'.encode() + body + b" " * (length - least) + b"\n"
    return text + f'"seal":["{digits}","{digest_of(text)}"]}}\n'.encode()


def length_by_head(data: bytes) -> int:
    """Return the length of the text according to its first line, or 0 if the line is invalid."""
    found = _HEAD.match(data)
    return _believed(int(found[1])) if found else 0


def length_by_seal(data: bytes) -> int:
    """Return the length of the text according to its last line, or 0 if the line is invalid."""
    found = _SEAL.fullmatch(data)
    return _believed(int(found[1])) if found else 0


def decode(text: bytes) -> Contents | None:
    """Parse a text; return None if it does not match the digest in its last line.

    Raises `UnsupportedError`: the schema is not supported. Raises `SourceError`: the digest matches, but the content is
    invalid.
    """
    seal = _SEAL.fullmatch(text[-SEAL_SIZE:])
    if not seal or int(seal[1]) != len(text) or seal[2].decode() != digest_of(text[:-SEAL_SIZE]):
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
    """Build each `Member` while parsing, as `manifest` does with files; return other or invalid objects unchanged."""
    try:
        return _MEMBER.validate_python(fields) if "offset" in fields else fields
    except ValidationError:
        return fields


def _check_schema(content: Any) -> None:
    """Raise `UnsupportedError` for an unsupported schema, before the rest of the text is validated."""
    schema = content.get("schema")
    if type(schema) is int and schema != SCHEMA:
        raise UnsupportedError(
            f"the bundle has schema {schema}, and this version of models_init reads schema {SCHEMA}: "
            f"{'upgrade models_init' if schema > SCHEMA else 'ask the publisher for a newer bundle'}"
        )


def fingerprints(contents: Contents, bounds: Iterable[tuple[int, int]], read: Callable[[int, int], bytes]) -> list[str]:
    """Return the fingerprint of each part as in `Contents.parts`; it is empty for a part without one.

    `bounds` are the start and stop of each part in the bundle; `read` takes an offset and a size. The first part
    contains the table and needs no fingerprint. The copy of the table at the end is not fingerprinted, because it would
    have to contain its own fingerprint.
    """
    if not contents.parts:
        return []
    found = []
    for start, stop in bounds:
        size = min(FINGERPRINT_SIZE, stop - start, contents.end - start) if start else 0
        found.append(digest_of(read(start, size)) if size > 0 else "")
    return found


def _believed(length: int) -> int:
    return length if HEAD_SIZE + SEAL_SIZE < length <= CONTENTS_LIMIT else 0
