"""Authorize requests to a registry: HTTP Basic, or Bearer tokens from the registry's token service.

A token is requested when the registry asks for one, and again when it refuses the one that was sent; concurrent
requests share the new one. https://distribution.github.io/distribution/spec/auth/token describes the protocol.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlencode, urlsplit

from models_init.core.errors import AccessError, ModelsInitError, SourceError, UnavailableError
from models_init.core.redaction import register
from models_init.sources.http.client import ANONYMOUS, Credentials, HttpRequest
from models_init.sources.http.origin import Origin, web_address

if TYPE_CHECKING:
    from collections.abc import Callable

    from models_init.sources.http.client import HttpClient
    from models_init.sources.http.response import Response
    from models_init.sources.oci.challenges import Challenge
    from models_init.sources.oci.credential_files import RegistryCredentials

_TOKEN_LIMIT = 1 << 20  # bytes of a token service's response
_CLIENT = "models_init"


class Scope(NamedTuple):
    """The permission of a request: an action on a repository. An empty repository means the list of repositories."""

    repository: str
    action: str = "pull"

    def __str__(self) -> str:
        return f"repository:{self.repository}:{self.action}" if self.repository else "registry:catalog:*"


class Authorizer:
    """Keeps one authorization for each scope; `read_credentials` is called at each renewal."""

    def __init__(self, http: HttpClient, read_credentials: Callable[[str], RegistryCredentials | None]) -> None:
        self._http = http
        self._read_credentials = read_credentials
        self._current: dict[Scope, str] = {}
        self._challenges: dict[Scope, Challenge] = {}
        self._asked: dict[Scope, frozenset[str]] = {}
        self._renewing = asyncio.Lock()

    def current(self, scope: Scope) -> str:
        """Return the value of the header `Authorization` for a scope, or an empty string."""
        return self._current.get(scope, "")

    def is_denied(self, scope: Scope, challenge: Challenge | None) -> bool:
        """Return True if the registry refuses a token although it was requested for all scopes of the challenge."""
        insufficient = challenge is not None and challenge.error == "insufficient_scope"
        return insufficient and _scopes(challenge) <= self._asked.get(scope, frozenset())

    async def renew(self, scope: Scope, refused: str, challenge: Challenge | None) -> bool:
        """Replace the authorization `refused`; do nothing if a concurrent request has replaced it already.

        Returns False if the registry has never sent a challenge. Raises `AccessError`: there are no credentials, or
        they are refused.
        """
        async with self._renewing:
            if self.current(scope) != refused:
                return True
            asked = challenge or self._challenges.get(scope)
            if not asked:
                return False
            self._challenges[scope] = asked
            self._current[scope] = await self._authorization(scope, asked, refused)
            return True

    async def _authorization(self, scope: Scope, challenge: Challenge, refused: str) -> str:
        credentials = self._read_credentials(scope.repository)
        if challenge.scheme == "bearer":
            return f"Bearer {await self._token(scope, challenge, credentials)}"
        if not credentials:
            raise AccessError(f"{self._http.host} requires a user and a password; {_SET}")
        if credentials.basic() == refused:
            raise self._refused(credentials, 401)
        return credentials.basic()

    async def _token(self, scope: Scope, challenge: Challenge, credentials: RegistryCredentials | None) -> str:
        realm = self._realm(challenge)
        own = {str(scope)} if "push" in scope.action or not challenge.scope else set()
        self._asked[scope] = self._asked.get(scope, frozenset()) | own | _scopes(challenge)
        query = {"service": challenge.service, "scope": " ".join(sorted(self._asked[scope]))}
        if credentials and credentials.identity:
            form = {
                "grant_type": "refresh_token",
                "client_id": _CLIENT,
                "refresh_token": credentials.identity,
                **query,
            }
            body = urlencode(form).encode()
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            response = await self._http.send(HttpRequest("POST", realm, headers, body))
        else:
            user = Credentials(headers=(("Authorization", credentials.basic()),)) if credentials else ANONYMOUS
            response = await self._http.get(f"{realm}{'&' if '?' in realm else '?'}{urlencode(query)}", None, user)
        try:
            return await self._token_in(response, credentials)
        finally:
            response.release()

    def _realm(self, challenge: Challenge) -> str:
        """Return the token service's URL.

        Raises `SourceError`: it is not a URL, or it is http while the registry is https.
        """
        realm = web_address(challenge.realm)
        if not realm:
            raise SourceError(f"{self._http.host} names a token service that is not a web address; check MODELS_URL")
        if urlsplit(self._http.base).scheme == "https" and urlsplit(realm).scheme != "https":
            raise SourceError(
                f"{self._http.host} names the token service http://{Origin.of(realm).name}, without encryption; ask "
                "the registry's operator to change it to https"
            )
        return realm

    async def _token_in(self, response: Response, credentials: RegistryCredentials | None) -> str:
        service = response.host
        if response.status in (400, 401, 403):
            raise self._refused(credentials, response.status, service)
        if response.status in (408, 429) or response.status >= 500:
            raise UnavailableError(
                f"the token service {service} answered {response.status}: it is overloaded or down; run again later",
                retry_after=response.retry_after,
                overloaded=response.status in (429, 503),
            )
        token = ""
        if response.status == 200:
            with suppress(ValueError, AttributeError, RecursionError):
                answer = json.loads(await response.body(_TOKEN_LIMIT, "a token"))
                token = str(answer.get("token") or answer.get("access_token") or "")
        if not token or not token.isascii() or not token.isprintable():
            raise SourceError(
                f"the token service {service} answered {response.status} without a token; check MODELS_URL and the "
                "proxy"
            )
        register(token)
        return token

    def _refused(self, credentials: RegistryCredentials | None, status: int, service: str = "") -> ModelsInitError:
        by = f"{service or self._http.host} answered {status}"
        if not credentials:
            return AccessError(f"{self._http.host} admits no anonymous access ({by}); {_SET}")
        if credentials.identity:
            return AccessError(
                f"the identity token of {self._http.host} in {credentials.origin} is wrong or expired ({by}); log in "
                f"again, or {_SET}"
            )
        return AccessError(
            f"the user {credentials.user!r} or its password from {credentials.origin} is wrong or expired ({by}); "
            "check both, and ask the vendor for a new pull token if it has expired"
        )


_SET = "set MODELS_REGISTRY_USERNAME and MODELS_REGISTRY_PASSWORD or MODELS_REGISTRY_PASSWORD_FILE"


def _scopes(challenge: Challenge | None) -> frozenset[str]:
    return frozenset(challenge.scope.split()) if challenge else frozenset()
