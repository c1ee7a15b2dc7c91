"""Reads JSON documents for pydantic types to validate, and says in one line what is wrong with a document."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict, ValidationError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from pydantic_core import ErrorDetails

FORBID_UNKNOWN = ConfigDict(extra="forbid", defer_build=True)
"""For types whose documents hold no other fields than theirs. Validators are built when the first one is needed."""

_LENGTH_LIMIT = 300  # characters of a message

_SMALL_DOCUMENT = 1 << 20  # bytes; what a smaller one takes in memory is of no importance

_BYTES_PER_VALUE = 8
"""Bytes of JSON for each value in a large document, at least. Files and chunks of a manifest have more than 20."""

_TEXTS = {
    "bool_type": "is neither true nor false",
    "dataclass_type": "is not an object",
    "dict_type": "is not an object",
    "greater_than_equal": "is less than {ge}",
    "int_type": "is not a whole number",
    "less_than_equal": "is more than {le}",
    "missing": "is missing",
    "string_pattern_mismatch": "does not match {pattern}",
    "string_too_long": "has more than {max_length} characters",
    "string_too_short": "has fewer than {min_length} characters",
    "string_type": "is not text",
    "string_unicode": "is not Unicode text",
    "too_short": "has fewer than {min_length} entries",
    "tuple_type": "is not a list",
}
"""What is wrong with a value, by the type of pydantic's error."""


def load(document: bytes, object_hook: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """Parse JSON in UTF-8, for a `TypeAdapter` to validate; raise `ValueError` with a message in our own words.

    `object_hook` may replace each object as soon as it is complete. That keeps the tree of a large document small,
    which `TypeAdapter.validate_json` holds as a whole (figures: docs/decisions/0050-documents-in-pydantic.md).
    """
    _check_density(document)
    try:
        return json.loads(document.decode(), object_hook=object_hook, parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8: {error}") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON: {error}") from error
    except ValueError as error:  # from `_refuse`, or from `int`, which takes no more digits by default
        raise ValueError("it holds a number that is not finite, or has more than 4300 digits") from error


def _check_density(document: bytes) -> None:
    """Refuse a large document of tiny values: `[],[],[]` takes 20 times its bytes in memory, `{"a":{"a":{` 30 times."""
    values = sum(map(document.count, (b",", b"[", b"{")))
    if len(document) > _SMALL_DOCUMENT and values > len(document) // _BYTES_PER_VALUE:
        raise ValueError("it holds too many values for its size")


def flaw(error: ValueError) -> str:
    """Describe in one line what `load` or a validation raised; of several faults the first one."""
    if isinstance(error, ValidationError):
        return shortened(_describe(error.errors(include_url=False, include_input=False)[0]))
    return shortened(str(error))


def shortened(text: str, limit: int = _LENGTH_LIMIT) -> str:
    """Fit text into one line of about `limit` characters: cut out of the middle, for both ends say what it is about."""
    text = text if text.isprintable() else repr(text)  # a field's name may hold line breaks
    return text if len(text) <= limit else f"{text[: limit // 2]}…{text[-limit // 2 :]}"


def _describe(fault: ErrorDetails) -> str:
    context = fault.get("ctx", {})
    if fault["type"] == "value_error":  # raised by one of our own rules, which says what it is about
        return str(context["error"])
    if fault["type"] == "unexpected_keyword_argument":
        return f"unknown field {_place(fault)}"
    return f"{_place(fault)} {_TEXTS.get(fault['type'], 'is not valid').format(**context)}"


def _place(fault: ErrorDetails) -> str:
    """Where it is in the document: `files[0].size`."""
    steps = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in fault["loc"])
    return f"`{steps.removeprefix('.')}`" if steps else "it"


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number")
