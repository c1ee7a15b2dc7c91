"""Parse and check a SAS token's fields (lifetime, permissions, scope) without network access.

Fields: https://learn.microsoft.com/rest/api/storageservices/create-service-sas and …/create-account-sas.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qs

GET_A_TOKEN = "put a valid token into MODELS_SAS_TOKEN or MODELS_SAS_TOKEN_FILE"  # noqa: S105 - not a token
"""Advice about a refused token, for messages."""

_SIGNATURE_BYTES = 32  # HMAC-SHA256


@dataclass(frozen=True, slots=True, repr=False)
class SasToken:
    """A token in the form of a query string, without the leading `?`. It has no repr, which could leak it."""

    query: str

    @classmethod
    def make(cls, text: str) -> SasToken:
        """Return the token without the spaces, quotes, newline or `?` that people paste with it."""
        return cls(text.strip().strip("'\"").lstrip("?&").strip())

    def field(self, name: str) -> str:
        """Return the value of a field, or an empty string."""
        return parse_qs(self.query).get(name, [""])[0]

    @property
    def expires(self) -> datetime | None:
        """The time at which it expires, None if it has no such field (a stored access policy may have it instead)."""
        return _moment(self.field("se"))

    @property
    def starts(self) -> datetime | None:
        """The time from which it is valid, None if it has no such field."""
        return _moment(self.field("st"))

    def flaw(self, scheme: str = "https") -> str:
        """Return why it is unusable over `scheme` at any time, or an empty string."""
        if not self.query:
            return "is empty"
        if not self.field("sig"):
            return "has no signature (field sig): it was cut when it was copied, or is something else"
        if not _is_signature(self.field("sig")):
            return "has a broken signature (field sig): it was cut or changed when it was copied"
        if not all("!" <= char <= "~" for char in self.query):
            return "has a space or line break inside, or what is no plain letter: it was changed when it was copied"
        if scheme == "http" and self.field("spr") == "https":
            return "is for https only (spr=https), and MODELS_URL begins with http:"
        return self._scope_flaw()

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
        """Describe what it gives access to, with which permissions and restrictions."""
        opens = {"c": "the container", "d": "one directory"}.get(self.field("sr"), "the account")
        fields = {"sp": "permissions", "sip": "only from IP", "si": "by the stored policy"}
        told = [f"{words} {self.field(key)}" for key, words in fields.items() if self.field(key)]
        return ", ".join([f"for {opens}", *told])

    def time_flaw(self, now: datetime) -> str:
        """Return why it is unusable at `now`, or an empty string."""
        expires, starts = self.expires, self.starts
        if expires and now >= expires:
            return f"expired at {_shown(expires)}"
        if starts and now < starts:
            return f"is not valid before {_shown(starts)}"
        return ""


def _is_signature(text: str) -> bool:
    try:
        # parse_qs decodes a "+" that is not percent-encoded as a space; Azure accepts such a token.
        return len(base64.b64decode(text.replace(" ", "+"), validate=True)) == _SIGNATURE_BYTES
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
