"""Parse one tar header block or record by strict rules; reject everything that tar readers interpret differently."""

from __future__ import annotations

import re
from dataclasses import dataclass

from models_init.archive.errors import BadArchiveError

BLOCK = 512

REGULAR, OLD_REGULAR, DIRECTORY, LONG_NAME, PAX, PAX_GLOBAL = b"0", b"\0", b"5", b"L", b"x", b"g"
HARD_LINK, SYMBOLIC_LINK, LONG_LINK = b"1", b"2", b"K"

_REFUSED = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"6": "a fifo",
    b"7": "a contiguous file",
    b"A": "an access control list",
    b"D": "a GNU directory listing",
    b"K": "a GNU long link name",
    b"M": "a continued file of a multi-volume archive",
    b"N": "an old GNU long name",
    b"S": "a sparse file",
    b"V": "a tar volume label",
    b"X": "a Solaris extended header",
}
_LINKS = {HARD_LINK, SYMBOLIC_LINK, LONG_LINK}
_SPECIAL = {b"3", b"4", b"6"}
_KNOWN = {REGULAR, OLD_REGULAR, DIRECTORY, LONG_NAME, PAX, PAX_GLOBAL}

_POSIX, _GNU, _OLD = b"ustar\x0000", b"ustar  \0", bytes(8)

_NUMBER = re.compile(rb" *([0-7]+)[ \0]*\Z")
_SIZE_LIMIT = 2**53 - 1  # as in manifests

_PAX_RECORD = re.compile(rb"([1-9][0-9]{0,5}) ([^=\n\0]+)=")
_PAX_SIZE = re.compile(r"[0-9]{1,16}\Z")
_UTF8_NAMES = b"ISO-IR 10646 2000 UTF-8"
_IGNORED_KEYS = {"atime", "ctime", "mtime", "uid", "gid", "uname", "gname", "comment", "LIBARCHIVE.creationtime"}
_IGNORED_KEYS |= {
    "SCHILY.dev",
    "SCHILY.ino",
    "SCHILY.nlink",
    "SCHILY.fflags",
    "RHT.security.selinux",
    "MSWINDOWS.rawsd",
}
_IGNORED_PREFIXES = ("SCHILY.xattr.", "SCHILY.acl.", "LIBARCHIVE.xattr.")
"""Keywords about times, owners and attributes: a pack stores none of them, so they are ignored."""


LINK_REMEDY = "store files instead of links: create the archive with `tar --dereference --hard-dereference`"


@dataclass(frozen=True, slots=True)
class Header:
    """A header block: kind of entry, name as stored, size of the following content, executable bit, target of a link.

    Name and target may be truncated anywhere, even within a character, if an extended header contains the full text.
    """

    kind: bytes
    name: bytes
    size: int
    executable: bool
    target: bytes = b""


@dataclass(frozen=True, slots=True)
class PaxFields:
    """The relevant fields of a pax header."""

    path: str | None = None
    size: int | None = None
    linkpath: str | None = None


def parse(block: bytes, *, in_layer: bool = False) -> Header:
    """Parse a header block.

    Raises `BadArchiveError`: the block is not the header of a file, a directory or an extended header, or, in a layer
    of a container image, of a link, a device or a fifo.
    """
    if not has_checksum(block):
        raise BadArchiveError("a block is not a tar header: its checksum is wrong")
    kind, magic = block[156:157], block[257:265]
    name = _until_nul(block[:100])
    if magic == _POSIX and (prefix := _until_nul(block[345:500])):
        name = prefix + b"/" + name
    if kind in _REFUSED and not (in_layer and kind in _LINKS | _SPECIAL):
        remedy = LINK_REMEDY if kind in _LINKS else "a pack has regular files and directories only"
        raise BadArchiveError(f"{shown(name)} is {_REFUSED[kind]}; {remedy}")
    if kind not in _KNOWN | _REFUSED.keys():
        raise BadArchiveError(f"{shown(name)} has the unknown entry type {kind!r}")
    if magic not in (_POSIX, _GNU, _OLD):
        raise BadArchiveError(f"{shown(name)} has a header in an unknown tar format ({magic!r})")
    if magic != _POSIX and any(block[345:500]):
        raise BadArchiveError(f"{shown(name)} has data in the prefix field, which only POSIX headers have")
    mode = _number(block[100:108], name, "mode")
    target = _until_nul(block[157:257]) if kind in _LINKS else b""
    return Header(kind, name, _number(block[124:136], name, "size"), bool(mode & 0o100), target)


def kind_name(kind: bytes) -> str:
    """Return the description, with an article, of an entry that a pack cannot contain."""
    return _REFUSED[kind]


