"""Choose the kind of source by its URL: a blob container, a directory, or a bundle.

No other module looks at the form of a URL.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable

    from models_init.sources.azure import ContainerAccess
    from models_init.sources.probe import EndpointProbe
    from models_init.sources.source import Source

_PRINTABLE = re.compile(r"[!-~]+\Z")


def checked_url(text: str) -> str:
    """Return the URL of a source; a path becomes a `file://` URL. Raises `ValueError`."""
    if text.startswith("/"):
        return Path(text).as_uri()
    text = text.removesuffix("?")  # of a URL whose token was cut off
    url = urlsplit(text)
    if url.query or url.fragment or url.password:
        raise ValueError("must not hold a token: put what follows the '?' into MODELS_SAS_TOKEN")
    if url.scheme == "file" and url.path.startswith("/") and url.netloc in {"", "localhost"}:
        return text
    has_address = url.hostname and url.port != 0 and _PRINTABLE.match(text)  # `port` raises ValueError if malformed
    if url.scheme not in {"https", "http"} or not has_address or not url.path.strip("/"):
        raise ValueError(
            "is not a container URL such as https://ACCOUNT.blob.core.windows.net/CONTAINER, file:///DIRECTORY, or a "
            "bundle such as /PATH/site.tar"
        )
    return text


def local_directory(url: str) -> Path | None:
    """Return the directory of a `file://` URL, None for other URLs."""
    parts = urlsplit(url)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


def is_remote(url: str) -> bool:
    """Return True if the source is reached over a network."""
    return local_directory(url) is None


def host_of(url: str) -> str:
    """Return the server of a URL with its port, or the path of a local source; for messages."""
    path = local_directory(url)
    return str(path) if path else urlsplit(url).netloc.rpartition("@")[2]


def open_source(url: str, prefix: str, access: Callable[[], ContainerAccess]) -> Source:
    """Return the source at `url`. A container is opened on first use, with the result of `access`."""
    path = local_directory(url)
    if not path:
        from models_init.sources.lazy import LazySource

        return LazySource(f"{url.rstrip('/')}/{prefix}", lambda: _container(access()))
    from models_init.sources.multipart import is_bundle

    if is_bundle(path):
        from models_init.sources.bundle import BundleSource

        return BundleSource(path)
    from models_init.sources.directory import DirectorySource

    return DirectorySource(path)


def open_probe(url: str, source: Source, access: Callable[[], ContainerAccess]) -> EndpointProbe:
    """Return the probe of the source at `url`. It makes one attempt and does not retry."""
    if local_directory(url):
        from models_init.sources.probe import UnauthenticatedProbe

        return UnauthenticatedProbe(source)
    from models_init.sources.azure import AzureProbe

    return AzureProbe(access())


def _container(access: ContainerAccess) -> Source:
    from models_init.sources.azure import AzureSource

    return AzureSource(access)
