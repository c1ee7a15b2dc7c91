"""The platform license `license.json`: the fields that an install depends on.

The vendor defines the schema and the platform verifies the signature; this module does neither. It looks for a few
fields in their usual spellings, at the top level and below `license`, `payload` and `claims`, in a JSON object or a
JSON Web Token, and ignores everything else. A field that is missing or not understood is reported, never guessed.
"""

from __future__ import annotations

import binascii
import re
from base64 import urlsafe_b64decode
from datetime import UTC, datetime, time
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from models_init.core.text_encoding import decode_text
from models_init.formats.documents import load

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SIZE_LIMIT = 1 << 20
"""Maximum size of a license in bytes; a real one has a few KiB."""

ALL_LANGUAGES = ("*", "all", "any")
"""Entries of the list of languages that include every language."""

_NESTED = ("license", "payload", "claims")
_DEPTH = 4  # levels of nested fields: {"license": {"payload": "<JWT>"}} has three
_SPELLINGS = {
    "realtime": ("realtime", "realtimeenabled", "isrealtime", "allowrealtime"),
    "max_realtime_streams": ("maxrealtimestreams", "realtimestreams", "maxstreams", "maxconcurrentstreams"),
    "languages": ("languages", "realtimelanguages", "allowedlanguages", "permittedlanguages", "licensedlanguages"),
    "expires": (
        *("expires", "expiresat", "expiry", "expirydate", "expirationdate", "expiration", "exp"),
        *("validuntil", "validto", "notafter"),
    ),
    "licensee": (
        *("licensee", "licensedto", "issuedto", "customer", "customername"),
        *("organization", "organisation", "company"),
    ),
}
"""Spellings of each field in lower case, without `_`, `-` and spaces."""

_TRUE, _FALSE = {"true", "yes", "on", "1", "enabled"}, {"false", "no", "off", "0", "disabled"}
_MILLISECONDS = 10**11  # a larger number is a time in milliseconds; in seconds it would be after the year 5100
_JWT = re.compile(r"[A-Za-z0-9_-]+\.([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]*\Z")
_HTML = re.compile(rb"\s*<(!doctype|html|\?xml|head|body)", re.IGNORECASE)


def _flag(value: object) -> bool:
    text = str(value).strip().lower()
    if not isinstance(value, bool | int | str) or text not in _TRUE | _FALSE:
        raise ValueError("is neither true nor false")
    return text in _TRUE


def _count(value: object) -> int:
    if isinstance(value, bool) or not re.fullmatch(r"\d{1,9}", str(value).strip()):
        raise ValueError("is not a whole number")
    return int(str(value))


def _languages(value: object) -> tuple[str, ...]:
    entries = re.split(r"[,;\s]+", value.strip()) if isinstance(value, str) else value
    if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
        raise ValueError("is not a list of language codes")
    return tuple(dict.fromkeys(language_code(entry) for entry in entries if entry.strip()))


def _moment(value: object) -> datetime:
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value / 1000 if value >= _MILLISECONDS else value, UTC)
        if isinstance(value, str) and re.fullmatch(r"\d{9,13}", value.strip()):
            return _moment(int(value))
        if isinstance(value, str):
            return _iso_moment(value.strip())
    except (ValueError, OverflowError, OSError):
        pass
    raise ValueError("is not a time")


def _iso_moment(text: str) -> datetime:
    """Parse an ISO 8601 time. The default time zone is UTC. A date without a time means the end of that day.

    The last day of the year 9999 is a common way to write "never"; in UTC it may be a day that cannot be represented.
    """
    moment = datetime.fromisoformat(text)
    if re.fullmatch(r"\d{4}-?\d{2}-?\d{2}", text):
        moment = datetime.combine(moment, time.max)
    try:
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except OverflowError:
        return moment.replace(tzinfo=UTC)


def _name(value: object) -> str:
    if isinstance(value, dict):
        value = value.get("name")
    if not isinstance(value, str) or not value.strip():
        raise ValueError("is not a name")
    return value.strip()


class PlatformLicense(BaseModel):
    """The fields that were found; None for a field that is missing or not understood.

    `languages` are codes such as `nl-nl`. `expires` has a time zone.
    """

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True, defer_build=True)

    realtime: Annotated[bool | None, BeforeValidator(_flag)] = None
    max_realtime_streams: Annotated[int | None, BeforeValidator(_count)] = None
    languages: Annotated[tuple[str, ...] | None, BeforeValidator(_languages)] = None
    expires: Annotated[datetime | None, BeforeValidator(_moment)] = None
    licensee: Annotated[str | None, BeforeValidator(_name)] = None

    missing: tuple[str, ...] = ()
    """Names of the fields that the document does not have."""
    invalid: tuple[str, ...] = ()
    """A description of each field whose value is not understood, such as `expires is not a time`."""

    def includes(self, language: str) -> bool | None:
        """Return True if the license includes the language, or None if that is unknown.

        The result is unknown if the license has no list of languages, or lists the language only without its country.
        """
        if self.languages is None:
            return None
        if language in self.languages or any(entry in ALL_LANGUAGES for entry in self.languages):
            return True
        return None if language.partition("-")[0] in self.languages else False


