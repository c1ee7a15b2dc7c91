"""Temporary."""

from __future__ import annotations

from urllib.request import getproxies, proxy_bypass

from models_init.errors import UsageError
from models_init.sources.http.origin import Origin, web_address


def proxy_of(origin: Origin) -> str:
    proxy = "" if proxy_bypass(f"{origin.host}:{origin.port}") else getproxies().get(origin.scheme, "")
    if not proxy:
        return ""
    address = web_address(proxy if "://" in proxy else f"http://{proxy}")
    if not address:
        raise UsageError(f"{origin.scheme.upper()}_PROXY is no proxy's address, such as http://proxy.example:3128")
    return address
