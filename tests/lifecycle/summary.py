"""What tests have to say besides yes and no: how much they covered. The terminal's summary ends with it."""

from __future__ import annotations

LINES: list[str] = []


def report_at_end(line: object) -> None:
    """Print the line in the summary at the end."""
    LINES.append(str(line))
