"""SAS tokens made by hand: well-formed, each for nothing, and easy to find wherever they leak."""

from __future__ import annotations

from urllib.parse import quote

_WORD = "kanarie"
CANARY = "KANARIE/kanarie+KANARIE/kanarie+KANARIE/kan="
"""A signature as Azure writes them (32 bytes in base64), with all characters that must be percent-encoded."""


def token(**fields: str) -> str:
    """Return a token with `CANARY` as its signature; a field given empty is left out."""
    usual = {"sv": "2024-11-04", "se": "2099-01-01T00:00:00Z", "sr": "c", "sp": "rl", "sig": CANARY}
    merged = {**usual, **fields}
    return "&".join(f"{name}={quote(value, safe='')}" for name, value in merged.items() if value)


def leaks(text: str | bytes) -> list[str]:
    """Return what of the canary stands in the text: its letters survive every way of encoding and escaping."""
    text = text if isinstance(text, bytes) else text.encode(errors="backslashreplace")
    return [CANARY] if _WORD.encode() in text.lower() else []
