"""Where each member of a bundle lies: decided from names and sizes, before a byte is written."""

from __future__ import annotations

import tarfile
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from models_init.core.errors import UsageError
from models_init.core.units import human_size
from models_init.formats import bundle_index
from models_init.formats.bundle_index import Contents, Member
from models_init.publish.pack.tar_stream import FILE_MODE, padded

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PART_LIMIT = 999
"""Parts, at most: with three digits each, `cat site.tar.*` puts them in order."""

_STEP = 4096


@dataclass(frozen=True, slots=True)
class PlannedMember:
    """A member that has no place yet; what is not known of its bytes has `bundle.UNKNOWN_DIGEST`."""

    name: str
    size: int
    digest: str = bundle_index.UNKNOWN_DIGEST
    key: str = ""
    start: int = 0


@dataclass(frozen=True, slots=True)
class Padding:
    """Bytes between the members: a header, or what fills the last block up."""

    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Layout:
    """The table, and the bytes that its text takes at either end."""

    contents: Contents
    length: int

    @property
    def copy_offset(self) -> int:
        """Where the copy of the table begins."""
        return self.contents.size - bundle_index.TAR_END - self.length

    def text(self, contents: Contents) -> bytes:
        """The table as it is written, once all digests are known."""
        return bundle_index.encode(contents, self.length)

    def fillers(self) -> Iterator[Padding]:
        """All headers and paddings, in order."""
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
    """The tar header of a member; times, owners and all other traces of this machine are left out."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, FILE_MODE
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "strict")


def lay_out(draft: Contents, entries: Sequence[PlannedMember], part_size: int) -> Layout:
    """Give every entry its place, in this order; `part_size` is 0 for one file. Raises `UsageError`."""
    _check_names(entries)
    length = 0
    while True:
        length += _STEP
        layout = Layout(_placed(draft, entries, part_size, length), length)
        least = len(bundle_index.encode(layout.contents))
        if least <= length:
            return layout
        length = least - _STEP  # offsets grow with it, and with them the text: once more


def layout_of(contents: Contents) -> Layout:
    """The layout of a bundle that was made; such a one has members."""
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
            f"{PART_LIMIT} can be told apart; choose a larger --split"
        )
    parts = (bundle_index.UNKNOWN_DIGEST,) * count
    return replace(draft, members=tuple(members), size=size, part_size=part_size, parts=parts)


def _check_names(entries: Sequence[PlannedMember]) -> None:
    seen = {bundle_index.CONTENTS_NAME, bundle_index.COPY_NAME}
    for entry in entries:
        if entry.name in seen:
            raise UsageError(f"{entry.name} would stand twice in the bundle: give one of them another name")
        seen.add(entry.name)
