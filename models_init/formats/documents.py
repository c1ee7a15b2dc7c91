"""Parse JSON documents for validation by pydantic, and describe in one line why a document is invalid."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict, ValidationError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from pydantic_core import ErrorDetails

FORBID_UNKNOWN = ConfigDict(extra="forbid", defer_build=True)
"""Configuration of types whose documents may have no unknown fields. Validators are built on first use."""

_LENGTH_LIMIT = 300  # characters of a message

_SMALL_DOCUMENT = 1 << 20  # bytes; the memory use of a smaller document does not matter

_BYTES_PER_VALUE = 8
"""Minimum bytes of JSON per value in a large document. Files and chunks of a manifest have more than 20."""

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
"""Descriptions of pydantic's errors by error type."""


def load(
    document: bytes,
    object_hook: Callable[[dict[str, Any]], Any] | None = None,
    object_pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None = None,
) -> Any:
    """Parse UTF-8 JSON for validation by a `TypeAdapter`. Raises `ValueError` with a message for the operator.

    `object_hook` may replace each object as soon as it is complete. That keeps the parsed form of a large document
    small, whereas `TypeAdapter.validate_json` holds all of it in memory (figures:
    docs/decisions/0050-documents-in-pydantic.md). `object_pairs_hook` does the same and also receives repeated fields.
    """
    _check_density(document)
    try:
        return json.loads(
            document.decode(),
            object_hook=object_hook,
            object_pairs_hook=object_pairs_hook,
            parse_constant=_refuse,
        )
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8: {error}") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON: {error}") from error
    except ValueError as error:  # from `_refuse`, or from `int`, which accepts at most 4300 digits by default
        raise ValueError("it holds a number that is not finite, or has more than 4300 digits") from error


def _check_density(document: bytes) -> None:
    """Raise `ValueError` for a large document of tiny values.

    In memory, `[],[],[]` takes 20 times its size, `{"a":{"a":{` 30 times.
    """
    values = sum(map(document.count, (b",", b"[", b"{")))
    if len(document) > _SMALL_DOCUMENT and values > len(document) // _BYTES_PER_VALUE:
        raise ValueError("it holds too many values for its size")


def flaw(error: ValueError) -> str:
    """Describe in one line the error that `load` or a validation raised. Of several errors, describe only the first."""
    if isinstance(error, ValidationError):
        return shortened(_describe(error.errors(include_url=False, include_input=False)[0]))
    return shortened(str(error))


def shortened(text: str, limit: int = _LENGTH_LIMIT) -> str:
    """Shorten text to one line of about `limit` characters. The middle is cut, because both ends are informative."""
    text = text if text.isprintable() else repr(text)  # a field's name may hold line breaks
    return text if len(text) <= limit else f"{text[: limit // 2]}…{text[-limit // 2 :]}"


def _describe(fault: ErrorDetails) -> str:
    context = fault.get("ctx", {})
    if fault["type"] == "value_error":  # raised by this program's own rules, whose messages name the place
        return str(context["error"])
    if fault["type"] == "unexpected_keyword_argument":
        return f"unknown field {_place(fault)}"
    return f"{_place(fault)} {_TEXTS.get(fault['type'], 'is not valid').format(**context)}"


def _place(fault: ErrorDetails) -> str:
    """Return the position of the error in the document: `files[0].size`."""
    steps = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in fault["loc"])
    return f"`{steps.removeprefix('.')}`" if steps else "it"


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number")
