"""Sizes, rates, times and tables in readable form."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_init.core.units import human_rate, human_size, human_time, one_line, table


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1024**2 - 1, "1.0 MiB"),
        (1_288_490_189, "1.2 GiB"),
        (1024**4, "1.0 TiB"),
        (5000 * 1024**4, "5000.0 TiB"),
    ],
)
def test_size_has_one_decimal_and_a_unit(count: int, expected: str) -> None:
    """There are at most four digits before the decimal point."""
    assert human_size(count) == expected


def test_rate_is_a_size_per_second() -> None:
    assert human_rate(1024**2 * 105.24) == "105.2 MiB/s"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0.0 s"),
        (9.44, "9.4 s"),
        (9.96, "10 s"),
        (59.7, "1 min 00 s"),
        (200, "3 min 20 s"),
        (3600, "1 h 00 min"),
        (90_000, "1 d 01 h"),
    ],
)
def test_duration_has_its_two_largest_units(seconds: float, expected: str) -> None:
    assert human_time(seconds) == expected


def test_table_aligns_its_columns() -> None:
    """Names are aligned to the left, figures to the right; no line ends in spaces."""
    rows = [("nl-nl", "2026.04", 3, "1.2 GiB", ""), ("common", "2026.04-rc1", 12, "0 B", "here")]
    assert table(rows, ("PACK", "VERSION", "FILES", "SIZE", "STATE")).split("\n") == [
        "PACK    VERSION      FILES     SIZE  STATE",
        "nl-nl   2026.04          3  1.2 GiB",
        "common  2026.04-rc1     12      0 B  here",
    ]


def test_empty_table_is_its_header() -> None:
    assert table([], ("PACK", "SIZE")) == "PACK  SIZE"


def test_row_without_a_cell_is_rejected() -> None:
    with pytest.raises(ValueError, match=r"zip\(\)"):
        table([("a",), ("b", "c")], ("A",))


@given(st.lists(st.tuples(st.text("ab 1", max_size=9), st.integers()), max_size=9))
def test_each_row_is_one_line(rows: list[tuple[str, int]]) -> None:
    """The table has one line for its header and one for each row."""
    assert len(table(rows, ("A", "B")).split("\n")) == len(rows) + 1


@given(st.text())
def test_text_of_a_server_becomes_one_line(text: str) -> None:
    """Line breaks become spaces, and escape sequences are replaced."""
    assert one_line(text) == "" or one_line(text).isprintable()
