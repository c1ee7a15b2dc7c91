"""SAS tokens made by hand: well-formed, each for nothing, and easy to find wherever they leak."""

from __future__ import annotations

from urllib.parse import quote, unquote

CANARY = "CANARY/canary+CANARY/canary+CANARY/canaryAA="
"""A signature as Azure writes them (32 bytes in base64), with both characters that must be percent-encoded."""


def token(**fields: str) -> str:
    """Return a token with `CANARY` as its signature; a field given empty is left out."""
    usual = {"sv": "2024-11-04", "se": "2099-01-01T00:00:00Z", "sr": "c", "sp": "rl", "sig": CANARY}
    merged = {**usual, **fields}
    return "&".join(f"{name}={quote(value, safe='')}" for name, value in merged.items() if value)


def leaks(text: str) -> list[str]:
    """Return each form of the canary that stands in the text: as it is, percent-encoded, decoded once or twice."""
    encoded = quote(CANARY, safe="")
    forms = {CANARY, encoded, encoded.lower(), quote(encoded, safe=""), CANARY.replace("+", " "), "CANARY", "canary"}
    texts = (text, unquote(text), unquote(unquote(text)))
    return sorted(form for form in forms if any(form in each for each in texts))
