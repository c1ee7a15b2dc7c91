"""What a connection leads to: a server, and the proxy on the way to it if there is one."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}
_PLAIN = re.compile(r"[!-~]+\Z")


class Origin(NamedTuple):
    """A server: the host is an IPv6 address without brackets, too; the port is never left out."""

    scheme: str
    host: str
    port: int

    @staticmethod
    def of(url: str) -> Origin:
        """The server of a web address."""
        parts = urlsplit(url)
        return Origin(parts.scheme, parts.hostname or "", parts.port or _DEFAULT_PORTS[parts.scheme])

    @property
    def address(self) -> str:
        """Host and port, as in a request to a proxy."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def name(self) -> str:
        """As in a header, or a message: a URL may hold a user's name and more."""
        return self.address.removesuffix(f":{_DEFAULT_PORTS[self.scheme]}")

    @property
    def tls_name(self) -> str:
        """What the certificate says: a dot at the end only keeps the resolver from looking further."""
        return self.host.rstrip(".")


class Peer(NamedTuple):
    """What a connection leads to: a server, through a proxy if there is one."""

    origin: Origin
    proxy: str

    @property
    def has_tunnel(self) -> bool:
        """Whether the proxy is to pass on bytes that it cannot read."""
        return bool(self.proxy) and self.origin.scheme == "https"


def web_address(url: str, base: str = "") -> str:
    """A URL without a fragment, relative to another one if there is one; empty where it is no web address."""
    try:
        parts = urlsplit(urljoin(base, url))._replace(fragment="")
        is_one = parts.scheme in _DEFAULT_PORTS and parts.hostname and parts.port != 0
    except ValueError:  # brackets, or a port, that are none
        return ""
    return parts.geturl() if is_one and _PLAIN.match(parts.geturl()) else ""
