"""Translate error responses of Azure Blob Storage into exceptions, for sites and for `models-pack upload`.

`error_codes` has the meaning of each code. Where Azure responds with `AuthenticationFailed`, Azurite responds with
`AuthorizationFailure` and no detail.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from models_init.core.errors import AccessError, ModelsInitError, SourceError, UnavailableError
from models_init.sources.azure.error_codes import CODES, MISMATCH, OTHER_STATUS, SERVER_ERROR, STATUSES
from models_init.sources.http.dates import http_date, retry_seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from models_init.sources.azure.error_codes import ErrorMeaning
    from models_init.sources.azure.sas import SasToken

_TRANSIENT = (408, 429)
_NO_ORIGIN = (502, 504)
_SITE_CACHE = "models-cache"
"""The name of the site cache of deploy/cache in the header `Via`."""

_TOLERATED_SKEW = 120.0
"""Seconds by which clocks may differ before a message mentions it."""


@dataclass(frozen=True, slots=True)
class Client:
    """The client's settings that messages name.

    `host` and `container` (its URL) do not include the token; `setting` is the setting that contains the URL, e.g.
    `MODELS_URL`; `permissions` are the permissions that the token needs, e.g. `r and l`.
    """

    host: str
    container: str
    setting: str
    permissions: str


@dataclass(frozen=True, slots=True)
class ErrorResponse:
    """A response of status 400 or above.

    `code` is the service's error code; `detail` is the `AuthenticationErrorDetail` of the body; `path` is the path of
    the request; `date` is the service's time; `retry_after` is in seconds; `via` names the caches and proxies on the
    way. All fields except `status` may be empty or None.
    """

    status: int
    code: str = ""
    detail: str = ""
    path: str = ""
    date: datetime | None = None
    retry_after: float | None = None
    via: str = ""

    @classmethod
    def of(
        cls, status: int, header: Callable[[str], str], *, code: str = "", detail: str = "", path: str = ""
    ) -> ErrorResponse:
        """Create it from a response. `header` returns the value of a header by its case-insensitive name, or "".

        `code` is the code in the body, which is used if the header `x-ms-error-code` is missing.
        """
        date = http_date(header("Date"))
        retry_after = retry_seconds(header("Retry-After"), date)
        return cls(status, header("x-ms-error-code") or code, detail, path, date, retry_after, header("Via"))

    @property
    def meaning(self) -> ErrorMeaning:
        """The meaning of the code, or of the status if the code is unknown or the status is always transient."""
        if self.status in _TRANSIENT or self.status >= 500:
            return SERVER_ERROR
        return CODES.get(self.code) or STATUSES.get(self.status, OTHER_STATUS)

    @property
    def is_transient(self) -> bool:
        """True if the same request may succeed later."""
        return self.meaning.error is UnavailableError

    @property
    def is_from_site_cache(self) -> bool:
        """True if the response came through a site cache, which has its own token."""
        return _SITE_CACHE in self.via

    def by(self, host: str) -> str:
        """Describe the response in one clause, for messages."""
        return f"{host} answered {self.status} {self.code}".rstrip()


def error_for(response: ErrorResponse, client: Client, token: SasToken | None) -> ModelsInitError:
    """Return the exception for a response to a request; `token` is the token that was sent, or None."""
    meaning, said = response.meaning, response.by(client.host)
    if meaning.error is UnavailableError:
        return unavailable(response, client.host)
    if meaning.error is AccessError and not token and response.is_from_site_cache:
        return AccessError(
            f"the origin of the site cache {client.host} denies access ({said}); put a valid SAS token into the token "
            "file of that cache",
            new_token_helps=False,
        )
    if meaning.error is AccessError and not token:
        return _denied_without_token(client, said)
    names = {
        "path": response.path or "the blob",
        "container": client.container,
        "setting": client.setting,
        "has": token.field("sp") if token else "",
        "needed": client.permissions,
    }
    cause, remedy = meaning.cause.format(**names), meaning.remedy.format(**names)
    if meaning.error is AccessError and token:
        reason = (_token_reason(response, token) if meaning.new_token_helps else "") or cause
        return AccessError(f"{reason} ({said}); {remedy}", new_token_helps=meaning.new_token_helps)
    return meaning.error(f"{said}: {cause}; {remedy}")


def _denied_without_token(client: Client, said: str) -> AccessError:
    remedy = (
        "set MODELS_SAS_TOKEN or MODELS_SAS_TOKEN_FILE instead of MODELS_ANONYMOUS, or allow anonymous access there"
    )
    if client.setting == "MODELS_MIRRORS":
        remedy = "a mirror gets no token: allow anonymous access there, or remove it from MODELS_MIRRORS"
    return AccessError(f"{client.host} denies access without a token ({said}); {remedy}", new_token_helps=False)


def unavailable(response: ErrorResponse, host: str) -> UnavailableError:
    """Return the exception for a transient response."""
    cause = "it is overloaded or down; run again later"
    if response.is_from_site_cache and response.status in _NO_ORIGIN:
        cause = "this site cache does not reach its origin; look into the cache's log, then run again"
    return UnavailableError(
        f"{response.by(host)}: {cause}",
        retry_after=response.retry_after,
        overloaded=response.status in (429, 503),
    )


def redirect_error(response: ErrorResponse, client: Client, target: str, *, has_token: bool = True) -> SourceError:
    """Return the exception for a response of the host `target`, to which the service redirected without the token."""
    said = f"{client.host} redirects to {target}, which answered {response.status}"
    if response.is_transient:
        return UnavailableError(f"{said}: it is overloaded or down; run again later", retry_after=response.retry_after)
    why = f": a token is sent to {client.host} only, not to other hosts" if has_token else ""
    return SourceError(f"{said}{why}; check {client.setting} and the proxy")


def _token_reason(response: ErrorResponse, token: SasToken) -> str:
    """Return why the token is refused if its dates, its stored access policy or the response's detail show that."""
    if flaw := token.time_flaw(response.date or datetime.now(UTC)):
        return f"the SAS token {flaw}{_skew(response.date)}"
    policy = token.field("si")
    subject = f"the stored access policy {policy} (si=) of the SAS token" if policy else "the SAS token"
    if "time frame" in response.detail:
        return f"{subject} is not valid at this time{_skew(response.date)}"
    if policy and response.meaning.cause == MISMATCH:
        return f"{subject} has expired or was deleted, or the token is for another container or account"
    return ""


def _skew(service_time: datetime | None) -> str:
    """Describe the difference between this machine's clock and the service's if it exceeds `_TOLERATED_SKEW`."""
    seconds = (datetime.now(UTC) - service_time).total_seconds() if service_time else 0.0
    if abs(seconds) < _TOLERATED_SKEW:
        return ""
    return f" (this machine's clock is {abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'} the service's)"
