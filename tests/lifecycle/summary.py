"""Coverage figures of tests, printed at the end of the terminal summary."""

from __future__ import annotations

LINES: list[str] = []


def report_at_end(line: object) -> None:
    """Print the line in the summary at the end."""
    LINES.append(str(line))
