"""License files in the forms that sites receive. All are made up, because the vendor's schema is not public."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from typing import Any

ENGINE = bytes(range(256)) * 4
"""Content of a `license.dat`: binary data that happens to contain line feeds."""


def expiring(days: float) -> str:
    """Return an expiry time this number of days from now."""
    return (datetime.now(UTC) + timedelta(days=days)).isoformat()


def fields(**changed: Any) -> dict[str, Any]:
    """Return the fields of a valid v2 license; a field given as None is left out."""
    usual = {
        "version": 2,
        "licensee": "Example Hospital",
        "realtime": True,
        "max_realtime_streams": 4,
        "languages": ["nl-nl", "en-us"],
        "expires": expiring(300),
        "signature": "bm90IGNoZWNrZWQ",
    }
    return {name: value for name, value in {**usual, **changed}.items() if value is not None}


def document(**changed: Any) -> bytes:
    """Return a v2 license as JSON."""
    return json.dumps(fields(**changed)).encode()


def jwt(content: dict[str, Any]) -> str:
    """Return a JSON Web Token with a signature that nobody verifies."""
    parts = [json.dumps({"alg": "RS256", "typ": "JWT"}), json.dumps(content), "signature"]
    return ".".join(urlsafe_b64encode(part.encode()).decode().rstrip("=") for part in parts)
