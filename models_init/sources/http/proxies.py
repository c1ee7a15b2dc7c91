"""Find the proxy for a server in the environment: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY.

A lower-case variable takes precedence over the upper-case one, even if it is empty, as in Python's standard library.
The entries of NO_PROXY are separated by commas or spaces; each is one of:

    *                                       all servers
    example.com .example.com *.example.com  the name and all its subdomains
    10.1.2.3 ::1 [::1]                      the address
    10.0.0.0/8 fd00::/8                     all addresses of the network
    example.com:8443 10.1.2.3:80 [::1]:443  the same, for one port (not for a network)

Names are not resolved: a host name in a URL never matches an address or a network.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, NamedTuple

from models_init.core.errors import UsageError
from models_init.sources.http.origin import web_address

if TYPE_CHECKING:
    from collections.abc import Mapping

    from models_init.sources.http.origin import Origin

_ENTRY = re.compile(r"(?:\[(?P<ipv6>[^]]+)\]|(?P<host>[^][:]+))(?::(?P<port>[1-9][0-9]{0,4}))?\Z")
_PART = r"[a-z0-9_-]+"
_DOMAIN = re.compile(rf"(?:\*?\.)?(?P<name>(?:{_PART}\.)*(?![0-9]+\.?\Z){_PART})\.?\Z")  # no name ends in a number
_EXAMPLE = "such as http://proxy.example:3128"


class _Exemption(NamedTuple):
    """Servers that are reached directly: a name with its subdomains, or a network.

    An empty name means all servers, port 0 all ports.
    """

    hosts: str | IPv4Network | IPv6Network
    port: int = 0

    def covers(self, origin: Origin) -> bool:
        if self.port not in (0, origin.port):
            return False
        host = origin.host.rstrip(".").lower()
        if isinstance(self.hosts, str):
            return not self.hosts or f".{host}".endswith(f".{self.hosts}")
        try:
            return ip_address(host) in self.hosts
        except ValueError:  # a name
            return False


def proxy_for(origin: Origin, environment: Mapping[str, str]) -> str:
    """Return the URL of the proxy for a server, or an empty string if it is reached directly.

    Raises `UsageError`: the variable does not name an HTTP proxy. The message contains the name of the variable but not
    its value, which may contain a password.
    """
    variable, proxy = _proxy_variable(origin.scheme, environment)
    if not proxy or is_exempt(origin, environment):
        return ""
    if proxy.lower().startswith("socks"):
        raise UsageError(f"{variable} names a SOCKS proxy, which is not supported; use an HTTP proxy, {_EXAMPLE}")
    address = web_address(proxy if "://" in proxy else f"http://{proxy}")
    if not address:
        raise UsageError(f"{variable} is not the address of a proxy; use one {_EXAMPLE}")
    return address


def is_exempt(origin: Origin, environment: Mapping[str, str]) -> bool:
    """Return True if NO_PROXY exempts the server from using a proxy."""
    exemptions = map(_parsed, _no_proxy_entries(environment))
    return any(exemption.covers(origin) for exemption in exemptions if exemption)


def unusable_no_proxy_entries(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the entries of NO_PROXY that cannot match any server, for messages; text before an `@` is masked."""
    return tuple(re.sub(".*@", "***@", entry) for entry in _no_proxy_entries(environment) if not _parsed(entry))


def _proxy_variable(scheme: str, environment: Mapping[str, str]) -> tuple[str, str]:
    """Return the variable for a scheme and its value, or ALL_PROXY if the scheme's own is not set, as in curl."""
    own = _variable(scheme, environment)
    return own if own[0] in environment else _variable("all", environment)


def _variable(name: str, environment: Mapping[str, str]) -> tuple[str, str]:
    lower, upper = f"{name}_proxy", f"{name}_proxy".upper()
    if lower in environment:
        return lower, environment[lower].strip()
    if upper == "HTTP_PROXY" and "REQUEST_METHOD" in environment:  # under CGI a client can set it by a `Proxy` header
        return lower, ""
    return upper, environment.get(upper, "").strip()


def _no_proxy_entries(environment: Mapping[str, str]) -> list[str]:
    return [entry for entry in re.split(r"[,\s]+", _variable("no", environment)[1]) if entry]


def _parsed(entry: str) -> _Exemption | None:
    """Parse an entry of NO_PROXY; return None if it cannot match any server."""
    if entry == "*":
        return _Exemption("")
    if entry.count(":") > 1 and "[" not in entry:
        return _network(entry)
    found = _ENTRY.match(entry.lower())
    port = int(found["port"] or 0) if found else 0
    if not found or port >= 1 << 16:
        return None
    if found["ipv6"]:
        return _network(found["ipv6"], port)
    domain = _DOMAIN.match(found["host"])
    return _Exemption(domain["name"], port) if domain else _network(found["host"], port)


def _network(text: str, port: int = 0) -> _Exemption | None:
    """Parse an address or a network; return None if it is neither, or a network with a port."""
    try:
        return None if "/" in text and port else _Exemption(ip_network(text.rstrip("."), strict=False), port)
    except ValueError:
        return None
