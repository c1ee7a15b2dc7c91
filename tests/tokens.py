"""SAS tokens for tests: well-formed, not valid anywhere, and easy to find in any output."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

_WORD = "kanarie"
CANARY = "KANARIE/kanarie+KANARIE/kanarie+KANARIE/kan="
"""A signature in Azure's format (32 bytes in base64), with every character that must be percent-encoded."""


def token(**fields: str) -> str:
    """Return a token with `CANARY` as its signature; an empty field is left out."""
    defaults = {"sv": "2024-11-04", "se": "2099-01-01T00:00:00Z", "sr": "c", "sp": "rl", "sig": CANARY}
    merged = {**defaults, **fields}
    return "&".join(f"{name}={quote(value, safe='')}" for name, value in merged.items() if value)


_real: dict[bytes, str] = {}
"""Signatures of real services, by a part of each that no encoding or escaping changes."""


def real(token: str) -> str:
    """Register a token that was signed by a service, so that `leaks` finds it; return it."""
    signature = unquote(token.partition("sig=")[2].partition("&")[0])
    _real[max(re.findall(r"[A-Za-z0-9]+", signature), key=len).encode()] = signature
    return token


def leaks(text: str | bytes, *, made_up_alone: bool = False) -> list[str]:
    """Return the signatures that the text contains, whole or in part: the canary and real ones.

    `made_up_alone`: search for the canary only, which is faster, because a session has hundreds of real ones.
    """
    text = text if isinstance(text, bytes) else text.encode(errors="backslashreplace")
    found = [] if made_up_alone else [signature for part, signature in _real.items() if part in text]
    return found + ([CANARY] if _WORD.encode() in text.lower() else [])
