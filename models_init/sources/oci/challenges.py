"""Parse the header `WWW-Authenticate`, in which a registry requests authentication (RFC 9110, section 11.6.1)."""

from __future__ import annotations

import re
from dataclasses import dataclass

_PARAMETER = r'[a-z_]+\s*=\s*(?:"(?:[^"\\]|\\.)*"|[^\s,"]+)'
_CHALLENGE = re.compile(rf"(?:^|[,\s])(Basic|Bearer)\s+({_PARAMETER}(?:\s*,\s*{_PARAMETER})*)", re.IGNORECASE)
_FIELD = re.compile(r'([a-z_]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Challenge:
    """An authentication challenge of a registry: the scheme `basic` or `bearer`; the other fields belong to `bearer`.

    `error` is `insufficient_scope` if the token is valid but does not include the repository.
    """

    scheme: str
    realm: str = ""
    service: str = ""
    scope: str = ""
    error: str = ""


def parse_challenge(header: str) -> Challenge | None:
    """Return the Bearer challenge of a header, or else its Basic challenge, or None if it has neither."""
    found: dict[str, Challenge] = {}
    for match in _CHALLENGE.finditer(header):
        fields = {name.lower(): _unescaped(quoted) or bare for name, quoted, bare in _FIELD.findall(match[2])}
        known = {name: fields.get(name, "") for name in ("realm", "service", "scope", "error")}
        found.setdefault(match[1].lower(), Challenge(match[1].lower(), **known))
    return found.get("bearer") or found.get("basic")


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)
