"""Translation of the error responses of Azure and Azurite, for sites and for `models-pack upload`."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from models_init.core.errors import (
    AccessError,
    ArchivedError,
    ModelsInitError,
    NotFoundError,
    SourceError,
    UnavailableError,
)
from models_init.sources.azure.error_codes import CODES
from models_init.sources.azure.errors import Client, ErrorResponse, error_for, redirect_error, unavailable
from models_init.sources.azure.sas import SasToken
from models_init.sources.http.dates import http_date
from tests.tokens import leaks, token

SITE = Client("acc.blob.core.windows.net", "https://acc.blob.core.windows.net/models", "MODELS_URL", "r and l")
UPLOAD = Client("acc.blob.core.windows.net", "https://acc.blob.core.windows.net/models", "--url", "r and w")
CLIENTS = pytest.mark.parametrize("client", [SITE, UPLOAD], ids=["site", "upload"])
NOW = datetime(2026, 11, 28, 12, 0, 0, tzinfo=UTC)
IN_TIME_FRAME = "Signature not valid in the specified time frame: Start [..] - Expiry [..] - Current [..]"
ELIMINATION = (
    "does not fit the container https://acc.blob.core.windows.net/models: its signature is wrong, or it was made"
)


def response(status: int, **headers: str) -> ErrorResponse:
    """Return a response with these headers; `_` stands for `-`, and names are case-insensitive."""
    found = {name.replace("_", "-").lower(): value for name, value in headers.items()}
    return ErrorResponse.of(status, lambda name: found.get(name.lower(), ""), path="models/nl-nl/manifest.json")


def sas(**fields: str) -> SasToken:
    return SasToken.make(token(**fields))


def at(hours: float) -> str:
    return f"{NOW + timedelta(hours=hours):%Y-%m-%dT%H:%M:%SZ}"


@CLIENTS
@pytest.mark.parametrize(
    ("status", "code", "kind", "words"),
    [
        pytest.param(403, "AuthenticationFailed", AccessError, ELIMINATION, id="Azure: signature"),
        pytest.param(403, "AuthorizationFailure", AccessError, ELIMINATION, id="Azurite: signature"),
        pytest.param(401, "NoAuthenticationInformation", AccessError, ELIMINATION, id="no token"),
        pytest.param(409, "PublicAccessNotPermitted", AccessError, ELIMINATION, id="no token, no public access"),
        pytest.param(404, "NoAuthenticationInformation", AccessError, ELIMINATION, id="no token, hidden"),
        pytest.param(401, "", AccessError, ELIMINATION, id="401 without a code"),
        pytest.param(403, "", AccessError, ELIMINATION, id="403 without a code"),
        pytest.param(403, "AuthorizationPermissionMismatch", AccessError, "lacks a permission (sp=rl; r and ", id="sp"),
        pytest.param(403, "AuthorizationResourceTypeMismatch", AccessError, "this type of resource", id="srt"),
        pytest.param(403, "AuthorizationServiceMismatch", AccessError, "is not for the blob service", id="ss"),
        pytest.param(403, "AuthorizationProtocolMismatch", AccessError, "is for https only", id="spr"),
        pytest.param(403, "AuthorizationSourceIPMismatch", AccessError, "is for another IP address", id="sip"),
        pytest.param(404, "ContainerNotFound", NotFoundError, "/models does not exist; check", id="no container"),
        pytest.param(404, "ContainerBeingDeleted", NotFoundError, "is being deleted; check", id="deleted"),
        pytest.param(
            404, "BlobNotFound", NotFoundError, "models/nl-nl/manifest.json does not exist; check", id="no blob"
        ),
        pytest.param(
            404, "", NotFoundError, "models/nl-nl/manifest.json does not exist; check", id="404 without a code"
        ),
        pytest.param(408, "", UnavailableError, "answered 408: it is overloaded or down; run again later", id="408"),
        pytest.param(429, "TooManyRequests", UnavailableError, "429 TooManyRequests: it is overloaded", id="429"),
        pytest.param(500, "InternalError", UnavailableError, "500 InternalError: it is overloaded or down", id="500"),
        pytest.param(500, "FeatureNotSupported", UnavailableError, "500 FeatureNotSupported: it is", id="Azurite: 500"),
        pytest.param(503, "ServerBusy", UnavailableError, "503 ServerBusy: it is overloaded or down", id="503"),
        pytest.param(400, "InvalidQueryParameterValue", SourceError, "rejects a query parameter", id="400"),
        pytest.param(405, "", SourceError, "answered 405: it does not answer as a blob", id="405"),
        pytest.param(410, "Gone", SourceError, "answered 410 Gone: it does not answer", id="410"),
    ],
)
def test_error_code_determines_exception_and_message(
    client: Client, status: int, code: str, kind: type[ModelsInitError], words: str
) -> None:
    """Both sides raise the same class; the message is one line that names the host and never contains the token."""
    error = error_for(response(status, x_ms_error_code=code), client, sas(sp="rl"))
    assert type(error) is kind
    assert words in str(error)
    assert "\n" not in str(error)
    assert "acc.blob.core.windows.net" in str(error)
    assert not leaks(f"{error} {error!r}")
    if isinstance(error, AccessError) and error.new_token_helps:
        assert f"(acc.blob.core.windows.net answered {status} {code}".rstrip() + "); put a valid token" in str(error)


def test_message_names_permissions_and_setting_of_client() -> None:
    """A site needs r and l and is referred to MODELS_URL; an upload needs r and w and is referred to --url."""
    lacking, missing = response(403, x_ms_error_code="AuthorizationPermissionMismatch"), response(400)
    nowhere = response(404, x_ms_error_code="ContainerNotFound")
    for client, permissions, setting in [(SITE, "r and l", "MODELS_URL"), (UPLOAD, "r and w", "--url")]:
        assert f"(sp=r; {permissions} are needed)" in str(error_for(lacking, client, sas(sp="r")))
        assert f"; check {setting}, and whether" in str(error_for(missing, client, sas()))
        assert str(error_for(nowhere, client, sas())).endswith(f"; check {setting}")


@CLIENTS
@pytest.mark.parametrize("code", ["AuthenticationFailed", "AuthorizationFailure"], ids=["Azure", "Azurite"])
@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"se": at(-1)}, "the SAS token expired at 2026-11-28 11:00:00 UTC"),
        ({"st": at(1), "se": at(2)}, "is not valid before"),
    ],
    ids=["expired", "not yet valid"],
)
def test_token_lifetime_is_judged_by_service_clock(
    client: Client, code: str, fields: dict[str, str], words: str
) -> None:
    """For any code, the dates in the token take precedence, and a wrong local clock is mentioned."""
    refused = response(403, x_ms_error_code=code, Date=format_datetime(NOW, usegmt=True))
    text = str(error_for(refused, client, sas(**fields)))
    assert words in text
    assert "(this machine's clock is " in text


def test_local_clock_is_used_if_response_has_no_date() -> None:
    """Clocks are not compared if the service does not send a date."""
    text = str(error_for(response(403), SITE, sas(se="2026-01-01")))
    assert "the SAS token expired at 2026-01-01 00:00:00 UTC (acc" in text


def test_authentication_detail_is_used_if_token_has_no_dates() -> None:
    """The dates may be in a stored access policy, so that only the detail shows a wrong time."""
    refused = ErrorResponse.of(403, lambda _: "", code="AuthenticationFailed", detail=IN_TIME_FRAME)
    assert "the SAS token is not valid at this time (acc" in str(error_for(refused, SITE, sas(se="", si="policy")))


DOCUMENTED = {
    "ConditionHeadersNotSupported": (400, 20),
    "InvalidHeaderValue": (400, 20),
    "InvalidInput": (400, 20),
    "InvalidMarker": (400, 20),
    "InvalidOperation": (400, 20),
    "InvalidQueryParameterValue": (400, 20),
    "InvalidResourceName": (400, 20),
    "InvalidUri": (400, 20),
    "MissingRequiredHeader": (400, 20),
    "MissingRequiredQueryParameter": (400, 20),
    "MultipleConditionHeadersNotSupported": (400, 20),
    "OutOfRangeInput": (400, 20),
    "OutOfRangeQueryParameterValue": (400, 20),
    "RequestUrlFailedToParse": (400, 20),
    "UnsupportedHeader": (400, 20),
    "UnsupportedQueryParameter": (400, 20),
    "InvalidAuthenticationInfo": (401, 22),
    "NoAuthenticationInformation": (401, 22),
    "AccountIsDisabled": (403, 22),
    "AuthenticationFailed": (403, 22),
    "AuthorizationFailure": (403, 22),
    "AuthorizationPermissionMismatch": (403, 22),
    "AuthorizationProtocolMismatch": (403, 22),
    "AuthorizationResourceTypeMismatch": (403, 22),
    "AuthorizationServiceMismatch": (403, 22),
    "AuthorizationSourceIPMismatch": (403, 22),
    "InsufficientAccountPermissions": (403, 22),
    "KeyBasedAuthenticationNotPermitted": (403, 22),
    "BlobNotFound": (404, 21),
    "ContainerNotFound": (404, 21),
    "ResourceNotFound": (404, 21),
    "AccountBeingCreated": (409, 20),
    "BlobArchived": (409, 21),
    "BlobBeingRehydrated": (409, 21),
    "BlobUsesCustomerSpecifiedEncryption": (409, 20),
    "ContainerBeingDeleted": (409, 21),
    "ContainerDisabled": (409, 20),
    "FeatureVersionMismatch": (409, 20),
    "InvalidBlobType": (409, 20),
    "PublicAccessNotPermitted": (409, 22),
    "ResourceTypeMismatch": (409, 20),
    "ConditionNotMet": (412, 30),
    "TargetConditionNotMet": (412, 30),
    "InvalidRange": (416, 20),
    "InternalError": (500, 20),
    "OperationTimedOut": (500, 20),
    "ServerBusy": (503, 20),
}
"""Status and exit code of each documented error code of the requests that a site sends."""


def test_every_documented_code_has_a_meaning() -> None:
    """No code is missing or superfluous, and each has its documented status."""
    assert {code: meaning.statuses[-1] for code, meaning in CODES.items()} == {
        code: status for code, (status, _) in DOCUMENTED.items()
    }


@CLIENTS
@pytest.mark.parametrize(("code", "status", "exit_code"), [(code, *values) for code, values in DOCUMENTED.items()])
def test_documented_code_has_exit_code_cause_and_remedy(client: Client, code: str, status: int, exit_code: int) -> None:
    """The message is one line that quotes the code, gives cause and remedy, and fills in all placeholders."""
    error = error_for(response(status, x_ms_error_code=code), client, sas(sp="rl"))
    cause, separator, remedy = str(error).rpartition("; ")
    assert error.exit_code == exit_code
    assert f"{status} {code}" in cause
    assert (bool(separator), bool(remedy)) == (True, True)
    assert not {"{", "}", "\n"} & set(str(error))
    assert isinstance(error, UnavailableError) == (status >= 500)


@pytest.mark.parametrize("code", ["BlobArchived", "BlobBeingRehydrated"])
def test_archived_blob_is_permanent_error_for_publisher(code: str) -> None:
    """Rehydration takes hours, so neither a retry nor another run a little later helps."""
    error = error_for(response(409, x_ms_error_code=code), SITE, sas())
    assert type(error) is ArchivedError
    assert "models/nl-nl/manifest.json is " in str(error)
    assert "up to 15 hours" in str(error)


@pytest.mark.parametrize("fields", [{}, {"se": "2020-01-01"}], ids=["valid token", "expired token"])
@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("AccountIsDisabled", "is disabled"),
        ("InsufficientAccountPermissions", "does not permit reading"),
        ("KeyBasedAuthenticationNotPermitted", "ask the publisher for a user delegation SAS token"),
    ],
)
def test_new_token_is_not_suggested_if_it_would_not_help(code: str, words: str, fields: dict[str, str]) -> None:
    """The account is the cause, independent of the token, and the source does not wait for a newer token."""
    error = error_for(response(403, x_ms_error_code=code), SITE, sas(**fields))
    assert isinstance(error, AccessError)
    assert not error.new_token_helps
    assert words in str(error)
    assert "a new token" in str(error)
    assert "put a valid token" not in str(error)


@pytest.mark.parametrize("code", ["AuthenticationFailed", "AuthorizationFailure"], ids=["Azure", "Azurite"])
def test_expired_stored_access_policy_is_named(code: str) -> None:
    """A token without dates may get them from a policy in the container, which the message names."""
    refused = response(403, x_ms_error_code=code)
    error = error_for(refused, SITE, sas(se="", si="sites-2026"))
    assert "the stored access policy sites-2026 (si=) of the SAS token has expired or was deleted" in str(error)
    assert "the stored access policy sites-2026 (si=) of the SAS token is not valid at this time" in str(
        error_for(replace(refused, detail=IN_TIME_FRAME), SITE, sas(se="", si="sites-2026"))
    )
    assert "policy" not in str(error_for(refused, SITE, sas()))


@pytest.mark.parametrize("code", ["", "NoAuthenticationInformation", "PublicAccessNotPermitted", "AccountIsDisabled"])
def test_refusal_without_token_says_that_a_token_is_needed(code: str) -> None:
    """Only then does a message mention MODELS_ANONYMOUS."""
    error = error_for(response(403, x_ms_error_code=code), SITE, None)
    assert isinstance(error, AccessError)
    assert "denies access without a token" in str(error)
    assert "MODELS_ANONYMOUS" in str(error)
    assert "MODELS_ANONYMOUS" not in str(error_for(response(403, x_ms_error_code=code), SITE, sas()))


def test_error_code_in_header_takes_precedence_over_body() -> None:
    """A response to HEAD has no body, and a proxy may have replaced the body."""
    headers = {"x-ms-error-code": "A"}
    assert ErrorResponse.of(403, lambda name: headers.get(name, ""), code="B").code == "A"
    assert ErrorResponse.of(403, lambda _: "", code="B").code == "B"


@pytest.mark.parametrize(
    ("text", "date", "expected"),
    [
        ("7", "", 7.0),
        ("0", "", 0.0),
        ("Sat, 28 Nov 2026 12:01:00 GMT", "Sat, 28 Nov 2026 12:00:00 GMT", 60.0),
        ("Sat, 28 Nov 2026 11:59:00 GMT", "Sat, 28 Nov 2026 12:00:00 GMT", 0.0),
        ("Thu, 01 Jan 2026 00:00:00 GMT", "", 0.0),
        ("Thu, 01 Jan 2026 00:00:00 -0000", "", 0.0),
        ("soon", "", None),
        ("-5", "", None),
        ("1.5", "", None),
        ("", "", None),
    ],
)
def test_retry_after_is_seconds_or_date(text: str, date: str, expected: float | None) -> None:
    """Retry-After is seconds or a date by the service's clock; a past date is zero, an invalid value None."""
    busy = response(503, Retry_After=text, Date=date)
    assert busy.retry_after == expected
    assert unavailable(busy, "host").retry_after == expected


