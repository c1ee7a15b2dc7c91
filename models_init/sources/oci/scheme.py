"""Decide whether a registry is accessed by https or by plain http.

https is always tried first. Plain http is used only if that is allowed, and only if the server does not support TLS and
responds like a registry on the same port. A registry with an untrusted certificate is never accessed by plain http.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from models_init.core.errors import SourceError
from models_init.sources.http.errors import NotTlsError
from models_init.sources.http.origin import Origin

if TYPE_CHECKING:
    from models_init.sources.http.client import HttpClient

_STATUSES_OF_A_REGISTRY = {200, 401}
"""Status codes of a registry's response to `GET /v2/`. A TLS server responds with 400 to a request without TLS."""


class SchemeChoice:
    """Sets `http.base` to plain http before the first request if that is allowed and necessary."""

    def __init__(self, http: HttpClient, *, allow_http: bool) -> None:
        self._http = http
        self._allow_http = allow_http
        self._is_made = not allow_http or Origin.of(http.base).scheme == "http"
        self._making = asyncio.Lock()

    async def make(self) -> None:
        """Choose the scheme in the first call. Sends no credentials. Raises the errors of `HttpClient.get`."""
        async with self._making:
            if not self._is_made:
                await self._decide()
                self._is_made = True

    def explained(self, error: NotTlsError) -> NotTlsError:
        """Return the exception for a failed request, which names the setting if plain http is not allowed."""
        if self._allow_http:
            return error
        return NotTlsError(
            f"{error}, or set MODELS_ALLOW_HTTP=yes if the registry has no TLS and the network is trusted"
        )

    async def _decide(self) -> None:
        try:
            (await self._http.get(f"{self._http.base}/v2/", follow_redirects=False)).release()
        except NotTlsError as error:
            plain = f"http://{Origin.of(self._http.base).address}"
            if not await self._is_registry(plain):
                raise error from None
            self._http.base = plain

    async def _is_registry(self, base: str) -> bool:
        try:
            response = await self._http.get(f"{base}/v2/", follow_redirects=False)
        except SourceError:
            return False
        response.release()
        return response.status in _STATUSES_OF_A_REGISTRY
