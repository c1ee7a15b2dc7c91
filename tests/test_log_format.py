"""Promises about log lines: one event, one line, whatever its facts are."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models_init.output.log_format import logger

if TYPE_CHECKING:
    from collections.abc import Callable

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.just(ValueError()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.integers(), inner, max_size=3),
    max_leaves=5,
)


class Rude:
    """Fails when it is asked for its text."""

    def __str__(self) -> str:
        raise RuntimeError("no text of me")


def logged(write: Callable[[Any], None], log_format: str = "text", level: str = "info") -> list[str]:
    """Return the lines that `write` makes with a logger."""
    lines: list[str] = []
    write(logger(lines.append, log_format, level))
    return lines


def line(log_format: str, level: str, event: str, **facts: object) -> str:
    """Return the one line that an event makes, without its line end."""
    (text,) = logged(lambda log: getattr(log.bind(**facts), level)(event), log_format)
    return text.removesuffix("\n")


def facts(text: str) -> str:
    """Return a text line without its time, whose form is checked here."""
    time, _, rest = text.partition(" ")
    assert len(time) == len("2026-11-22T10:00:00.000Z")
    assert time.endswith("Z")
    return rest


@pytest.mark.parametrize(
    ("fact", "expected"),
    [
        ({"pack": "nl-nl"}, "pack=nl-nl"),
        ({"bytes": 1_288_490_189}, "bytes=1.2GiB"),
        ({"total_bytes": 1024}, "total=1.0KiB"),
        ({"rate_bytes_per_second": 2048.0}, "rate=2.0KiB/s"),
        ({"eta_seconds": 200}, "eta=3min20s"),
        ({"eta_seconds": None}, "eta=unknown"),
        ({"total_bytes": "many"}, "total_bytes=many"),
        ({"retry": True, "error": None}, "retry=true error=none"),
        ({"packs": ["common", "nl-nl"]}, "packs=common,nl-nl"),
        ({"error": TimeoutError()}, "error=TimeoutError"),
        ({"error": OSError(5, "Input/output error")}, 'error="[Errno 5] Input/output error"'),
        ({"text": 'two\nlines "quoted"'}, r'text="two\nlines \"quoted\""'),
        ({"text": "\x1b[2J"}, r'text="\u001b[2J"'),
        ({"text": ""}, 'text=""'),
        ({"value": Rude()}, "value=<Rude>"),
        ({"total_bytes": float("nan")}, "total_bytes=nan"),
        ({"total_bytes": 10**400}, f"total_bytes={10**400}"),
        ({"total": "all", "total_bytes": 1024}, "total=all total_bytes=1.0KiB"),
        ({"exception": "two\nlines", "stack": 1}, r'exception_="two\nlines" stack_=1'),
    ],
)
def test_text_reads_like_logfmt(fact: dict[str, object], expected: str) -> None:
    """Facts are `name=value`, figures carry their units, and anything odd is quoted."""
    assert facts(line("text", "info", "fetched", **fact)) == f"info    fetched {expected}"


def test_json_has_the_plain_figures() -> None:
    """A line of JSON is one object that begins with time, level and event; its numbers are numbers."""
    text = line("json", "warning", "fetched", total_bytes=1024, eta_seconds=None, error=OSError("é"), packs=("a", {1}))
    found = json.loads(text)
    assert list(found) == ["time", "level", "event", "total_bytes", "eta_seconds", "error", "packs"]
    assert found["level"] == "warning"
    assert (found["total_bytes"], found["eta_seconds"], found["error"], found["packs"]) == (1024, None, "é", ["a", [1]])


@given(st.dictionaries(st.sampled_from(["a", "b_bytes", "c_seconds", "event", "exception", "stack", "time"]), VALUES))
@settings(deadline=None)
@pytest.mark.parametrize("log_format", ["text", "json"])
def test_any_fact_can_be_logged(log_format: str, fact: dict[str, Any]) -> None:
    """Any facts make one line, in JSON one that can be parsed, and never an error."""
    (text,) = logged(lambda log: log.bind(**fact).info("happened"), log_format)
    assert text.endswith("\n")
    assert text.count("\n") == 1
    assert log_format == "text" or json.loads(text)["event"] == "happened"


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_an_event_with_a_line_break_is_one_line(log_format: str) -> None:
    """The name of an event cannot break the line either."""
    assert "\n" not in line(log_format, "info", "two\nlines")


def test_what_json_cannot_hold_becomes_text() -> None:
    """A list within itself, NaN and keys of other types become text, and the other facts stay what they are."""
    endless: list[object] = []
    endless.append(endless)
    found = json.loads(line("json", "info", "odd", a=endless, b=float("nan"), c={b"k": 1}, d=1, e=Rude()))
    assert [found[key] for key in "abcde"] == ["[[...]]", "nan", "{b'k': 1}", 1, "<Rude>"]


@pytest.mark.parametrize(("level", "expected"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_the_level_decides_what_is_written(level: str, expected: int) -> None:
    """What is below the level is not written."""

    def write(log: Any) -> None:
        for name in ("debug", "info", "warning", "error"):
            getattr(log, name)(name)

    assert len(logged(write, level=level)) == expected


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_tracebacks_are_for_debugging(log_format: str) -> None:
    """A traceback is written at level debug alone."""

    def write(log: Any) -> None:
        try:
            raise ValueError("inside")  # noqa: TRY301 # the traceback is the subject
        except ValueError as error:
            log.info("failed", exc_info=error)

    assert "ValueError: inside" in logged(write, log_format, "debug")[0]
    assert "inside" not in logged(write, log_format, "info")[0]


def test_a_line_can_be_logged_while_another_is_written() -> None:
    """No lock is held while a line is written: a warning from the garbage collector may come at any point."""
    lines: list[str] = []

    def write(text: str) -> None:
        if not lines:
            lines.append("")
            log.warning("inner")
        lines.append(text)

    log = logger(write, "text", "info")
    log.info("outer")
    assert [facts(text).split()[1] for text in lines[1:]] == ["inner", "outer"]
