"""The documented error codes of Get Blob, Get Blob Properties and List Blobs, with cause and remedy.

https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes and …/common-rest-api-error-codes.
Texts are templates: `{path}` is the path of the request, `{container}` the container's URL, `{setting}` the
setting that contains the URL, `{has}` the permissions of the token, and `{needed}` those that it needs.
"""

from __future__ import annotations

from dataclasses import dataclass

from models_init.core.errors import (
    AccessError,
    ArchivedError,
    ModelsInitError,
    NotFoundError,
    SourceError,
    UnavailableError,
    WrongBytesError,
)
from models_init.sources.azure.sas import GET_A_TOKEN

_NEW_TOKEN = f"{GET_A_TOKEN} and run again"
_PROXY = "check {setting}, and whether a proxy changes requests"
_LATER = "run again later"
_PUBLISHER = "the publisher must upload it again"

MISMATCH = (
    "the SAS token does not fit the container {container}: its signature is wrong, or it was made for another "
    "container or account, or was revoked, or the account's firewall does not admit this machine"
)
"""The possible causes of a refusal without a more precise code."""


@dataclass(frozen=True, slots=True)
class ErrorMeaning:
    """The meaning of an error code.

    `error` determines the exit code; only an `UnavailableError` is retried. `cause` and `remedy` are templates.
    `new_token_helps` is False if a new token of the same kind would also be refused.
    """

    statuses: tuple[int, ...]
    error: type[ModelsInitError]
    cause: str
    remedy: str
    new_token_helps: bool = True


def _token(cause: str, *statuses: int) -> ErrorMeaning:
    return ErrorMeaning(statuses or (403,), AccessError, cause, _NEW_TOKEN)


def _invalid(cause: str, *statuses: int) -> ErrorMeaning:
    return ErrorMeaning(statuses or (400,), SourceError, cause, _PROXY)


def _busy(*statuses: int) -> ErrorMeaning:
    return ErrorMeaning(statuses, UnavailableError, "it is overloaded or down", _LATER)


_HEADER = _invalid("the service rejects a header of the request")
_QUERY = _invalid("the service rejects a query parameter of the request")
_ADDRESS = _invalid("{container} is not a valid address of a container")
_CONDITION = _invalid("the service does not support the conditions of the request")
_REPLACED = ErrorMeaning(
    (412,), WrongBytesError, "{path} was replaced while it was fetched", "run again to get the new one"
)
_NO_BLOB = ErrorMeaning((404,), NotFoundError, "{path} does not exist", "check its name and {setting}")

