"""SAS tokens made by hand: well-formed, each for nothing, and easy to find wherever they leak."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

_WORD = "kanarie"
CANARY = "KANARIE/kanarie+KANARIE/kanarie+KANARIE/kan="
"""A signature as Azure writes them (32 bytes in base64), with all characters that must be percent-encoded."""


def token(**fields: str) -> str:
    """Return a token with `CANARY` as its signature; a field given empty is left out."""
    usual = {"sv": "2024-11-04", "se": "2099-01-01T00:00:00Z", "sr": "c", "sp": "rl", "sig": CANARY}
    merged = {**usual, **fields}
    return "&".join(f"{name}={quote(value, safe='')}" for name, value in merged.items() if value)


_real: dict[bytes, str] = {}
"""Signatures that a service has made, by a part of each that survives every way of encoding and escaping."""


def real(token: str) -> str:
    """Have a token that was signed by a service looked for, too; return it."""
    signature = unquote(token.partition("sig=")[2].partition("&")[0])
    _real[max(re.findall(r"[A-Za-z0-9]+", signature), key=len).encode()] = signature
    return token


def leaks(text: str | bytes, *, made_up_alone: bool = False) -> list[str]:
    """Return the signatures of which something stands in the text: of the canary, and of real ones.

    Of the made-up canary alone is faster: it is one, and the real ones of a session are hundreds.
    """
    text = text if isinstance(text, bytes) else text.encode(errors="backslashreplace")
    found = [] if made_up_alone else [signature for part, signature in _real.items() if part in text]
    return found + ([CANARY] if _WORD.encode() in text.lower() else [])
