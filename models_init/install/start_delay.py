"""Compute how long a site waits before an install, so that many sites do not begin at the same moment."""

from __future__ import annotations

import hashlib


def start_delay(site_id: str, spread: float) -> float:
    """Return a delay from 0 up to `spread` seconds: the same in each run of a site, and uniform over all sites."""
    number = int.from_bytes(hashlib.sha256(site_id.encode()).digest()[:8], "big")
    return spread * number / 2**64
