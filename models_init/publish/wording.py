"""How lists of things read in one line for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def some(items: Sequence[str], limit: int = 20) -> str:
    """Join a list for one line, its first `limit` items in ascending order, and count the rest."""
    shown = ", ".join(sorted(items)[:limit])
    return shown if len(items) <= limit else f"{shown} and {len(items) - limit:,} more"


def count(number: int, thing: str) -> str:
    """A number with its thing: `1 file`, `20,000 files`."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"
