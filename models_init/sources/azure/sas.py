"""Parse a SAS token in any form in which people paste it, and check its fields without network access.

Fields: https://learn.microsoft.com/rest/api/storageservices/create-service-sas and …/create-account-sas.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qs, unquote

GET_A_TOKEN = "put a valid token into MODELS_SAS_TOKEN or MODELS_SAS_TOKEN_FILE"  # noqa: S105 - not a token
"""Advice about a refused token, for messages."""

_SIGNATURE_BYTES = 32  # HMAC-SHA256
_ACCOUNT_KEY_BYTES = 64

_AROUND = " \t\r\n\ufeff\u200b\u00a0'\"`\u2018\u2019\u201c\u201d?&;,"
"""Characters that are removed around a token: spaces, quotes, separators, a byte order mark."""

_ASSIGNMENT = re.compile(r"(?:-\s+|export\s+|set\s+|\$env:)?[A-Z][A-Z0-9_]+\s*[=:]\s*(?=\S)")
"""The beginning of a line of an env file, a shell script or YAML. Fields of a token have lower-case names."""

_IN_CONNECTION_STRING = re.compile(r"(?:^|;)\s*SharedAccessSignature=([^;]*)", re.IGNORECASE)
_IN_URL = re.compile(r"\A[^?#=&]*\?(.*)", re.DOTALL)
_AMPERSAND = re.compile(r"&amp;|[\\^]&|\\u0026", re.IGNORECASE)
"""An ampersand as written in XML and HTML, in a POSIX shell, in cmd.exe, and in JSON."""

_REQUEST_FIELDS = re.compile(r"(?:^|&)(?:restype|comp|prefix|delimiter|include|maxresults|marker|timeout)=[^&]*")
"""Fields of a request to the service, which a copied URL contains in addition to those of the token."""

_FIELD_NAME = re.compile(r"[a-z]{2,12}\Z")

_OTHER_KINDS = (
    (r"(?s).*AccountKey=", "is a connection string with the account's key, not a SAS token"),
    (r"[a-z]+://", "is a URL without a token: the token is what follows the '?'"),
    (r"eyJ[\w-]+\.[\w-]+\.", "is a bearer token (JWT), not a SAS token"),
    (r"-----BEGIN ", "is a key or a certificate, not a SAS token"),
    (r"\s*<(?:!doctype|html|\?xml)", "is a web page, not a SAS token"),
    (r"<[^<>=]*>\Z|\{+[^{}=:]*\}+\Z|\$[({a-z]|.*(?:…|\.\.\.)", "is a placeholder that was not replaced by a token"),
    (r"(?:[A-Za-z]:\\|~?\.{0,2}/)[^=&]*\Z", "is the path of a file: set MODELS_SAS_TOKEN_FILE to it instead"),
)
"""Patterns of texts that are not SAS tokens, with their descriptions."""


@dataclass(frozen=True, slots=True, repr=False)
class SasToken:
    """A token in the form of a query string, without the leading `?`. It has no repr, because a repr could leak it."""

    query: str

    @classmethod
    def make(cls, text: str) -> SasToken:
        r"""Extract the token from pasted text if the text is unambiguous; `flaw` describes all other texts.

        The text may be a whole URL, a connection string, a line of an env file or shell, or a token that is
        percent-encoded as a whole. It may have surrounding spaces, quotes and `?`, and an escaped `&` (`&amp;`, `\&`,
        `^&`, `\u0026`).
        """
        text = text.strip(_AROUND)
        text = _ASSIGNMENT.sub("", text, count=1).strip(_AROUND) if _ASSIGNMENT.match(text) else text
        for pattern in (_IN_CONNECTION_STRING, _IN_URL):
            text = found[1].strip(_AROUND) if (found := pattern.search(text)) else text
        text = _AMPERSAND.sub("&", text)
        if "=" not in text and "%3d" in text.lower():
            text = unquote(text)
        return cls(_REQUEST_FIELDS.sub("", text).strip(_AROUND))

    def field(self, name: str) -> str:
        """Return the value of a field, or an empty string."""
        return parse_qs(self.query).get(name, [""])[0]

    @property
    def expires(self) -> datetime | None:
        """The time at which it expires, or None if it has no such field (a stored access policy may have one)."""
        return _moment(self.field("se"))

    @property
    def starts(self) -> datetime | None:
        """The time from which it is valid, or None if it has no such field."""
        return _moment(self.field("st"))

    def flaw(self, scheme: str = "https") -> str:
        """Return why it is unusable over `scheme` at any time, or an empty string."""
        if not self.query:
            return "is empty"
        if wrong := self._other_kind() or self._form_flaw():
            return wrong
        if not _is_signature(self.field("sig")):
            return "has a broken signature (field sig): it was cut or changed when it was copied"
        if scheme == "http" and self.field("spr") == "https":
            return "is for https only (spr=https), and MODELS_URL begins with http:"
        return self._scope_flaw()

    def _other_kind(self) -> str:
        """Return a description of the text if it is recognized as something other than a SAS token."""
        if _has_length(self.query, _ACCOUNT_KEY_BYTES):
            return "is an account key, not a SAS token"
        return next((kind for pattern, kind in _OTHER_KINDS if re.match(pattern, self.query, re.IGNORECASE)), "")

    def _form_flaw(self) -> str:
        """Check the characters and the names of the fields, so that nothing else is ever sent as part of a token."""
        if not all("!" <= char <= "~" for char in self.query):
            return "has a space, a line break or a character outside ASCII inside: it was changed when it was copied"
        names = [name for name, equals, _ in (part.partition("=") for part in self.query.split("&")) if equals]
        for name in names:
            if not _FIELD_NAME.match(name):
                shown = f" {name!r}" if re.fullmatch(r"[A-Za-z_;]{1,24}", name) else ""
                return f"has a field{shown} that no SAS token has: it was changed when it was copied"
            if names.count(name) > 1:
                return f"has the field {name} twice: it was pasted twice, or with another token"
        if "sig" not in names:
            return "has no signature (field sig): it was cut when it was copied, or is something else"
        return ""

    def _scope_flaw(self) -> str:
        permissions, resource = self.field("sp"), self.field("sr")
        if permissions and "r" not in permissions:
            return f"has no permission to read (sp={permissions})"
        if resource in {"b", "bs", "bv"}:
            return "is for one blob, not for the container (sr=b)"
        if self.field("ss") and "b" not in self.field("ss"):
            return f"is not for the blob service (ss={self.field('ss')})"
        if self.field("srt") and "o" not in self.field("srt"):
            return f"is not for objects (srt={self.field('srt')})"
        return ""

    def scope(self) -> str:
        """Describe the resource that it gives access to, its permissions and its restrictions."""
        opens = {"c": "the container", "d": "one directory"}.get(self.field("sr"), "the account")
        fields = {"sp": "permissions", "sip": "only from IP", "si": "by the stored policy"}
        restrictions = [f"{words} {self.field(key)}" for key, words in fields.items() if self.field(key)]
        return ", ".join([f"for {opens}", *restrictions])

    def time_flaw(self, now: datetime) -> str:
        """Return why it is unusable at `now`, or an empty string."""
        expires, starts = self.expires, self.starts
        if expires and now >= expires:
            return f"expired at {_shown(expires)}"
        if starts and now < starts:
            return f"is not valid before {_shown(starts)}"
        return ""


def _is_signature(text: str) -> bool:
    # parse_qs decodes a "+" that is not percent-encoded as a space; Azure accepts such a token.
    return _has_length(text.replace(" ", "+"), _SIGNATURE_BYTES)


def _has_length(text: str, count: int) -> bool:
    """Return True if the text is the base64 form of `count` bytes."""
    try:
        return len(base64.b64decode(text, validate=True)) == count
    except (binascii.Error, ValueError):
        return False


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):  # OverflowError: the first or last representable day in another time zone
        return None


def _shown(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
