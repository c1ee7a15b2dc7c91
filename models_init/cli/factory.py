"""Create the source, its probe and the signature policy from the settings."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from models_init.cli.mirrors import checked_mirrors, open_mirrors
from models_init.core.errors import UsageError
from models_init.install.trust import AcceptUnsigned, RequireSignature
from models_init.sources.http.proxies import unusable_no_proxy_entries
from models_init.sources.open_source import (
    SourceAccess,
    is_loopback,
    is_registry,
    is_remote,
    open_probe,
    open_source,
    registry_address,
)
from models_init.sources.wrappers.metered import MeteredSource
from models_init.sources.wrappers.mirrors import MirroredSource
from models_init.sources.wrappers.rate_limit import RateLimitedSource
from models_init.sources.wrappers.retry import RetryingProbe, RetryingSource, RetryPolicy
from models_init.sources.wrappers.straggler import StragglerSource

if TYPE_CHECKING:
    from collections.abc import Callable

    from models_init.cli.settings import Settings
    from models_init.core.errors import AccessError
    from models_init.core.events import Observer
    from models_init.install.mirror_checks import CheckedMirror
    from models_init.install.trust import SignaturePolicy
    from models_init.sources.azure.source import ContainerAccess
    from models_init.sources.http.client import TransportOptions
    from models_init.sources.http.request_log import RequestRecord
    from models_init.sources.oci.registry import RegistryAccess
    from models_init.sources.probe import EndpointProbe
    from models_init.sources.source import Source
    from models_init.sources.wrappers.retry import RetryObserver


def source_of(settings: Settings, observer: Observer, retries: RetryObserver, received: dict[str, int]) -> Source:
    """Return the source that MODELS_URL names, preceded by its mirrors; each is opened on first use.

    `retries` gets the retries of MODELS_URL, not those of mirrors. The received bytes of archives are added to
    `received`, by the name of their source.
    """
    access = SourceAccess(lambda: _access(settings, observer), lambda: _registry_access(settings, observer))
    mirrors = [
        MeteredSource(mirror, received) for mirror in open_mirrors(settings, lambda: _transport(settings, observer))
    ]
    origin = StragglerSource(open_source(settings.url, settings.prefix, access))
    policy = RetryPolicy(seconds=settings.retry_seconds)
    source: Source = MeteredSource(RetryingSource(origin, policy, retries), received)
    if mirrors:
        source = MirroredSource(source, mirrors, observer, is_signed=settings.requires_signatures)
    return RateLimitedSource(source, settings.max_rate) if settings.max_rate else source


def probe_of(settings: Settings, source: Source, observer: Observer) -> EndpointProbe:
    """Return a probe of the source named by MODELS_URL, limited to a few attempts."""
    access = SourceAccess(
        lambda: _probe_access(settings, observer), lambda: registry_access(settings, _transport(settings, observer))
    )
    probe = open_probe(settings.url, source, access)
    if not is_remote(settings.url):
        return probe
    return RetryingProbe(probe, RetryPolicy(attempts=3, seconds=settings.retry_seconds))


def mirrors_to_check(settings: Settings, observer: Observer) -> list[CheckedMirror]:
    """Return the mirrors for a check."""
    return checked_mirrors(settings, lambda: _transport(settings, observer))


def trust_of(settings: Settings, observer: Observer) -> SignaturePolicy:
    """Return the signature policy of the settings. Raises `UsageError`."""
    keys = settings.read_public_keys()
    return RequireSignature(keys, observer) if keys else AcceptUnsigned()


def require_usable_token(settings: Settings) -> None:
    """Raise the errors of the token and of the CA file that can be found without a network.

    Nothing is checked if there are mirrors, which may need neither of the two.
    """
    if is_remote(settings.url) and not is_registry(settings.url) and not settings.mirrors:
        _check_files(settings)
        _probe_access(settings).usable_token()


def ignored_no_proxy_entries(settings: Settings) -> tuple[str, ...]:
    """Return the entries of NO_PROXY that cannot match any server; none if all sources are local."""
    return unusable_no_proxy_entries(os.environ) if any(map(is_remote, (settings.url, *settings.mirrors))) else ()


def _access(settings: Settings, observer: Observer) -> ContainerAccess:
    """Return the access to the container for an install; warn about entries of NO_PROXY that cannot match."""
    from models_init.sources.azure.source import ContainerAccess, TokenRefresh

    def report_refusal(refusal: AccessError) -> None:
        observer.event(
            "token_refused",
            level="warning",
            error=str(refusal),
            text=f"waiting {settings.token_seconds:.0f} s for a newer token in {settings.token_file}",
        )

    _check_files(settings)
    _warn_of_ignored_entries(settings, observer)
    renewal = TokenRefresh(settings.token_seconds, report_refusal) if settings.token_file else None
    read_token = None if settings.anonymous else settings.read_token
    return ContainerAccess(settings.url, settings.prefix, read_token, _transport(settings, observer), renewal)


def _transport(settings: Settings, observer: Observer | None = None) -> TransportOptions:
    """Return the options for connections; requests are logged if there is an observer."""
    from models_init.sources.http.client import TransportOptions

    if not observer:
        return TransportOptions(settings.idle_seconds, settings.ca_file)
    return TransportOptions(
        settings.idle_seconds, settings.ca_file, _receive_buffer(settings), _request_log(settings, observer)
    )


def _check_files(settings: Settings) -> None:
    """Raise one `UsageError` for both the token and the CA file, before any connection."""
    if not settings.ca_file:
        return
    from models_init.sources.http.tls import client_context

    faults: list[str] = []
    for read in (lambda: settings.anonymous or settings.read_token(), lambda: client_context(settings.ca_file)):
        try:
            read()
        except UsageError as error:
            faults += error.faults
    if faults:
        raise UsageError(*faults)


def _registry_access(settings: Settings, observer: Observer) -> RegistryAccess:
    """Return the access to the registry for an install; warn about entries of NO_PROXY that cannot match."""
    _warn_of_ignored_entries(settings, observer)
    return registry_access(settings, _transport(settings, observer))


def _request_log(settings: Settings, observer: Observer) -> Callable[[RequestRecord], None] | None:
    """Return a function that logs a request at level debug, or None at any other level."""
    if settings.log_level != "debug":
        return None

    def log(record: RequestRecord) -> None:
        facts = {"range": record.requested_range, "error": record.error}
        observer.event(
            "request",
            level="debug",
            method=record.method,
            url=record.url,
            status=record.status,
            received_bytes=record.received,
            took_seconds=round(record.seconds, 3),
            connection=record.connection,
            **{name: text for name, text in facts.items() if text},
        )

    return log


def registry_access(settings: Settings, transport: TransportOptions | None = None) -> RegistryAccess:
    """Return the access to the registry: with the user of the settings, else with that of a credential file."""
    from models_init.sources.oci.credential_files import RegistryCredentials, find_credentials
    from models_init.sources.oci.registry import RegistryAccess

    url, prefix = registry_address(settings.url)

    def read_credentials(repository: str) -> RegistryCredentials | None:
        if settings.registry_user:
            password, origin = settings.read_registry_password()
            return RegistryCredentials(settings.registry_user, password, "", origin)
        return find_credentials(urlsplit(url).netloc, repository, os.environ)

    allow_http = settings.allow_http or is_loopback(settings.url)
    transport = transport or _transport(settings)
    return RegistryAccess(url, prefix, read_credentials, transport, allow_http, settings.image_path)


def _warn_of_ignored_entries(settings: Settings, observer: Observer) -> None:
    if ignored := ignored_no_proxy_entries(settings):
        observer.event(
            "no_proxy_ignored",
            level="warning",
            entries=list(ignored),
            text="these entries of NO_PROXY cannot match any server; use a host, a domain, an address or a network",
        )


def _probe_access(settings: Settings, observer: Observer | None = None) -> ContainerAccess:
    """Return the access to the container for a check."""
    from models_init.sources.azure.source import ContainerAccess

    read_token = None if settings.anonymous else settings.read_token
    return ContainerAccess(settings.url, settings.prefix, read_token, _transport(settings, observer))


def _receive_buffer(settings: Settings) -> int:
    """Return the kernel's receive buffer for a connection in bytes, 0 for the default.

    With a limited rate, the buffers of all connections together hold about a tenth of a second's bytes.
    """
    if not settings.max_rate:
        return 0
    return min(1 << 20, max(16 << 10, settings.max_rate // 10 // settings.connections))
