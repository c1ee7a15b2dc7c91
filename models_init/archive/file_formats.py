"""Identify files that are not tar archives by their first bytes, for error messages."""

from __future__ import annotations

_SIGNATURES = (
    (b"\xfd7zXZ\0", "an xz file"),
    (b"BZh", "a bzip2 file"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"PK\x05\x06", "an empty ZIP archive"),
    (b"PK\x07\x08", "a split ZIP archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"\x04\x22\x4d\x18", "an lz4 file"),
    (b"LZIP", "an lzip file"),
    (b"\x5d\0\0", "an LZMA file"),
    (b"\x1f\x9d", "a file of `compress` (.Z)"),
    (b"\x1f\x8b", "compressed twice: it contains a gzip file"),
    (b"\x28\xb5\x2f\xfd", "compressed twice: it contains a zstd file"),
    (b"070701", "a cpio archive"),
    (b"!<arch>\n", "a Debian package or another ar archive"),
    (b"\xed\xab\xee\xdb", "an RPM package"),
    (b"hsqs", "a SquashFS image"),
    (b"version https://git-lfs.github.com/", "a Git LFS pointer instead of the file"),
)
"""Signatures of binary formats, as `file(1)` uses them."""

_TEXT_SIGNATURES = (
    (b"<!doctype html", "an HTML page"),
    (b"<html", "an HTML page"),
    (b"<?xml", "an XML document, for example an error response"),
    (b"{", "a JSON document, for example a manifest"),
)
"""Signatures of text, in lower case; a byte order mark and white space may precede them."""


def identify(head: bytes) -> str:
    """Return the format of a file that begins with `head`, with an article; empty if it is unknown."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    binary = (name for signature, name in _SIGNATURES if head.startswith(signature))
    return next(binary, next((name for signature, name in _TEXT_SIGNATURES if text.startswith(signature)), ""))
