"""Which source and whose signatures the settings name: what is needed to open it is imported by need."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from models_init.cli.settings import Settings
    from models_init.core.errors import AccessError, UnavailableError
    from models_init.core.events import Watcher
    from models_init.install.trust import Trust
    from models_init.sources.probe import Approach
    from models_init.sources.source import Source


def source_of(settings: Settings, watcher: Watcher, on_retry: Callable[[UnavailableError, float], None]) -> Source:
    """The source that MODELS_URL names, opened when it is first asked; `on_retry` is told errors and waits."""
    from models_init.sources.wrappers.rate_limit import LimitedSource  # noqa: PLC0415 - by need
    from models_init.sources.wrappers.retry import Patience, RetryingSource  # noqa: PLC0415 - by need
    from models_init.sources.wrappers.straggler import BriskSource  # noqa: PLC0415 - by need

    source: Source = BriskSource(_plain(settings, watcher))
    if settings.max_rate:
        source = LimitedSource(source, settings.max_rate)
    return RetryingSource(source, Patience(seconds=settings.retry_seconds), on_retry)


def token_expires(settings: Settings) -> datetime | None:
    """When the newest token ends, if there is one that says so."""
    from models_init.cli.settings import local_folder  # noqa: PLC0415 - by need
    from models_init.core.errors import UsageError  # noqa: PLC0415 - by need
    from models_init.sources.sas import SasToken  # noqa: PLC0415 - by need

    if local_folder(settings.url):
        return None
    try:
        return SasToken.make(settings.read_token()).expires
    except UsageError:
        return None


def approach_of(settings: Settings, source: Source) -> Approach:
    """How the source that MODELS_URL names is reached; an attempt or two are all that is made."""
    from models_init.cli.settings import local_folder  # noqa: PLC0415 - by need
    from models_init.sources.probe import OpenApproach  # noqa: PLC0415 - by need

    if local_folder(settings.url):
        return OpenApproach(source)
    from models_init.sources.azure import Access, AzureApproach  # noqa: PLC0415 - by need
    from models_init.sources.http.client import TransportOptions  # noqa: PLC0415 - by need
    from models_init.sources.wrappers.retry import Patience, PatientApproach  # noqa: PLC0415 - by need

    transport = TransportOptions(settings.idle_seconds, settings.ca_file)
    access = Access(settings.url, settings.prefix, settings.read_token, transport)
    return PatientApproach(AzureApproach(access), Patience(attempts=3, seconds=settings.retry_seconds))


def trust_of(settings: Settings, watcher: Watcher) -> Trust:
    """Whom the settings have us believe. Raises `UsageError`."""
    from models_init.install.trust import Anybody, SignedBy  # noqa: PLC0415 - by need

    keys = settings.read_public_keys()
    return SignedBy(keys, watcher) if keys else Anybody()


def ignored_no_proxy_entries(settings: Settings) -> tuple[str, ...]:
    """The entries of NO_PROXY that cannot match any server; none where no server is asked."""
    from models_init.cli.settings import local_folder  # noqa: PLC0415 - by need

    if local_folder(settings.url):
        return ()
    from models_init.sources.http.proxies import unusable_no_proxy_entries  # noqa: PLC0415 - by need

    return unusable_no_proxy_entries(os.environ)


def _plain(settings: Settings, watcher: Watcher) -> Source:
    from models_init.cli.settings import local_folder  # noqa: PLC0415 - by need
    from models_init.sources.lazy import DeferredSource  # noqa: PLC0415 - by need

    path = local_folder(settings.url)
    if not path:
        return DeferredSource(f"{settings.url.rstrip('/')}/{settings.prefix}", lambda: _container(settings, watcher))
    from models_init.sources.multipart import is_bundle  # noqa: PLC0415 - by need

    if is_bundle(path):
        from models_init.sources.bundle import BundleSource  # noqa: PLC0415 - by need

        return BundleSource(path)
    from models_init.sources.directory import DirectorySource  # noqa: PLC0415 - by need

    return DirectorySource(path)


def _container(settings: Settings, watcher: Watcher) -> Source:
    from models_init.sources.azure import Access, AzureSource, Renewal  # noqa: PLC0415 - HTTP takes a third of a second
    from models_init.sources.http.client import TransportOptions  # noqa: PLC0415 - the same

    def tell(refusal: AccessError) -> None:
        watcher.event(
            "token_refused",
            level="warning",
            error=str(refusal),
            text=f"waiting {settings.token_seconds:.0f} s for a newer token in {settings.token_file}",
        )

    if ignored := ignored_no_proxy_entries(settings):
        watcher.event(
            "no_proxy_ignored",
            level="warning",
            entries=list(ignored),
            text="these entries of NO_PROXY cannot match any server; use a host, a domain, an address or a network",
        )
    renewal = Renewal(settings.token_seconds, tell) if settings.token_file else None
    transport = TransportOptions(settings.idle_seconds, settings.ca_file, _receive_buffer(settings))
    return AzureSource(Access(settings.url, settings.prefix, settings.read_token, transport, renewal))


def _receive_buffer(settings: Settings) -> int:
    """Bytes that the kernel may take in for a connection: with a limited rate a tenth of a second's for all, about."""
    if not settings.max_rate:
        return 0
    return min(1 << 20, max(16 << 10, settings.max_rate // 10 // settings.connections))
