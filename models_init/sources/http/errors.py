"""Translate network errors into this program's exceptions; those of aiohttp may contain a URL with its token.

There is one function for each stage: connecting, the response head, and the body.
"""

from __future__ import annotations

import os
import socket
import ssl
from typing import TYPE_CHECKING

from models_init.core.errors import ModelsInitError, SourceError, UnavailableError
from models_init.sources.http.aiohttp_import import aiohttp

if TYPE_CHECKING:
    from models_init.sources.http.origin import Route


class NotTlsError(SourceError):
    """The server accepts connections, but does not answer as a TLS server."""


_NOT_HTTP = "answered with something other than HTTP; check MODELS_URL and the proxy"


def network_error(error: Exception, route: Route) -> ModelsInitError:
    """Return the exception for a request that got no response."""
    host = route.origin.name
    via = f"{host} (through a proxy)" if route.proxy else host
    match error:
        case aiohttp.ClientHttpProxyError():
            return proxy_status_error(error.status, route)
        case aiohttp.ClientConnectorCertificateError():
            return _certificate_error(error)
        case aiohttp.ClientConnectorError():
            return _connect_error(error.os_error, route, via)
        case ValueError():  # also aiohttp.InvalidURL and UnicodeError
            return _name_error(host)
        case _:
            return body_error(error, via)


def proxy_status_error(status: int, route: Route) -> SourceError:
    """Return the exception for an error status in a proxy's response to CONNECT."""
    host = route.origin.name
    if _is_transient(status):
        return UnavailableError(f"the proxy cannot connect to {host} at present: it answered {status}; check the proxy")
    variable = f"{route.origin.scheme.upper()}_PROXY"
    return SourceError(f"the proxy refuses to connect to {host}: it answered {status}; check {variable}")


def head_error(response: aiohttp.ClientResponse, route: Route) -> UnavailableError | None:
    """Return an exception if the length of the response's body is ambiguous (RFC 9112, section 6.3), else None.

    aiohttp's parser accepts such responses, which a proxy may interpret differently.
    """
    lengths = response.headers.getall("Content-Length", [])
    codings = response.headers.getall("Transfer-Encoding", [])
    is_clear = (len(set(lengths)) <= 1 and not codings) or (not lengths and [*map(str.lower, codings)] == ["chunked"])
    return None if is_clear else UnavailableError(f"{route.origin.name} {_NOT_HTTP}")


def body_error(error: Exception, host: str) -> UnavailableError:
    """Return the exception for a response that ended too early; a retry may succeed."""
    match error:
        case TimeoutError():
            return UnavailableError(f"{host} did not answer in time; check the network")
        case aiohttp.ClientResponseError():
            return UnavailableError(f"{host} {_NOT_HTTP}")
        case _:
            return UnavailableError(f"{host} closed the connection before the end of its response; check the network")


def _certificate_error(error: aiohttp.ClientConnectorCertificateError) -> SourceError:
    """Return an exception that names the owner of the certificate, which may be the server or the proxy."""
    cause = error.certificate_error
    reason = cause.verify_message if isinstance(cause, ssl.SSLCertVerificationError) else "it is for another name"
    host = error.host if error.port == 443 else f"{error.host}:{error.port}"
    return SourceError(
        f"the certificate of {host} is not trusted: {reason}; set MODELS_CA_FILE to the file with your CA's certificate"
    )


def _connect_error(error: OSError, route: Route, via: str) -> ModelsInitError:
    host = route.origin.name
    match error:
        case ssl.SSLError():
            return NotTlsError(f"{host} does not answer as a TLS server; check MODELS_URL and the proxy")
        case TimeoutError() | ConnectionResetError() | ConnectionAbortedError():
            return body_error(error, via)
        case _ if route.proxy:
            return UnavailableError(f"the proxy cannot be reached; check {route.origin.scheme.upper()}_PROXY")
        case socket.gaierror():
            return _name_error(host)
        case _:
            why = os.strerror(error.errno) if error.errno else "no connection"
            return UnavailableError(f"{host} cannot be reached: {why}; check the network")


def _name_error(host: str) -> UnavailableError:
    return UnavailableError(f"the host name {host} cannot be resolved; check MODELS_URL, DNS and the proxy")


def _is_transient(status: int) -> bool:
    return status in (408, 429) or status >= 500