def language_code(text: str) -> str:
    """Return a language code in the form that pack names use: `nl_NL` becomes `nl-nl`."""
    return text.strip().lower().replace("_", "-")


def parse(document: bytes) -> PlatformLicense:
    """Parse `license.json`. Raises `ValueError`: it is not a license; the message completes "the file …"."""
    content = _content(document)
    if not isinstance(content, dict):
        raise ValueError("has no JSON object")  # noqa: TRY004 - as all faults of documents
    found, conflicts = _fields(content)
    if conflicts:
        raise ValueError(f"has two different values for {' and '.join(conflicts)}")
    missing = tuple(name for name in _SPELLINGS if name not in found)
    invalid = _invalid(found)
    valid = {name: value for name, value in found.items() if name not in invalid}
    faults = tuple(f"{name} {reason}" for name, reason in invalid.items())
    return PlatformLicense.model_validate({**valid, "missing": missing, "invalid": faults})


def is_html(document: bytes) -> bool:
    """Return True if a file is a web page, such as a login page that was saved instead of a download."""
    return bool(_HTML.match(document[:1024].removeprefix(b"\xef\xbb\xbf")))


def is_json(document: bytes) -> bool:
    """Return True if a file is a JSON object or list."""
    try:
        return isinstance(load(_text(document).encode()), dict | list)
    except ValueError:
        return False


def _content(document: bytes) -> Any:
    """Return the JSON value in the document. Raises `ValueError`."""
    if not document.strip():
        raise ValueError("is empty")
    if is_html(document):
        raise ValueError("is a web page")
    text = _text(document).strip()
    if match := _JWT.match(text):
        return _claims(match[1])
    try:
        return load(text.encode(), object_pairs_hook=_object)
    except ValueError as error:
        raise ValueError(f"cannot be read as JSON: {error}") from error


def _text(document: bytes) -> str:
    """Decode UTF-8 or UTF-16, with or without a byte order mark. Raises `ValueError`."""
    try:
        return decode_text(document)
    except UnicodeDecodeError:
        raise ValueError("is not text") from None


def _claims(part: str) -> Any:
    """Decode a part of a JSON Web Token. Raises `ValueError`."""
    try:
        decoded = urlsafe_b64decode(part + "=" * (-len(part) % 4))
        return load(decoded, object_pairs_hook=_object)
    except (binascii.Error, ValueError):
        raise ValueError("looks like a JSON Web Token whose payload cannot be decoded") from None


class _Repeated(list[Any]):
    """The values of a field that an object has more than once."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Create an object that keeps all values of a repeated field, because parsers disagree on which one applies."""
    content: dict[str, Any] = {}
    for name, value in pairs:
        if name not in content or content[name] == value:
            content[name] = value
        elif isinstance(content[name], _Repeated):
            content[name].append(value)
        else:
            content[name] = _Repeated([content[name], value])
    return content


def _fields(content: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the known fields, outermost first, and the names of those that have different values."""
    found: dict[str, Any] = {}
    conflicts = []
    for level in _levels(content, _DEPTH):
        spelled = {re.sub(r"[-_\s]", "", name).lower(): value for name, value in level.items()}
        for name, spellings in _SPELLINGS.items():
            values = [spelled[spelling] for spelling in spellings if spelled.get(spelling) is not None]
            if any(isinstance(value, _Repeated) for value in values):
                conflicts.append(name)
            if values:
                found.setdefault(name, values[0])
    return found, list(dict.fromkeys(conflicts))


def _levels(content: Mapping[str, Any], depth: int) -> Iterator[Mapping[str, Any]]:
    """Yield the object and the objects below `license`, `payload` and `claims`."""
    yield content
    for name, value in content.items():
        if depth and name.lower() in _NESTED and isinstance(nested := _decoded(value), dict):
            yield from _levels(nested, depth - 1)


def _decoded(value: object) -> object:
    """Return a nested value; decode it if it is a JSON Web Token or the payload of one in base64."""
    if not isinstance(value, str):
        return value
    try:
        match = _JWT.match(value.strip())
        return _claims(match[1] if match else value.strip())
    except ValueError:
        return value


def _invalid(found: Mapping[str, Any]) -> dict[str, str]:
    """Return, by field, the reason why a value is not understood."""
    try:
        PlatformLicense.model_validate(found)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)
        return {str(fault["loc"][0]): str(fault["ctx"]["error"]) for fault in faults}
    return {}