@pytest.mark.parametrize(("status", "expected"), [(408, False), (429, True), (500, False), (502, False), (503, True)])
def test_only_429_and_503_count_as_overload(status: int, expected: bool) -> None:  # noqa: FBT001 - a test's table
    """Only these two show that the service is running but busy."""
    assert unavailable(response(status), "host").overloaded is expected


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (403, SourceError, ": a token is sent to acc.blob.core.windows.net only, not to other hosts; check MODELS_URL"),
        (404, SourceError, "redirects to cdn.example, which answered 404"),
        (503, UnavailableError, "redirects to cdn.example, which answered 503: it is overloaded or down"),
    ],
)
def test_refusal_of_redirect_target_is_not_access_error(status: int, kind: type[ModelsInitError], words: str) -> None:
    """The token was not sent there, so a refusal is not an `AccessError`; transient errors are retried."""
    error = redirect_error(response(status, x_ms_error_code="AuthenticationFailed"), SITE, "cdn.example")
    assert type(error) is kind
    assert words in str(error)


@given(st.text())
@example("Thu, 01 Jan 2026 00:00:00 -0000")
@example("Mon, 01 Jan 99999 00:00:00 GMT")
@example("Fri, 31 Dec 9999 23:59:59 -9999")
@example("Mon, 01 Jan 0001 00:00:00 +2359")
def test_any_date_header_is_parsed_without_exception(text: str) -> None:
    """A date header results in a time with a time zone, or None, and never in an exception."""
    date = http_date(text)
    assert date is None or date.tzinfo
    error = error_for(response(503, Date=text, Retry_After=text), SITE, sas())
    assert isinstance(error, UnavailableError)
    assert isinstance(error_for(response(403, Date=text), SITE, sas()), AccessError)
