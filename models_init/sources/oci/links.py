"""Keep the signed URLs to which a registry redirects for blobs, until shortly before they expire."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from urllib.parse import parse_qs, urlsplit

from models_init.core.redaction import register

_UNKNOWN_LIFE = 60.0  # seconds that a URL without a known expiry time is kept; most live for 5 to 20 minutes
_LONGEST_LIFE = 1200.0
_MARGIN = 0.1  # the last part of a URL's life, in which it is no longer used; at most `_LONGEST_MARGIN` seconds
_LONGEST_MARGIN = 30.0
_STAMP = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True, slots=True)
class BlobLink:
    """A URL that is a secret, and the time of the monotonic clock until which it is used. The repr shows neither."""

    url: str
    until: float

    def __repr__(self) -> str:
        return "BlobLink(...)"

    @property
    def is_usable(self) -> bool:
        """True unless it has expired or is about to expire."""
        return monotonic() < self.until


def make_link(url: str) -> BlobLink:
    """Return the link of a redirect, and register its query string as a secret to redact."""
    if query := urlsplit(url).query:
        register(query)
    life = _life(query, datetime.now(UTC).timestamp())
    return BlobLink(url, monotonic() + life - min(life * _MARGIN, _LONGEST_MARGIN))


def _life(query: str, now: float) -> float:
    """Return the seconds until the URL expires by this machine's clock, or 0 if it seems to have expired."""
    fields = {name.lower(): values[0] for name, values in parse_qs(query).items()}
    until = _moment(fields.get("se", "") or fields.get("expires", ""))
    for vendor in ("x-amz", "x-goog"):
        if (begin := _stamp(fields.get(f"{vendor}-date", ""))) and fields.get(f"{vendor}-expires", "").isdecimal():
            until = begin + float(fields[f"{vendor}-expires"])
    return _UNKNOWN_LIFE if until is None else min(max(0.0, until - now), _LONGEST_LIFE)


def _moment(text: str) -> float | None:
    """Parse an expiry time: seconds since 1970, or ISO 8601 as Azure writes it."""
    if text.isdecimal():
        return float(text)
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _stamp(text: str) -> float | None:
    try:
        return datetime.strptime(text, _STAMP).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
