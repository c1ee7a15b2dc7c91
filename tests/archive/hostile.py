"""Archives that no site may take: bytes, and the words in which each is refused."""

from __future__ import annotations

import gzip
import struct
from typing import NamedTuple

import zstandard

from tests.archive.archives import BLOCK, END, GNU, OLD, POSIX, block, file, long_name, pax, record, summed

MIB = 1 << 20
GOOD = file(b"good", b"harmless\n")


class Hostile(NamedTuple):
    """An archive, and part of the message that refuses it."""

    name: str
    archive: bytes
    words: str


def _bomb(size: int) -> bytes:
    """Zeros, a thousandfold compressed."""
    packer = zstandard.ZstdCompressor(level=3).compressobj()
    head = packer.compress(block(b"zeros", size))
    body = b"".join(packer.compress(bytes(MIB)) for _ in range(size // MIB))
    return head + body + packer.compress(END) + packer.flush()


def _many(count: int) -> bytes:
    """A few names, whose directories are very many."""
    deep = (b"%04d/" % number + b"d/" * 499 + b"a" for number in range(count // 500))
    return zstandard.compress(b"".join(long_name(name) + file(b"a", magic=GNU) for name in deep) + END)


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
    """A frame whose header asks for a window of 2**`window` bytes."""
    raw = (len(content) << 3 | 1).to_bytes(3, "little")
    return b"\x28\xb5\x2f\xfd" + b"\x00" + bytes([(window - 10) << 3]) + raw + content


def _spoiled(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]


_Z = zstandard.compress
_G = gzip.compress
_CHECKED = zstandard.ZstdCompressor(write_checksum=True).compress(GOOD + END)
_WITH_DICTIONARY = b"\x28\xb5\x2f\xfd" + b"\x01" + b"\x40" + b"\x07" + (1).to_bytes(3, "little")
_LARGE_BASE_256 = b"\x80" + (2**60).to_bytes(11, "big")
_NO_DICTIONARY = "asks for a dictionary"
_STREAMS = [
    # -- names
    ("absolute name", file(b"/etc/passwd", b"x"), "it is absolute"),
    ("name that leads out", file(b"../out", b"x"), "'../out' is no relative path"),
    ("name that leads out later", file(b"a/../../out", b"x"), "it leads upwards"),
    ("name with a dot part", file(b"a/./b", b"x"), "it has a part '.'"),
    ("name with an empty part", file(b"a//b", b"x"), "it has an empty part"),
    ("no name", file(b"", b"x"), "is no relative path"),
    ("only a dot", file(b"./", b"x"), "is no relative path"),
    ("file with a slash at its end", file(b"a/", b"x", kind=b"0"), "is no relative path"),
    ("name with a line break", file(b"a\nb", b"x"), "it holds the character U+000A"),
    ("name with an escape", file(b"a\x1b[2Jb", b"x"), "it holds the character U+001B"),
    ("name that turns the writing", file("a\u202egpj.exe".encode(), b"x"), "it holds the character U+202E"),
    ("name that is not UTF-8", file(b"caf\xe9", b"x"), "is not UTF-8"),
    ("name that is too long", long_name(b"a/" * 600 + b"b") + file(b"a", b"x"), "is too long for a path"),
    ("part of a name that is too long", long_name(b"a" * 256) + file(b"a", b"x"), "is too long for a path"),
    ("prefix that leads out", _prefixed(b"..", b"out"), "'../out' is no relative path"),
    ("absolute long name", long_name(b"/" + b"a" * 150) + file(b"a", b"x"), "it is absolute"),
    ("absolute pax name", pax({b"path": b"/etc/passwd"}) + file(b"a", b"x"), "it is absolute"),
    ("pax name with a NUL", pax({b"path": b"a\0b"}) + file(b"a", b"x"), "it holds the character U+0000"),
    # -- trees
    ("file twice", GOOD + GOOD, "'good' stands in the archive twice"),
    ("file twice, once with a dot", GOOD + file(b"./good"), "'good' stands in the archive twice"),
    ("directory twice", file(b"d/", kind=b"5") * 2, "'d' stands in the archive twice"),
    ("top directory twice", file(b"./", kind=b"5") * 2, "'./' stands in the archive twice"),
    ("file below a file", GOOD + file(b"good/below"), "lies below 'good', which is a file"),
    ("file deep below a file", GOOD + file(b"good/far/below"), "lies below 'good', which is a file"),
    ("file where a directory is", file(b"d/a") + file(b"d", b"x"), "'d' is both a directory and a file"),
    ("directory where a file is", GOOD + file(b"good/", kind=b"5"), "'good' stands in the archive twice"),
    # -- kinds
    ("symbolic link", _link(b"2"), "'link' is a symbolic link"),
    ("hard link", _link(b"1", b"good"), "'link' is a hard link"),
    ("character device", block(b"null", kind=b"3"), "'null' is a character device"),
    ("block device", block(b"sda", kind=b"4"), "'sda' is a block device"),
    ("fifo", block(b"pipe", kind=b"6"), "'pipe' is a fifo"),
    ("contiguous file", file(b"a", b"x", kind=b"7"), "'a' is a contiguous file"),
    ("GNU sparse file", block(b"holes", 512, kind=b"S", magic=GNU) + bytes(BLOCK), "'holes' is a sparse file"),
    ("GNU long link name", file(b"././@LongLink", b"x\0", kind=b"K", magic=GNU) + GOOD, "is a GNU long link name"),
    ("volume label", block(b"label", kind=b"V", magic=GNU), "is a volume's label"),
    ("rest of another volume", block(b"a", kind=b"M", magic=GNU), "is the rest of a file from another volume"),
    ("dumped directory", file(b"d/", b"Yx\0\0", kind=b"D", magic=GNU), "is a list of a directory's names"),
    ("Solaris extended header", file(b"x", b"x", kind=b"X"), "is a Solaris extended header"),
    ("kind that nobody knows", block(b"a", kind=b"?"), "of the unknown kind b'?'"),
    ("directory with a content", file(b"d/", b"x", kind=b"5"), "the directory 'd/' has a content of 1 bytes"),
    ("old directory with a content", file(b"d/", b"x", kind=b"\0", magic=OLD), "has a content of 1 bytes"),
    ("tar format that nobody knows", block(b"a", magic=b"ustar\x0099"), "of an unknown tar format"),
    # -- numbers
    ("negative size", block(b"a", b"\xff" * 12), "'a' has a negative size"),
    ("size that is no number", block(b"a", b"12x4567890\0"), "has a size that is no number"),
    ("no size", block(b"a", b""), "has a size that is no number"),
    ("signed size", block(b"a", b"-0000000001\0"), "has a size that is no number"),
    ("size past all bounds", block(b"a", _LARGE_BASE_256), "which no file can have"),
    ("size of 8 GiB and nothing behind", block(b"a", 8**11 - 1), "it unpacks to more than"),
    ("wrong checksum", _spoiled(GOOD, 0), "its checksum is wrong"),
    # -- extended headers
    ("pax link", pax({b"linkpath": b"/etc/passwd"}) + GOOD, "announces a link"),
    ("pax sparse file", _sparse_pax() + GOOD, "announces a sparse file"),
    ("star's sparse file", pax({b"SCHILY.realsize": b"9999"}) + GOOD, "announces a sparse file"),
    ("pax keyword that nobody knows", pax({b"security.zone": b"1"}) + GOOD, "has the keyword 'security.zone'"),
    ("pax kind of file", pax({b"SCHILY.filetype": b"symlink"}) + GOOD, "has the keyword 'SCHILY.filetype'"),
    ("pax names in another charset", pax({b"hdrcharset": b"BINARY"}) + GOOD, "has the keyword 'hdrcharset'"),
    ("pax size that is negative", pax({b"size": b"-1"}) + GOOD, "gives the size '-1'"),
    ("pax size that is too large", pax({b"size": b"9" * 16}) + GOOD, "gives the size"),
    ("pax size in other digits", pax({b"size": "٣".encode()}) + GOOD, "gives the size"),
    ("pax size of a directory", pax({b"size": b"512"}) + file(b"d/", kind=b"5"), "has a content of 512 bytes"),
    ("pax keyword twice", file(b"p", record(b"path", b"a") * 2, kind=b"x") + GOOD, "has the keyword 'path' twice"),
    ("pax record that is too long", file(b"p", b"99 path=a\n", kind=b"x") + GOOD, "a pax header is malformed"),
    ("pax record that is too short", file(b"p", b"5 path=a\n", kind=b"x") + GOOD, "a pax header is malformed"),
    ("pax record without an end", file(b"p", b"9 path=ab", kind=b"x") + GOOD, "a pax header is malformed"),
    ("pax record without a length", file(b"p", b"path=a\n", kind=b"x") + GOOD, "a pax header is malformed"),
    ("two pax headers", pax({b"path": b"a"}) + pax({b"path": b"b"}) + GOOD, "is a second extended header"),
    ("two long names", long_name(b"a") + long_name(b"b") + GOOD, "is a second extended header"),
    ("two names that differ", long_name(b"a") + pax({b"path": b"b"}) + GOOD, "one entry has two names"),
    ("long name with a tail", file(b"L", b"a\0b", kind=b"L") + GOOD, "has something hidden behind its end"),
    ("extended header without entry", GOOD + pax({b"path": b"a"}), "whose entry is missing"),
    ("huge extended header", block(b"p", 1 << 30, kind=b"x"), "has 1073741824 bytes"),
    ("global pax name", pax({b"path": b"a"}, kind=b"g") + GOOD, "a global pax header sets the path"),
    ("global pax size", pax({b"size": b"0"}, kind=b"g") + GOOD, "a global pax header sets the size"),
    ("global pax sparse", pax({b"GNU.sparse.size": b"9"}, kind=b"g") + GOOD, "announces a sparse file"),
]
"""A whole tar stream each, but for its end."""

_TAR = GOOD + END

HOSTILE: tuple[Hostile, ...] = (
    *(Hostile(name, stream + END, words) for name, stream, words in _STREAMS),
    # -- ends
    Hostile("nothing", b"", "it breaks off where a header ought to be"),
    Hostile("no end", GOOD, "it breaks off where a header ought to be"),
    Hostile("half an end", GOOD + bytes(BLOCK), "it breaks off amid its end"),
    Hostile("half a header", GOOD[:300], "it breaks off where a header ought to be"),
    Hostile("half a file", GOOD[: BLOCK + 4], "it breaks off in 'good', 5 bytes before"),
    Hostile("half a padding", GOOD[: BLOCK + 20], "it breaks off behind a file's last byte"),
    Hostile("half a pax header", pax({b"path": b"a"})[: BLOCK + 3], "it breaks off in an extended header"),
    Hostile("something behind a lone block of zeros", GOOD + bytes(BLOCK) + _TAR, "follows a lone block of zeros"),
    Hostile("a second archive behind the end", _TAR + _TAR, "something follows the end of the archive"),
    Hostile("a byte behind the end", _TAR + b"x", "something follows the end of the archive"),
    Hostile("no end to the zeros", _TAR + bytes(2 * MIB), "bytes of zeros follow the end"),
    Hostile("no tar at all", b"#!/bin/sh\nrm -rf /\n" * 100, "its checksum is wrong"),
    # -- zstd
    Hostile("zstd: bomb", _bomb(192 * MIB), "it unpacks to more than"),
    Hostile("zstd: 260,000 empty directories", _many(260_000), "files and directories, its limit"),
    Hostile("zstd: a second archive in a second frame", _Z(_TAR) + _Z(_TAR), "something follows the end"),
    Hostile("zstd: something else in a second frame", _Z(_TAR) + _Z(b"hidden"), "something follows the end"),
    Hostile("zstd: no frame behind the frame", _Z(_TAR) + b"hidden", "no zstd frame follows"),
    Hostile("zstd: a byte behind the frame", _Z(_TAR) + b"\x28", "breaks off in the middle of a frame"),
    Hostile("zstd: gzip behind the frame", _Z(_TAR) + _G(_TAR), "no zstd frame follows"),
    Hostile("zstd: cut off", _Z(_TAR)[:-3], "breaks off in the middle of a frame"),
    Hostile("zstd: checksum cut off", _CHECKED[:-2], "breaks off in the middle of a frame"),
    Hostile("zstd: checksum wrong", _spoiled(_CHECKED, -1 % len(_CHECKED)), "the zstd stream is damaged"),
    Hostile("zstd: nothing but a head", _Z(_TAR)[:4], "breaks off in the middle of a frame"),
    Hostile("zstd: a window of 16 MiB", _frame(24), "asks for 16 MiB of memory, more than 8 MiB"),
    Hostile("zstd: a window of 1 TiB", _frame(40), "asks for 1048576 MiB of memory"),
    Hostile("zstd: a dictionary", _WITH_DICTIONARY, _NO_DICTIONARY),
    Hostile("zstd: a block of no kind", _frame(20)[:6] + b"\x07\0\0", "a block of a kind that does not exist"),
    Hostile(
        "zstd: a frame to skip that is cut off", _Z(_TAR) + b"\x50\x2a\x4d\x18" + struct.pack("<I", 99), "breaks off"
    ),
    Hostile("zstd: in zstd", _Z(_Z(_TAR) + bytes(BLOCK)), "its checksum is wrong"),
    Hostile("zstd: noise", b"\x28\xb5\x2f\xfd" + b"\x24\x09" + b"\xaa" * 500, "zstd"),
    # -- gzip
    Hostile("gzip: bomb", _G(block(b"zeros", 192 * MIB) + bytes(80 * MIB), 9), "it unpacks to more than"),
    Hostile("gzip: a second archive in a second member", _G(_TAR) + _G(_TAR), "something follows the end"),
    Hostile("gzip: something else in a second member", _G(_TAR) + _G(b"hidden"), "something follows the end"),
    Hostile("gzip: no member behind the member", _G(_TAR) + b"hidden", "no gzip member follows"),
    Hostile("gzip: zeros behind the member", _G(_TAR) + bytes(BLOCK), "no gzip member follows"),
    Hostile("gzip: a byte behind the member", _G(_TAR) + b"\x1f", "no gzip member follows"),
    Hostile("gzip: cut off", _G(_TAR)[:-12], "the gzip stream breaks off"),
    Hostile("gzip: trailer cut off", _G(_TAR)[:-2], "the gzip stream breaks off"),
    Hostile("gzip: checksum wrong", _spoiled(_G(_TAR), -8 % len(_G(_TAR))), "the gzip stream is damaged"),
    Hostile("gzip: length wrong", _spoiled(_G(_TAR), -1 % len(_G(_TAR))), "the gzip stream is damaged"),
    Hostile("gzip: nothing but a head", _G(_TAR)[:10], "the gzip stream breaks off"),
    Hostile("gzip: noise", b"\x1f\x8b\x08\0\0\0\0\0\0\x03" + b"\xff" * 500, "the gzip stream is damaged"),
    Hostile("gzip: in gzip", _G(_G(_TAR) + bytes(BLOCK)), "its checksum is wrong"),
)
"""The limits that a site has for an archive of its size, without a word about it in the manifest, are assumed."""