CODES: dict[str, ErrorMeaning] = {
    # 400
    "ConditionHeadersNotSupported": _CONDITION,
    "InvalidHeaderValue": _HEADER,
    "InvalidInput": _invalid("the service rejects the request as invalid"),
    "InvalidMarker": _QUERY,
    "InvalidOperation": _invalid("the service does not support this operation on this blob"),
    "InvalidQueryParameterValue": _QUERY,
    "InvalidResourceName": _ADDRESS,
    "InvalidUri": _ADDRESS,
    "MissingRequiredHeader": _HEADER,
    "MissingRequiredQueryParameter": _QUERY,
    "MultipleConditionHeadersNotSupported": _CONDITION,
    "OutOfRangeInput": _invalid("the service rejects a value of the request as out of range"),
    "OutOfRangeQueryParameterValue": _QUERY,
    "RequestUrlFailedToParse": _ADDRESS,
    "UnsupportedHeader": _HEADER,
    "UnsupportedQueryParameter": _QUERY,
    # 401 and 403
    "AccountIsDisabled": ErrorMeaning(
        (403,),
        AccessError,
        "the storage account of {container} is disabled",
        "the publisher must enable the account or its subscription; a new token does not help",
        new_token_helps=False,
    ),
    "AuthenticationFailed": _token(MISMATCH),
    "AuthorizationFailure": _token(MISMATCH),
    "AuthorizationPermissionMismatch": _token("the SAS token lacks a permission (sp={has}; {needed} are needed)"),
    "AuthorizationProtocolMismatch": _token("the SAS token is for https only"),
    "AuthorizationResourceTypeMismatch": _token("the SAS token is not for this type of resource"),
    "AuthorizationServiceMismatch": _token("the SAS token is not for the blob service"),
    "AuthorizationSourceIPMismatch": _token("the SAS token is for another IP address than this machine's (sip=)"),
    "InsufficientAccountPermissions": ErrorMeaning(
        (403,),
        AccessError,
        "the storage account of {container} does not permit reading at present",
        "the publisher must permit it; a new token does not help",
        new_token_helps=False,
    ),
    "InvalidAuthenticationInfo": _token("the service cannot read the SAS token", 400, 401),
    "KeyBasedAuthenticationNotPermitted": ErrorMeaning(
        (403,),
        AccessError,
        "the storage account of {container} accepts no token that is signed with an account key",
        "ask the publisher for a user delegation SAS token; a new token of the same kind does not help",
        new_token_helps=False,
    ),
    "NoAuthenticationInformation": _token(MISMATCH, 401),
    # 404
    "BlobNotFound": _NO_BLOB,
    "ContainerNotFound": ErrorMeaning(
        (404,), NotFoundError, "the container {container} does not exist", "check {setting}"
    ),
    "ResourceNotFound": _NO_BLOB,
    # 409
    "AccountBeingCreated": ErrorMeaning(
        (409,), SourceError, "the storage account of {container} is still being created", _LATER
    ),
    "BlobArchived": ErrorMeaning(
        (409,),
        ArchivedError,
        "{path} is in the archive tier, where it cannot be read",
        "ask the publisher to move it to an online tier, which takes up to 15 hours, then run again",
    ),
    "BlobBeingRehydrated": ErrorMeaning(
        (409,),
        ArchivedError,
        "{path} is being moved from the archive tier to an online tier, which takes up to 15 hours",
        "run again when the publisher says that it is complete",
    ),
    "BlobUsesCustomerSpecifiedEncryption": ErrorMeaning(
        (409,), SourceError, "{path} is encrypted with a key that only its publisher has", _PUBLISHER
    ),
    "ContainerBeingDeleted": ErrorMeaning(
        (409,), NotFoundError, "the container {container} is being deleted", "check {setting}"
    ),
    "ContainerDisabled": ErrorMeaning(
        (409,), SourceError, "the container {container} is disabled", "the publisher must enable it"
    ),
    "FeatureVersionMismatch": _invalid("{path} needs a newer version of the service's protocol", 409),
    "InvalidBlobType": ErrorMeaning((409,), SourceError, "{path} is not a block blob", _PUBLISHER),
    "PublicAccessNotPermitted": _token(MISMATCH, 409),
    "ResourceTypeMismatch": _invalid("{path} is another type of resource", 409),
    # 412 and 416
    "ConditionNotMet": _REPLACED,
    "InvalidRange": ErrorMeaning((416,), SourceError, "{path} is shorter than its manifest says", _PUBLISHER),
    "TargetConditionNotMet": _REPLACED,
    # 500 and 503
    "InternalError": _busy(500),
    "OperationTimedOut": _busy(500),
    "ServerBusy": _busy(503),
}
"""The meaning of each documented code, by its usual status."""

STATUSES: dict[int, ErrorMeaning] = {
    400: _invalid("the service rejects the request as invalid"),
    401: _token(MISMATCH, 401),
    403: _token(MISMATCH),
    404: _NO_BLOB,
    409: ErrorMeaning((409,), SourceError, "{path} cannot be read in its present state", "ask the publisher"),
    412: _REPLACED,
    416: CODES["InvalidRange"],
}
"""The meaning of a status with an unknown code or without a code."""

OTHER_STATUS = _invalid("it does not answer as a blob service does")
SERVER_ERROR = _busy(500, 503)
