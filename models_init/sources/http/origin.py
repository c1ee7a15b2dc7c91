"""The origin of a URL (RFC 6454), and the route to it: directly, or through a proxy."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}
_PRINTABLE = re.compile(r"[!-~]+\Z")


class Origin(NamedTuple):
    """A server: an IPv6 address is a host without brackets, and the port is never left out."""

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
        """Host and port, as in a request to a proxy."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def name(self) -> str:
        """Host, and port if it is not the default one: for messages, since a URL may hold a user's name and more."""
        return self.address.removesuffix(f":{_DEFAULT_PORTS[self.scheme]}")


class Route(NamedTuple):
    """The way to a server; `proxy` is the proxy's URL, or empty."""

    origin: Origin
    proxy: str

    @property
    def has_tls(self) -> bool:
        """Whether the server or the proxy is reached through TLS."""
        return self.origin.scheme == "https" or self.proxy.startswith("https:")


def web_address(url: str, base: str = "") -> str:
    """Return a URL without its fragment, resolved against `base`; empty if it is not an http or https address."""
    try:
        parts = urlsplit(urljoin(base, url))._replace(fragment="")
        is_one = parts.scheme in _DEFAULT_PORTS and parts.hostname and parts.port != 0
    except ValueError:  # brackets or a port that cannot be parsed
        return ""
    return parts.geturl() if is_one and _PRINTABLE.match(parts.geturl()) else ""
