"""Choose the kind of source by its URL: a blob container, a registry, a directory, or a bundle.

No other module interprets the form of a URL.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, urlsplit

from models_init.core.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Callable

    from models_init.sources.azure.source import ContainerAccess
    from models_init.sources.oci.registry import RegistryAccess
    from models_init.sources.probe import EndpointProbe
    from models_init.sources.source import Source

_PRINTABLE = re.compile(r"[!-~]+\Z")
_LOOPBACK = re.compile(r"(localhost|127(\.\d+){3}|\[::1\])(:\d+)?\Z")


class SourceAccess(NamedTuple):
    """Functions that return the access to a container or a registry; only the one for the kind of source is called."""

    container: Callable[[], ContainerAccess]
    registry: Callable[[], RegistryAccess]


def checked_url(text: str) -> str:
    """Return the URL of a source; a path becomes a `file://` URL. Raises `ValueError`."""
    if text.startswith("/"):
        return Path(text).as_uri()
    text = text.removesuffix("?")  # of a URL whose token was cut off
    url = urlsplit(text)
    if url.scheme == "oci":
        return _checked_registry(text)
    if url.scheme == "file" and (url.query or url.fragment):
        raise ValueError("has a ? or # that is not percent-encoded; give the path alone, such as /DIRECTORY")
    if url.query or url.fragment or url.password:
        raise ValueError("must not hold a token: put what follows the '?' into MODELS_SAS_TOKEN")
    if url.scheme == "file" and url.path.startswith("/") and url.netloc in {"", "localhost"}:
        return text
    has_address = url.hostname and url.port != 0 and _PRINTABLE.match(text)  # `port` raises ValueError if malformed
    if url.scheme not in {"https", "http"} or not has_address:
        raise ValueError(
            "is not a container URL such as https://ACCOUNT.blob.core.windows.net/CONTAINER, a registry such as "
            "oci://HOST/PREFIX, file:///DIRECTORY, or a bundle such as /PATH/site.tar"
        )
    return text


def checked_mirrors(text: str) -> tuple[str, ...]:
    """Return the URLs of mirrors, separated by commas or blanks, without duplicates. Raises `ValueError`."""
    return tuple(dict.fromkeys(map(_checked_mirror, re.split(r"[\s,]+", text.strip(", \t\r\n"))))) if text else ()


def _checked_mirror(text: str) -> str:
    try:
        _check_without_secret(text)
        return checked_url(text)
    except ValueError as error:
        raise ValueError(f": {redact(text)} {error}") from None


def _check_without_secret(text: str) -> None:
    url = urlsplit(text)
    if url.scheme in {"https", "http", "oci"} and (url.query or url.password):
        raise ValueError("must hold neither token nor password: mirrors are read without a token")


def _checked_registry(text: str) -> str:
    """Return the URL of a registry without a trailing slash. Raises `ValueError`."""
    from models_init.formats.oci import is_repository

    url = urlsplit(text)
    if url.query or url.fragment or url.username or url.password:
        raise ValueError(
            "must not contain a user or password: set MODELS_REGISTRY_USERNAME and MODELS_REGISTRY_PASSWORD or "
            "MODELS_REGISTRY_PASSWORD_FILE"
        )
    prefix = url.path.strip("/")
    if not url.hostname or url.port == 0 or not _PRINTABLE.match(text) or (prefix and not is_repository(prefix)):
        raise ValueError(
            "is not the address of a registry such as oci://registry.example/models, whose path consists of lower-case "
            "letters, digits and single . _ - between them"
        )
    return text.rstrip("/")


def is_registry(url: str) -> bool:
    """Return True if the source is a container registry."""
    return urlsplit(url).scheme == "oci"


def lacks_container(url: str) -> bool:
    """Return True if the URL names a web server without a path, which cannot be a container."""
    parts = urlsplit(url)
    return parts.scheme in {"https", "http"} and not parts.path.strip("/")


def is_azure(url: str) -> bool:
    """Return True if the URL's host is a storage account in a public or national Azure cloud."""
    return ".blob.core." in urlsplit(url).netloc


def sends_unencrypted(url: str) -> bool:
    """Return True if the URL itself specifies an unencrypted connection to another machine."""
    parts = urlsplit(url)
    return parts.scheme == "http" and not is_loopback(url)


def registry_address(url: str) -> tuple[str, str]:
    """Return the https address of the registry of an `oci://` URL, and the prefix of its repositories."""
    parts = urlsplit(url)
    return f"https://{parts.netloc}", parts.path.strip("/")


def is_loopback(url: str) -> bool:
    """Return True if the URL names this machine, by `localhost` or an address."""
    return bool(_LOOPBACK.match(urlsplit(url).netloc))


def local_directory(url: str) -> Path | None:
    """Return the directory of a `file://` URL, or None for other URLs."""
    parts = urlsplit(url)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


def is_remote(url: str) -> bool:
    """Return True if the source is reached over a network."""
    return local_directory(url) is None


def host_of(url: str) -> str:
    """Return the server of a URL with its port, or the path of a local source; for messages."""
    path = local_directory(url)
    return str(path) if path else urlsplit(url).netloc.rpartition("@")[2]


def source_name(url: str, prefix: str) -> str:
    """Return the name that the source at `url` has, without opening it."""
    return url if is_registry(url) or not is_remote(url) else f"{url.rstrip('/')}/{prefix}"


def open_source(url: str, prefix: str, access: SourceAccess) -> Source:
    """Return the source at `url`. A container or a registry is opened on first use, with the result of `access`."""
    path = local_directory(url)
    if not path:
        from models_init.sources.lazy import LazySource

        return LazySource(source_name(url, prefix), partial(_open_remote, url, access))
    from models_init.sources.multipart import is_bundle

    if is_bundle(path):
        from models_init.sources.bundle import BundleSource

        return BundleSource(path)
    from models_init.sources.directory import DirectorySource

    return DirectorySource(path)


def open_probe(url: str, source: Source, access: SourceAccess) -> EndpointProbe:
    """Return the probe of the source at `url`. It makes one attempt and does not retry."""
    if local_directory(url):
        from models_init.sources.probe import UnauthenticatedProbe

        return UnauthenticatedProbe(source)
    if is_registry(url):
        from models_init.sources.oci.source import OciProbe

        return OciProbe(access.registry())
    from models_init.sources.azure.source import AzureProbe

    return AzureProbe(access.container())


def _open_remote(url: str, access: SourceAccess) -> Source:
    if is_registry(url):
        from models_init.sources.oci.source import OciSource

        return OciSource(access.registry())
    from models_init.sources.azure.source import AzureSource

    return AzureSource(access.container())
