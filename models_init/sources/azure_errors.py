"""Translate error responses of Azure Blob Storage into exceptions, for sites and for `models-pack upload`.

All functions are pure functions of the response, the client and its token. Statuses and codes:
https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes. Where Azure answers
`AuthenticationFailed`, Azurite answers `AuthorizationFailure` and no detail, so a refusal is recognized by its status.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from models_init.core.errors import AccessError, ModelsInitError, NotFoundError, SourceError, UnavailableError
from models_init.sources.sas import GET_A_TOKEN

if TYPE_CHECKING:
    from collections.abc import Callable

    from models_init.sources.sas import SasToken

_TOLERATED_SKEW = 120.0
"""Seconds by which clocks may differ before a message mentions it."""

_ANONYMOUS = {"PublicAccessNotPermitted", "NoAuthenticationInformation"}
"""Codes, with any status, of a request that the service regards as one without a token."""

_NO_CONTAINER = {"ContainerNotFound", "ContainerBeingDeleted"}

_MEANINGS = {
    "AuthorizationPermissionMismatch": "lacks a permission (sp={has}; {needed} are needed)",
    "AuthorizationResourceTypeMismatch": "is not for this type of resource",
    "AuthorizationServiceMismatch": "is not for the blob service",
    "AuthorizationProtocolMismatch": "is for https only",
    "AuthorizationSourceIPMismatch": "is for another IP address than this machine's (sip=)",
}
"""What is wrong with the token, by error code."""


@dataclass(frozen=True, slots=True)
class Client:
    """The client's settings that messages name.

    `host` and `container` (its URL) are without the token; `setting` is the setting that holds the URL, e.g.
    `MODELS_URL`; `permissions` are those that the token needs, e.g. `r and l`.
    """

    host: str
    container: str
    setting: str
    permissions: str


@dataclass(frozen=True, slots=True)
class ErrorResponse:
    """A response of status 400 or above.

    `code` is the service's error code; `detail` is the `AuthenticationErrorDetail` of the body; `path` is that of the
    request; `date` is the service's time; `retry_after` is in seconds. All but the status may be empty or None.
    """

    status: int
    code: str = ""
    detail: str = ""
    path: str = ""
    date: datetime | None = None
    retry_after: float | None = None

    @classmethod
    def of(
        cls, status: int, header: Callable[[str], str], *, code: str = "", detail: str = "", path: str = ""
    ) -> ErrorResponse:
        """Build it from a response. `header` returns the header of a case-insensitive name, or an empty string.

        `code` is the code in the body, which is used if the header `x-ms-error-code` is missing.
        """
        date = http_date(header("Date"))
        retry_after = _seconds(header("Retry-After"), date)
        return cls(status, header("x-ms-error-code") or code, detail, path, date, retry_after)

    @property
    def is_refusal(self) -> bool:
        """True if the token or its absence is the reason."""
        return self.status in (401, 403) or self.code in _ANONYMOUS

    @property
    def is_transient(self) -> bool:
        """True if the same request may succeed later."""
        return self.status in (408, 429) or self.status >= 500

    @property
    def lacks_container(self) -> bool:
        """True if the container itself does not exist."""
        return self.status == 404 and self.code in _NO_CONTAINER

    def by(self, host: str) -> str:
        """Describe the response in one clause, for messages."""
        return f"{host} answered {self.status} {self.code}".rstrip()


def error_for(response: ErrorResponse, client: Client, token: SasToken) -> ModelsInitError:
    """Return the exception for a response to a request that carried `token`."""
    said = response.by(client.host)
    if response.is_refusal:
        return AccessError(f"{_reason(response, client, token)} ({said}); {GET_A_TOKEN} and run again")
    if response.lacks_container:
        return NotFoundError(f"there is no container {client.container}; check {client.setting}")
    if response.status == 404:
        return NotFoundError(f"{client.host} has no {response.path or 'such blob'}")
    if response.is_transient:
        return unavailable(response, client.host)
    asked = f" for {response.path}" if response.path else ""
    return SourceError(f"{said}{asked}; check {client.setting} and the token")


def unavailable(response: ErrorResponse, host: str) -> UnavailableError:
    """Return the exception for a transient response."""
    return UnavailableError(
        f"{response.by(host)}: it is overloaded or down; run again later",
        retry_after=response.retry_after,
        overloaded=response.status in (429, 503),
    )


def redirect_error(response: ErrorResponse, client: Client, target: str) -> SourceError:
    """Return the exception for a response of the host `target`, to which the service redirected without the token."""
    said = f"{client.host} redirects to {target}, which answered {response.status}"
    if response.is_transient:
        return UnavailableError(f"{said}: it is overloaded or down; run again later", retry_after=response.retry_after)
    return SourceError(f"{said}; the token goes to {client.host} alone: check {client.setting} and the proxy")


def http_date(text: str) -> datetime | None:
    """Parse the date of a header; return None if it is invalid. A date without a time zone is in UTC."""
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def _seconds(retry_after: str, now: datetime | None) -> float | None:
    """Parse `Retry-After` and return seconds. A date is relative to `now`, the service's time, else to this clock's."""
    if retry_after.isdecimal():
        return float(retry_after)
    until = http_date(retry_after)
    return max(0.0, (until - (now or datetime.now(UTC))).total_seconds()) if until else None


def _reason(response: ErrorResponse, client: Client, token: SasToken) -> str:
    """Say why the token is refused: by the service's clock, or by the error code, else list all remaining causes."""
    if flaw := token.time_flaw(response.date or datetime.now(UTC)):
        return f"the SAS token {flaw}{_skew(response.date)}"
    if "time frame" in response.detail:
        return f"the SAS token is not valid at this time{_skew(response.date)}"
    if meaning := _MEANINGS.get(response.code):
        return f"the SAS token {meaning.format(has=token.field('sp'), needed=client.permissions)}"
    return (
        f"the SAS token does not fit the container {client.container}: its signature is wrong, or it was made for "
        "another container or account, or was revoked, or the account's firewall does not admit this machine"
    )


def _skew(service_time: datetime | None) -> str:
    """Describe the difference between this machine's clock and the service's if it exceeds `_TOLERATED_SKEW`."""
    seconds = (datetime.now(UTC) - service_time).total_seconds() if service_time else 0.0
    if abs(seconds) < _TOLERATED_SKEW:
        return ""
    return f" (this machine's clock is {abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'} the service's)"
