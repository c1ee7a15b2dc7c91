"""Compute the offset of each member of a bundle from names and sizes, before anything is written."""

from __future__ import annotations

import tarfile
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from models_init.core.errors import UsageError
from models_init.core.file_modes import FILE_MODE
from models_init.core.units import human_size
from models_init.formats import bundle_index
from models_init.formats.bundle_index import Contents, Member
from models_init.publish.pack.tar_stream import padded

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PART_LIMIT = 999
"""Maximum number of parts: with three-digit numbers, `cat site.tar.*` concatenates them in order."""

_STEP = 4096


@dataclass(frozen=True, slots=True)
class PlannedMember:
    """A member without an offset; `digest` is `bundle_index.UNKNOWN_DIGEST` while its bytes are not known."""

    name: str
    size: int
    digest: str = bundle_index.UNKNOWN_DIGEST
    key: str = ""
    start: int = 0


@dataclass(frozen=True, slots=True)
class Padding:
    """Bytes between members: a tar header, or the padding of the last block."""

    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Layout:
    """The table of contents, and the length in bytes of its text, which is stored at both ends of the bundle."""

    contents: Contents
    length: int

    @property
    def copy_offset(self) -> int:
        """The offset of the table's copy."""
        return self.contents.size - bundle_index.TAR_END - self.length

    def text(self, contents: Contents) -> bytes:
        """Return the encoded table; `contents` has all digests."""
        return bundle_index.encode(contents, self.length)

    def fillers(self) -> Iterator[Padding]:
        """Yield all headers and paddings, in order of offset."""
        yield Padding(0, header(bundle_index.CONTENTS_NAME, self.length))
        for member in self.contents.members:
            head = header(member.name, member.size)
            yield Padding(member.offset - len(head), head)
            if rest := padded(member.size) - member.size:
                yield Padding(member.offset + member.size, bytes(rest))
        head = header(bundle_index.COPY_NAME, self.length)
        yield Padding(self.copy_offset - len(head), head)
        yield Padding(self.contents.size - bundle_index.TAR_END, bytes(bundle_index.TAR_END))


def header(name: str, size: int) -> bytes:
    """Return the tar header of a member, without owner, times or other properties of this machine."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, FILE_MODE
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "strict")


def lay_out(draft: Contents, entries: Sequence[PlannedMember], part_size: int) -> Layout:
    """Assign offsets to the entries, in this order; `part_size` is in bytes, 0 for one file.

    Raises `UsageError`: two members have the same name, one would be in the directory of another's name, or there would
    be more than `PART_LIMIT` parts.
    """
    _check_names(entries)
    length = 0
    while True:
        length += _STEP
        layout = Layout(_placed(draft, entries, part_size, length), length)
        text_length = len(bundle_index.encode(layout.contents))
        if text_length <= length:
            return layout
        length = text_length - _STEP  # a longer text means larger offsets, which may lengthen the text: check again


def layout_of(contents: Contents) -> Layout:
    """Return the layout of an existing bundle, which has at least one member."""
    entries = [
        PlannedMember(member.name, member.size, member.digest, member.key, member.start) for member in contents.members
    ]
    first = contents.members[0]
    length = first.offset - len(header(first.name, first.size)) - bundle_index.CONTENTS_START
    return Layout(_placed(contents, entries, contents.part_size, length), length)


def _placed(draft: Contents, entries: Sequence[PlannedMember], part_size: int, length: int) -> Contents:
    at, members = bundle_index.CONTENTS_START + length, []
    for entry in entries:
        at += len(header(entry.name, entry.size))
        members.append(Member(entry.name, at, entry.size, entry.digest, entry.key, entry.start))
        at += padded(entry.size)
    size = at + bundle_index.TAR_BLOCK + length + bundle_index.TAR_END
    count = -(-size // part_size) if part_size else 0
    if count > PART_LIMIT:
        raise UsageError(
            f"the bundle of {human_size(size)} would have {count} parts of {human_size(part_size)}: at most "
            f"{PART_LIMIT} can be numbered; choose a larger --split"
        )
    parts = (bundle_index.UNKNOWN_DIGEST,) * count
    return replace(draft, members=tuple(members), size=size, part_size=part_size, parts=parts)


def _check_names(entries: Sequence[PlannedMember]) -> None:
    seen = {bundle_index.CONTENTS_NAME, bundle_index.COPY_NAME}
    for entry in entries:
        if entry.name in seen:
            raise UsageError(f"{entry.name} would be in the bundle twice: give one of the two files another name")
        seen.add(entry.name)
    for name in sorted(seen):
        parent = name
        while parent := parent.rpartition("/")[0]:
            if parent in seen:
                raise UsageError(f"{parent} would be a file and the directory of {name}: give one of them another name")
