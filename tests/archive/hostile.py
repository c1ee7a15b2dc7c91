"""Invalid and malicious archives, each with a part of the message that rejects it."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import zipfile
from typing import NamedTuple

import zstandard

from tests.archive.archives import BLOCK, END, GNU, OLD, POSIX, block, file, long_name, pax, record, summed

MIB = 1 << 20
GOOD = file(b"good", b"harmless\n")


class Hostile(NamedTuple):
    """An archive, and part of the message that rejects it."""

    name: str
    archive: bytes
    words: str


def _bomb(size: int) -> bytes:
    """Return a file of zeros, compressed a thousandfold."""
    packer = zstandard.ZstdCompressor(level=3).compressobj()
    head = packer.compress(block(b"zeros", size))
    body = b"".join(packer.compress(bytes(MIB)) for _ in range(size // MIB))
    return head + body + packer.compress(END) + packer.flush()


def _many(count: int) -> bytes:
    """Return a few files in very many directories."""
    deep = (b"%04d/" % number + b"d/" * 499 + b"a" for number in range(count // 500))
    return zstandard.compress(b"".join(long_name(name) + file(b"a", magic=GNU) for name in deep) + END)


def _zipped(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def _sparse_pax() -> bytes:
    return pax({b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0", b"GNU.sparse.realsize": b"9999999"})


def _link(kind: bytes, target: bytes = b"../../../etc/passwd") -> bytes:
    head = bytearray(block(b"link", kind=kind))
    head[157 : 157 + len(target)] = target
    return summed(head)


def _prefixed(prefix: bytes, name: bytes, magic: bytes = POSIX) -> bytes:
    head = bytearray(block(name, magic=magic))
    head[345 : 345 + len(prefix)] = prefix
    return summed(head)


def _frame(window: int, content: bytes = GOOD + END) -> bytes:
    """Return a frame whose header requires a window of 2**`window` bytes."""
    raw = (len(content) << 3 | 1).to_bytes(3, "little")
    return b"\x28\xb5\x2f\xfd" + b"\x00" + bytes([(window - 10) << 3]) + raw + content


def _corrupted(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]


_Z = zstandard.compress
_G = gzip.compress
_CHECKED = zstandard.ZstdCompressor(write_checksum=True).compress(GOOD + END)
_WITH_DICTIONARY = b"\x28\xb5\x2f\xfd" + b"\x01" + b"\x40" + b"\x07" + (1).to_bytes(3, "little")
_LARGE_BASE_256 = b"\x80" + (2**60).to_bytes(11, "big")
_NO_DICTIONARY = "requires a dictionary"
_STREAMS = [
    # -- names
    ("absolute name", file(b"/etc/passwd", b"x"), "it is absolute"),
    ("name outside the pack", file(b"../out", b"x"), "'../out' is not a usable path"),
    ("name outside the pack, with a detour", file(b"a/../../out", b"x"), "it leads upwards"),
    ("name with a dot part", file(b"a/./b", b"x"), "it has a part '.'"),
    ("name with an empty part", file(b"a//b", b"x"), "it has an empty part"),
    ("empty name", file(b"", b"x"), "is not a usable path"),
    ("name of a single dot", file(b"./", b"x"), "is not a usable path"),
    ("file name with a trailing slash", file(b"a/", b"x", kind=b"0"), "is not a usable path"),
    ("name with a line break", file(b"a\nb", b"x"), "it contains the character U+000A"),
    ("name with an escape", file(b"a\x1b[2Jb", b"x"), "it contains the character U+001B"),
    ("name with a right-to-left override", file("a\u202egpj.exe".encode(), b"x"), "it contains the character U+202E"),
    ("name that is not UTF-8", file(b"caf\xe9", b"x"), "is not UTF-8"),
    ("too long name", long_name(b"a/" * 600 + b"b") + file(b"a", b"x"), "is too long for a path"),
    ("name with a too long part", long_name(b"a" * 256) + file(b"a", b"x"), "is too long for a path"),
    ("prefix outside the pack", _prefixed(b"..", b"out"), "'../out' is not a usable path"),
    ("absolute long name", long_name(b"/" + b"a" * 150) + file(b"a", b"x"), "it is absolute"),
    ("absolute pax name", pax({b"path": b"/etc/passwd"}) + file(b"a", b"x"), "it is absolute"),
    ("pax name with a NUL", pax({b"path": b"a\0b"}) + file(b"a", b"x"), "it contains the character U+0000"),
    # -- trees
    ("file twice", GOOD + GOOD, "'good' occurs twice in the archive"),
    ("file twice, once with a dot", GOOD + file(b"./good"), "'good' occurs twice in the archive"),
    ("directory twice", file(b"d/", kind=b"5") * 2, "'d' occurs twice in the archive"),
    ("top directory twice", file(b"./", kind=b"5") * 2, "'./' occurs twice in the archive"),
    ("file below a file", GOOD + file(b"good/below"), "is below 'good', which is a file"),
    ("file deep below a file", GOOD + file(b"good/far/below"), "is below 'good', which is a file"),
    ("file in place of a directory", file(b"d/a") + file(b"d", b"x"), "'d' is both a directory and a file"),
    ("directory in place of a file", GOOD + file(b"good/", kind=b"5"), "'good' occurs twice in the archive"),
    # -- kinds
    (
        "whiteout",
        file(b"conf/.wh.old.conf", b"") + END,
        "'conf/.wh.old.conf' is a whiteout, which removes files of another",
    ),
    ("opaque directory", file(b".wh..wh..opq", b"") + END, "'.wh..wh..opq' is a whiteout"),
    ("symbolic link", _link(b"2"), "'link' is a symbolic link"),
    ("hard link", _link(b"1", b"good"), "'link' is a hard link"),
    ("character device", block(b"null", kind=b"3"), "'null' is a character device"),
    ("block device", block(b"sda", kind=b"4"), "'sda' is a block device"),
    ("fifo", block(b"pipe", kind=b"6"), "'pipe' is a fifo"),
    ("contiguous file", file(b"a", b"x", kind=b"7"), "'a' is a contiguous file"),
    ("GNU sparse file", block(b"holes", 512, kind=b"S", magic=GNU) + bytes(BLOCK), "'holes' is a sparse file"),
    ("GNU long link name", file(b"././@LongLink", b"x\0", kind=b"K", magic=GNU) + GOOD, "is a GNU long link name"),
    ("volume label", block(b"label", kind=b"V", magic=GNU), "is a tar volume label"),
    ("continued file", block(b"a", kind=b"M", magic=GNU), "is a continued file of a multi-volume archive"),
    ("GNU directory listing", file(b"d/", b"Yx\0\0", kind=b"D", magic=GNU), "is a GNU directory listing"),
    ("Solaris extended header", file(b"x", b"x", kind=b"X"), "is a Solaris extended header"),
    ("unknown entry type", block(b"a", kind=b"?"), "has the unknown entry type b'?'"),
    ("directory with content", file(b"d/", b"x", kind=b"5"), "the directory 'd/' contains 1 bytes"),
    ("old directory with content", file(b"d/", b"x", kind=b"\0", magic=OLD), "contains 1 bytes"),
    ("unknown tar format", block(b"a", magic=b"ustar\x0099"), "in an unknown tar format"),
    # -- numbers
    ("negative size", block(b"a", b"\xff" * 12), "'a' has a negative size"),
    ("invalid size", block(b"a", b"12x4567890\0"), "has an invalid size"),
    ("missing size", block(b"a", b""), "has an invalid size"),
    ("signed size", block(b"a", b"-0000000001\0"), "has an invalid size"),
    ("too large size", block(b"a", _LARGE_BASE_256), "which is too large"),
    ("size of 8 GiB without data", block(b"a", 8**11 - 1), "it exceeds the limit of"),
    ("wrong checksum", _corrupted(GOOD, 0), "its checksum is wrong"),
    # -- extended headers
    ("pax link", pax({b"linkpath": b"/etc/passwd"}) + GOOD, "describes a link"),
    ("pax sparse file", _sparse_pax() + GOOD, "describes a sparse file"),
    ("star's sparse file", pax({b"SCHILY.realsize": b"9999"}) + GOOD, "describes a sparse file"),
    ("unknown pax keyword", pax({b"security.zone": b"1"}) + GOOD, "contains the unsupported keyword 'security.zone'"),
    (
        "pax file type",
        pax({b"SCHILY.filetype": b"symlink"}) + GOOD,
        "keyword 'SCHILY.filetype'",
    ),
    (
        "pax names in another charset",
        pax({b"hdrcharset": b"BINARY"}) + GOOD,
        "keyword 'hdrcharset'",
    ),
    ("negative pax size", pax({b"size": b"-1"}) + GOOD, "contains the invalid size '-1'"),
    ("too large pax size", pax({b"size": b"9" * 16}) + GOOD, "contains the invalid size"),
    ("pax size in non-ASCII digits", pax({b"size": "٣".encode()}) + GOOD, "contains the invalid size"),
    ("pax size of a directory", pax({b"size": b"512"}) + file(b"d/", kind=b"5"), "contains 512 bytes"),
    ("pax keyword twice", file(b"p", record(b"path", b"a") * 2, kind=b"x") + GOOD, "contains the keyword 'path' twice"),
    ("too long pax record", file(b"p", b"99 path=a\n", kind=b"x") + GOOD, "a pax header is malformed"),
    ("too short pax record", file(b"p", b"5 path=a\n", kind=b"x") + GOOD, "a pax header is malformed"),
    ("pax record without an end", file(b"p", b"9 path=ab", kind=b"x") + GOOD, "a pax header is malformed"),
    ("pax record without a length", file(b"p", b"path=a\n", kind=b"x") + GOOD, "a pax header is malformed"),
    ("two pax headers", pax({b"path": b"a"}) + pax({b"path": b"b"}) + GOOD, "is a second extended header"),
    ("two long names", long_name(b"a") + long_name(b"b") + GOOD, "is a second extended header"),
    ("two names that differ", long_name(b"a") + pax({b"path": b"b"}) + GOOD, "one entry has two names"),
    ("long name with trailing data", file(b"L", b"a\0b", kind=b"L") + GOOD, "has data after its terminating zero byte"),
    ("extended header without entry", GOOD + pax({b"path": b"a"}), "whose entry is missing"),
    ("huge extended header", block(b"p", 1 << 30, kind=b"x"), "has 1073741824 bytes, more than 65536"),
    ("global pax name", pax({b"path": b"a"}, kind=b"g") + GOOD, "a global pax header sets the path"),
    ("global pax size", pax({b"size": b"0"}, kind=b"g") + GOOD, "a global pax header sets the size"),
    ("global pax sparse", pax({b"GNU.sparse.size": b"9"}, kind=b"g") + GOOD, "describes a sparse file"),
]
"""Complete tar streams without their end marker."""

_TAR = GOOD + END

_OTHER_FORMATS = [
    ("xz file", lzma.compress(_TAR), "it is an xz file"),
    ("LZMA file", lzma.compress(_TAR, lzma.FORMAT_ALONE), "it is an LZMA file"),
    ("bzip2 file", bz2.compress(_TAR), "it is a bzip2 file"),
    ("ZIP archive", _zipped({"a.txt": b"x" * 600}), "it is a ZIP archive"),
    ("empty ZIP archive", _zipped({}), "it is an empty ZIP archive"),
    ("7z archive", b"7z\xbc\xaf\x27\x1c\0\x04" + bytes(600), "it is a 7z archive"),
    ("RAR archive", b"Rar!\x1a\x07\x01\0" + bytes(600), "it is a RAR archive"),
    ("manifest", b'{"schema": 1, "pack": "nl-nl"}\n', "it is a JSON document, for example a manifest"),
    ("HTML page", b"\n<!DOCTYPE html>\n<html><title>Sign in</title></html>", "it is an HTML page"),
    ("HTML page with a byte order mark", b"\xef\xbb\xbf<HTML>" + b" " * 600, "it is an HTML page"),
    ("XML error response", b'<?xml version="1.0"?><Error/>', "it is an XML document"),
    ("Git LFS pointer", b"version https://git-lfs.github.com/spec/v1\n", "it is a Git LFS pointer"),
    ("xz inside gzip", gzip.compress(lzma.compress(_TAR)), "it is an xz file"),
]

HOSTILE: tuple[Hostile, ...] = (
    *(Hostile(*case) for case in _OTHER_FORMATS),
    *(Hostile(name, stream + END, words) for name, stream, words in _STREAMS),
    # -- ends
    Hostile("empty file", b"", "it is empty"),
    Hostile("no end", GOOD, "it is truncated where a header is expected"),
    Hostile("half an end", GOOD + bytes(BLOCK), "it is truncated within its end marker"),
    Hostile("half a header", GOOD[:300], "it is truncated where a header is expected"),
    Hostile("half a file", GOOD[: BLOCK + 4], "it is truncated in 'good', 5 bytes before"),
    Hostile("half a padding", GOOD[: BLOCK + 20], "it is truncated in the padding after a file"),
    Hostile("half a pax header", pax({b"path": b"a"})[: BLOCK + 3], "it is truncated in an extended header"),
    Hostile("data after a single block of zeros", GOOD + bytes(BLOCK) + _TAR, "data follows a single block of zeros"),
    Hostile("a second archive after the end", _TAR + _TAR, "data follows the end of the archive"),
    Hostile("a byte after the end", _TAR + b"x", "data follows the end of the archive"),
    Hostile("too many zeros after the end", _TAR + bytes(2 * MIB), "bytes of zeros follow the end"),
    Hostile("shell script", b"#!/bin/sh\nrm -rf /\n" * 100, "its checksum is wrong"),
    # -- zstd
    Hostile("zstd: bomb", _bomb(192 * MIB), "it exceeds the limit of"),
    Hostile("zstd: 260,000 empty directories", _many(260_000), "files and directories"),
    Hostile("zstd: a second archive in a second frame", _Z(_TAR) + _Z(_TAR), "data follows the end of the archive"),
    Hostile("zstd: something else in a second frame", _Z(_TAR) + _Z(b"hidden"), "data follows the end of the archive"),
    Hostile("zstd: other data after the frame", _Z(_TAR) + b"hidden", "data that is not zstd follows"),
    Hostile("zstd: a byte after the frame", _Z(_TAR) + b"\x28", "the zstd stream is truncated within a frame"),
    Hostile("zstd: gzip after the frame", _Z(_TAR) + _G(_TAR), "data that is not zstd follows"),
    Hostile("zstd: truncated", _Z(_TAR)[:-3], "the zstd stream is truncated within a frame"),
    Hostile("zstd: truncated checksum", _CHECKED[:-2], "the zstd stream is truncated within a frame"),
    Hostile("zstd: checksum wrong", _corrupted(_CHECKED, -1 % len(_CHECKED)), "the zstd stream is damaged"),
    Hostile("zstd: header only", _Z(_TAR)[:4], "the zstd stream is truncated within a frame"),
    Hostile("zstd: a window of 16 MiB", _frame(24), "requires a window of 16 MiB, more than 8 MiB"),
    Hostile("zstd: a window of 1 TiB", _frame(40), "requires a window of 1048576 MiB"),
    Hostile("zstd: a dictionary", _WITH_DICTIONARY, _NO_DICTIONARY),
    Hostile("zstd: a block of an undefined type", _frame(20)[:6] + b"\x07\0\0", "a block of an undefined type"),
    Hostile(
        "zstd: a truncated skippable frame",
        _Z(_TAR) + b"\x50\x2a\x4d\x18" + struct.pack("<I", 99),
        "is truncated within",
    ),
    Hostile("zstd: compressed twice", _Z(_Z(_TAR)), "compressed twice: it contains a zstd file"),
    Hostile("zstd: noise", b"\x28\xb5\x2f\xfd" + b"\x24\x09" + b"\xaa" * 500, "zstd"),
    # -- gzip
    Hostile("gzip: bomb", _G(block(b"zeros", 192 * MIB) + bytes(80 * MIB), 9), "it exceeds the limit of"),
    Hostile("gzip: a second archive in a second member", _G(_TAR) + _G(_TAR), "data follows the end of the archive"),
    Hostile("gzip: something else in a second member", _G(_TAR) + _G(b"hidden"), "data follows the end of the archive"),
    Hostile("gzip: other data after the member", _G(_TAR) + b"hidden", "data that is not gzip follows"),
    Hostile("gzip: zeros after the member", _G(_TAR) + bytes(BLOCK), "data that is not gzip follows"),
    Hostile("gzip: a byte after the member", _G(_TAR) + b"\x1f", "data that is not gzip follows"),
    Hostile("gzip: truncated", _G(_TAR)[:-12], "the gzip stream is truncated"),
    Hostile("gzip: truncated trailer", _G(_TAR)[:-2], "the gzip stream is truncated"),
    Hostile("gzip: checksum wrong", _corrupted(_G(_TAR), -8 % len(_G(_TAR))), "the gzip stream is damaged"),
    Hostile("gzip: length wrong", _corrupted(_G(_TAR), -1 % len(_G(_TAR))), "the gzip stream is damaged"),
    Hostile("gzip: header only", _G(_TAR)[:10], "the gzip stream is truncated"),
    Hostile("gzip: noise", b"\x1f\x8b\x08\0\0\0\0\0\0\x03" + b"\xff" * 500, "the gzip stream is damaged"),
    Hostile("gzip: compressed twice", _G(_G(_TAR)), "compressed twice: it contains a gzip file"),
)
"""The limits are those for an archive whose manifest does not state the size of its content."""
