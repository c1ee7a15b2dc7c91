"""Create the mirrors that MODELS_MIRRORS names, without the credentials for MODELS_URL."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from models_init.install.mirror_checks import CheckedMirror
from models_init.sources.lazy import LazySource
from models_init.sources.open_source import (
    SourceAccess,
    is_loopback,
    open_probe,
    open_source,
    registry_address,
    source_name,
)
from models_init.sources.wrappers.retry import RetryingProbe, RetryPolicy
from models_init.sources.wrappers.straggler import StragglerSource

if TYPE_CHECKING:
    from collections.abc import Callable

    from models_init.cli.settings import Settings
    from models_init.sources.azure.source import ContainerAccess
    from models_init.sources.http.client import TransportOptions
    from models_init.sources.oci.registry import RegistryAccess
    from models_init.sources.source import Source


def open_mirrors(settings: Settings, make_transport: Callable[[], TransportOptions]) -> list[Source]:
    """Return the mirrors in their order, each opened on first use."""
    return [StragglerSource(_open(settings, url, make_transport)) for url in settings.mirrors]


def checked_mirrors(settings: Settings, make_transport: Callable[[], TransportOptions]) -> list[CheckedMirror]:
    """Return the mirrors for a check, with few attempts for each."""
    found = []
    for url in settings.mirrors:
        source = _open(settings, url, make_transport)
        probe = open_probe(url, source, _access(settings, url, make_transport))
        found.append(CheckedMirror(source, RetryingProbe(probe, RetryPolicy(2, settings.retry_seconds))))
    return found


def _open(settings: Settings, url: str, make_transport: Callable[[], TransportOptions]) -> Source:
    access = _access(settings, url, make_transport)
    return LazySource(source_name(url, settings.prefix), lambda: open_source(url, settings.prefix, access))


def _access(settings: Settings, url: str, make_transport: Callable[[], TransportOptions]) -> SourceAccess:
    """Return the access to a mirror: a container without a token, or a registry with the user of a credential file."""

    def container() -> ContainerAccess:
        from models_init.sources.azure.source import ContainerAccess

        return ContainerAccess(url, settings.prefix, None, make_transport(), setting="MODELS_MIRRORS")

    def registry() -> RegistryAccess:
        from models_init.sources.oci.credential_files import RegistryCredentials, find_credentials
        from models_init.sources.oci.registry import RegistryAccess

        address, prefix = registry_address(url)
        host = urlsplit(address).netloc
        allow_http = settings.allow_http or is_loopback(url)

        def read_credentials(repository: str) -> RegistryCredentials | None:
            return find_credentials(host, repository, os.environ)

        return RegistryAccess(address, prefix, read_credentials, make_transport(), allow_http, settings.image_path)

    return SourceAccess(container, registry)
