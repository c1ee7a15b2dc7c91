"""Determine when the token expires, and warn if that is before the fetch ends (observer decorator)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import TYPE_CHECKING

from models_init.core.errors import UsageError
from models_init.sources.azure.sas import SasToken
from models_init.sources.open_source import is_registry, is_remote

if TYPE_CHECKING:
    from collections.abc import Callable

    from models_init.cli.settings import Settings
    from models_init.core.events import Observer

_FIRST_CHECK, _CHECK_INTERVAL = 3.0, 10.0  # seconds; the rate is too low before, during the slow start


def token_expires(settings: Settings) -> datetime | None:
    """Return the expiry time of the newest token, or None if there is no token or no such time."""
    if settings.anonymous or not is_remote(settings.url) or is_registry(settings.url):
        return None
    try:
        return SasToken.make(settings.read_token()).expires
    except UsageError:
        return None


class TokenExpiryMonitor:
    """Warns once if the token expires before the expected bytes can arrive at the measured rate.

    `expires` is called at each check, because the token's file may contain a newer token by then; None means never.
    """

    def __init__(
        self, observer: Observer, expires: Callable[[], datetime | None], clock: Callable[[], float] = monotonic
    ) -> None:
        self._observer = observer
        self._expires = expires
        self._clock = clock
        self._began = 0.0
        self._next_check = 0.0
        self._left = self._done = 0
        self._warned = False

    def event(self, name: str, **facts: object) -> None:
        """See `Observer.event`."""
        self._observer.event(name, **facts)

    def expect(self, count: int, pack: str = "") -> None:
        """See `Observer.expect`."""
        if not self._left:
            self._began = self._clock()
            self._next_check = self._began + _FIRST_CHECK
            self._done = 0
        self._left += count
        self._observer.expect(count, pack)

    def advance(self, count: int, pack: str = "") -> None:
        """See `Observer.advance`."""
        self._left -= count
        self._done += count
        self._observer.advance(count, pack)
        now = self._clock()
        if now >= self._next_check and not self._warned and self._left > 0:
            self._next_check = now + _CHECK_INTERVAL
            self._check(now - self._began)

    def restore(self, count: int, pack: str = "") -> None:
        """See `Observer.restore`. The rate is measured from here on."""
        self._left -= count
        self._began = self._clock()
        self._next_check = self._began + _FIRST_CHECK
        self._observer.restore(count, pack)

    def _check(self, seconds: float) -> None:
        expires = self._expires()
        end = datetime.now(UTC) + timedelta(seconds=self._left * seconds / self._done)
        if expires and expires < end:
            self._warned = True
            self._observer.event(
                "token_expires_early",
                level="warning",
                expires=f"{expires:%Y-%m-%d %H:%M:%S} UTC",
                estimated_end=f"{end:%Y-%m-%d %H:%M:%S} UTC",
                text="put a newer token into MODELS_SAS_TOKEN_FILE before that, and this run will use it; "
                "otherwise run again with a new one: verified data is kept",
            )
