"""The origin of a URL (RFC 6454), and the route to it, directly or through a proxy."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}
_PRINTABLE = re.compile(r"[!-~]+\Z")
_AUTHORITY = re.compile(r"(?:[^\\]*@)?(?:\[[^][]+\]|[^][\\]+)(?::[0-9]*)?\Z")
"""User, host and port. `urlsplit` also accepts a backslash, and brackets at other places; yarl rejects both."""


class Origin(NamedTuple):
    """Scheme, host and port of a server. An IPv6 address has no brackets; the port is always set."""

    scheme: str
    host: str
    port: int

    @staticmethod
    def of(url: str) -> Origin:
        """Return the origin of a web address."""
        parts = urlsplit(url)
        return Origin(parts.scheme, parts.hostname or "", parts.port or _DEFAULT_PORTS[parts.scheme])

    @property
    def address(self) -> str:
        """Host and port in the form of a CONNECT request."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def name(self) -> str:
        """Host, and port unless it is the default. Messages use it because a URL may contain a user name and more."""
        return self.address.removesuffix(f":{_DEFAULT_PORTS[self.scheme]}")


class Route(NamedTuple):
    """The route to a server; `proxy` is the proxy's URL, or empty for a direct connection."""

    origin: Origin
    proxy: str

    @property
    def has_tls(self) -> bool:
        """True if the connection to the server or the proxy uses TLS."""
        return self.origin.scheme == "https" or self.proxy.startswith("https:")


def web_address(url: str, base: str = "") -> str:
    """Return a URL without its fragment, resolved against `base`, or "" if it is not an http or https address."""
    try:
        parts = urlsplit(urljoin(base, url))._replace(fragment="")
        is_one = (
            parts.scheme in _DEFAULT_PORTS and parts.hostname and parts.port != 0 and _AUTHORITY.match(parts.netloc)
        )
    except ValueError:  # brackets or a port that cannot be parsed
        return ""
    return parts.geturl() if is_one and _PRINTABLE.match(parts.geturl()) else ""
