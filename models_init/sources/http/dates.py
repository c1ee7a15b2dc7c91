"""Parse the dates and waiting times of HTTP headers."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


def http_date(text: str) -> datetime | None:
    """Parse the date of a header; return None if it is invalid. A date without a time zone is in UTC."""
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def retry_seconds(retry_after: str, now: datetime | None) -> float | None:
    """Parse `Retry-After` as seconds. A date is relative to `now`, the service's time, or to this machine's clock."""
    if retry_after.isdecimal():
        return float(retry_after)
    until = http_date(retry_after)
    return max(0.0, (until - (now or datetime.now(UTC))).total_seconds()) if until else None