def has_checksum(block: bytes) -> bool:
    """Return True for a header block: its checksum is the sum of all bytes, with blanks for its own field (POSIX)."""
    stored = _NUMBER.match(block[148:156])
    return stored is not None and int(stored[1], 8) == sum(block) - sum(block[148:156]) + 8 * 0x20


def long_name(data: bytes, errors: str = "strict") -> str:
    """Parse the content of a GNU long name: one name followed by zeros. Raises `BadArchiveError`."""
    name = _until_nul(data)
    if len(name) == len(data):  # some readers continue to the next zero, into the padding of the block
        raise BadArchiveError(f"the GNU long name {shown(name)} is not terminated by a zero byte")
    if any(data[len(name) :]):
        raise BadArchiveError(f"the GNU long name {shown(name)} has data after its terminating zero byte")
    return text(name, errors)


def pax(data: bytes, *, is_global: bool, in_layer: bool = False) -> PaxFields:
    """Parse the records of a pax header; a global one (`is_global`) must not contain relevant fields.

    Only a layer of a container image may describe links or contain keywords of other vendors.
    """
    found: dict[str, str] = {}
    at = 0
    while at < len(data):
        match = _PAX_RECORD.match(data, at)
        stop = at + int(match[1]) if match else 0
        if not match or not match.end() < stop <= len(data) or data[stop - 1 : stop] != b"\n":
            raise BadArchiveError("a pax header is malformed")
        key = text(match[2])
        if key in found:
            raise BadArchiveError(f"a pax header contains the keyword {shown(key)} twice")
        if key == "linkpath" and not in_layer:
            raise BadArchiveError(f"a pax header describes a link (linkpath); {LINK_REMEDY}")
        is_ignored = in_layer and "." in key and not _is_sparse(key)
        found[key] = "" if is_ignored else _pax_value(key, data[match.end() : stop - 1], is_global=is_global)
        at = stop
    size = found.get("size")
    return PaxFields(found.get("path"), None if size is None else _pax_size(size), found.get("linkpath"))


def _pax_value(key: str, value: bytes, *, is_global: bool) -> str:
    """Return the value of a relevant keyword, or an empty string for an ignored one."""
    if key in _IGNORED_KEYS or key.startswith(_IGNORED_PREFIXES):
        return ""
    if key == "hdrcharset" and value == _UTF8_NAMES:
        return ""
    if _is_sparse(key):
        raise BadArchiveError(f"a pax header describes a sparse file ({shown(key)}); pack without --sparse")
    if key not in ("path", "size", "linkpath"):
        raise BadArchiveError(f"a pax header contains the unsupported keyword {shown(key)}")
    if is_global:
        raise BadArchiveError(f"a global pax header sets the {key} of all later entries")
    return text(value)


def _is_sparse(key: str) -> bool:
    return key.startswith("GNU.sparse.") or key in ("SCHILY.realsize", "SUN.holesdata")


def _pax_size(digits: str) -> int:
    if not _PAX_SIZE.match(digits) or int(digits) > _SIZE_LIMIT:
        raise BadArchiveError(f"a pax header contains the invalid size {shown(digits)}")
    return int(digits)


def shown(name: str | bytes, limit: int = 100) -> str:
    """Return an untrusted name for a message, on one line: truncated to `limit`, with special characters escaped."""
    name = name.decode(errors="replace") if isinstance(name, bytes) else name
    return repr(name if len(name) <= limit else name[:limit] + "…")


def text(data: bytes, errors: str = "strict") -> str:
    """Decode a name. Raises `BadArchiveError`: it is not UTF-8 and `errors` is `strict`."""
    try:
        return data.decode(errors=errors)
    except UnicodeDecodeError as error:
        raise BadArchiveError(f"the name {shown(data)} is not UTF-8") from error


def _number(field: bytes, name: bytes, what: str) -> int:
    """Parse octal digits, or GNU's base 256 for larger numbers."""
    match = _NUMBER.match(field)
    if match:
        number = int(match[1], 8)
    elif field[0] == 0x80:
        number = int.from_bytes(field[1:], "big")
    elif field[0] == 0xFF:
        raise BadArchiveError(f"{shown(name)} has a negative {what}")
    else:
        raise BadArchiveError(f"{shown(name)} has an invalid {what} ({field!r})")
    if number > _SIZE_LIMIT:
        raise BadArchiveError(f"{shown(name)} has the {what} {number}, which is too large")
    return number


def _until_nul(field: bytes) -> bytes:
    return field.split(b"\0", 1)[0]
