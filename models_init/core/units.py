"""Format sizes, times, tables and text from other programs for display, and parse sizes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_KIB = 1024
_MINUTE = 60
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR

_SIZE = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,18})?)\s*(B|KB|MB|GB|KiB|MiB|GiB)?\Z", re.IGNORECASE)
_UNITS = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}


def human_size(count: float) -> str:
    """Format a number of bytes, e.g. `1.2 GiB`."""
    if round(count) < _KIB:
        return f"{round(count)} B"
    for unit in ("KiB", "MiB", "GiB"):
        count /= _KIB
        if round(count, 1) < _KIB:
            return f"{count:.1f} {unit}"
    return f"{count / _KIB:.1f} TiB"


def human_rate(bytes_per_second: float) -> str:
    """Format a rate, e.g. `105.2 MiB/s`."""
    return f"{human_size(bytes_per_second)}/s"


def human_time(seconds: float) -> str:
    """Format a duration in its two largest units, e.g. `3 min 20 s`."""
    whole = round(seconds)
    if whole < 10:
        return f"{seconds:.1f} s"
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE:02} s"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE:02} min"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR:02} h"


def table(rows: Iterable[Sequence[object]], header: Sequence[str]) -> str:
    """Format rows under a header in aligned columns, without a newline after the last row.

    A column of numbers, or of sizes and rates as formatted above, is aligned to the right.
    Raises `ValueError`: a row and the header differ in length.
    """
    cells = [[str(cell) for cell in row] for row in (header, *rows)]
    columns = [_aligned(column) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join(row).rstrip() for row in zip(*columns, strict=True))


_is_figure = re.compile(r"(?:\d+|\d+(?:\.\d+)? (?:B|[KMGT]iB)(?:/s)?)\Z").match


def _aligned(column: Sequence[str]) -> list[str]:
    width = max(map(len, column))
    if len(column) > 1 and all(map(_is_figure, column[1:])):
        return [cell.rjust(width) for cell in column]
    return [cell.ljust(width) for cell in column]


def text_of(value: object) -> str:
    """Return `str(value)`, or the type's name if the value is an exception without text or if `__str__` raises."""
    try:
        return str(value) or (type(value).__name__ if isinstance(value, BaseException) else "")
    except Exception:  # noqa: BLE001 - another library's __str__ may raise anything; building a message must not fail
        return f"<{type(value).__name__}>"


def one_line(text: object) -> str:
    """Return the text on one line, without control characters. The text of an error may come from a server."""
    return "".join(char if char.isprintable() else "?" for char in " ".join(text_of(text).split()))


def some(items: Sequence[str], limit: int = 20) -> str:
    """Join the first `limit` items in ascending order on one line, and add the number of the others."""
    shown = ", ".join(sorted(items)[:limit])
    return shown if len(items) <= limit else f"{shown} and {len(items) - limit:,} more"


def count(number: int, thing: str) -> str:
    """Format a number and a noun, with a plural "s" unless it is 1: `1 file`, `20,000 files`."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def parse_size(text: str) -> int:
    """Return the number of bytes that a text such as `64MiB` or `20MB` means. Raises `ValueError` for other text."""
    match = _SIZE.match(text)
    if not match:
        raise ValueError("is not a size such as 64MiB or 20MB")
    return int(float(match[1]) * _UNITS[(match[2] or "B").lower()])
