"""Translate error responses of a registry into exceptions.

Codes: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#error-codes.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from models_init.core.errors import AccessError, ModelsInitError, NotFoundError, SourceError, UnavailableError
from models_init.sources.oci.challenges import parse_challenge

if TYPE_CHECKING:
    from models_init.sources.http.response import Response
    from models_init.sources.oci.tokens import Scope

_ERROR_LIMIT = 64 << 10  # bytes of an error's body that are read
_CODE = re.compile(r"[A-Z_]{3,40}\Z")
_DENIALS = {"DENIED", "UNAUTHORIZED"}


class RegistryError(NamedTuple):
    """A response of status 400 or above; `code` is the registry's error code, or empty.

    `refusal` is the error of the authentication challenge, such as `invalid_token`, or empty.
    """

    status: int
    code: str
    host: str
    retry_after: float | None
    refusal: str = ""

    @property
    def is_denial(self) -> bool:
        """True if the authorization, or its absence, is the reason."""
        return self.status in (401, 403) or self.code in _DENIALS

    @property
    def is_transient(self) -> bool:
        """True if the same request may succeed later."""
        return self.status in (408, 429) or self.status >= 500

    def __str__(self) -> str:
        return f"{self.host} answered {self.status} {self.code}".rstrip()


async def read_error(response: Response) -> RegistryError:
    """Read the error code in the body of a response."""
    code = ""
    with suppress(ModelsInitError, ValueError, RecursionError, LookupError, TypeError):
        found = json.loads(await response.body(_ERROR_LIMIT, "an error"))["errors"][0]["code"]
        code = found if _CODE.match(found) else ""
    challenge = parse_challenge(response.all_values("WWW-Authenticate"))
    return RegistryError(
        response.status, code, response.host, response.retry_after, challenge.error if challenge else ""
    )


def error_for(error: RegistryError, scope: Scope, what: str, *, anonymous: bool) -> ModelsInitError:
    """Return the exception for a response to a request for `what` in the repository of `scope`."""
    if error.is_denial:
        return access_error(error, scope, anonymous=anonymous)
    if error.is_transient:
        return unavailable(error)
    if error.status == 404:
        return NotFoundError(f"{error.host} has no {what}" + (f" ({error.code})" if error.code else ""))
    if error.status == 416:
        return SourceError(f"{error}: {what} is shorter than it should be; the publisher must push it again")
    return SourceError(f"{error} for {what}; check MODELS_URL and the proxy")


def access_error(error: RegistryError, scope: Scope, *, anonymous: bool) -> AccessError:
    """Return the exception for a denied scope. It names the repository, the pack and the token to request."""
    if error.refusal == "invalid_token":
        return AccessError(
            f"{error.host} refuses the token that its token service has just issued ({error}); ask the registry's "
            "operator to compare the clocks and the keys of both"
        )
    if not scope.repository:
        return AccessError(f"{error}: the pull token does not include the list of repositories")
    if "push" in scope.action:
        return AccessError(
            f"the token may not push to the repository {scope.repository} ({error}); ask the registry's operator for "
            "one that may pull and push there"
        )
    pack, token = scope.repository.rpartition("/")[2], "anonymous access" if anonymous else "the pull token"
    return AccessError(
        f"{token} does not include {pack}, or there is no repository {scope.repository} ({error}); check the language "
        f"and the license, and ask the vendor for a pull token that includes {scope.repository}"
    )


def unavailable(error: RegistryError) -> UnavailableError:
    """Return the exception for a transient response."""
    return UnavailableError(
        f"{error}: it is overloaded or down; run again later",
        retry_after=error.retry_after,
        overloaded=error.status in (429, 503),
    )
