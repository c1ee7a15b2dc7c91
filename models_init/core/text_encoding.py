"""Decode text files from any editor, and escape characters that may look like others."""

from __future__ import annotations

import codecs

_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def decode_text(data: bytes) -> str:
    """Decode UTF-8 or UTF-16, with or without a byte order mark. Raises `UnicodeDecodeError`.

    Redirection in PowerShell writes UTF-16, and some editors write a byte order mark. UTF-16 without a mark is
    recognized by the zero byte of its first character, which must be ASCII.
    """
    if data.startswith(_UTF16_MARKS):
        return data.decode("utf-16")
    if b"\0" in data[:2]:
        return data.decode("utf-16-be" if data[:1] == b"\0" else "utf-16-le")
    return data.decode("utf-8-sig")


def escaped(text: str) -> str:
    r"""Return the text with every character outside ASCII escaped, because it may look like another one.

    For example, a hyphen that is not ASCII becomes visible in `nl\u2011nl`.
    """
    return text.encode("ascii", "backslashreplace").decode()
