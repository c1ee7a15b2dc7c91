"""Log lines: each event is one line, whatever its fields are."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models_init.core.redaction import redact, register
from models_init.output.log_format import logger
from models_init.output.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Callable

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.just(ValueError()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.integers(), inner, max_size=3),
    max_leaves=5,
)


class Unprintable:
    """Raises an error when it is converted to text."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


def logged(write: Callable[[Any], None], log_format: str = "text", level: str = "info") -> list[str]:
    """Return the lines that `write` logs."""
    lines: list[str] = []
    write(logger(lines.append, log_format, level))
    return lines


def line(log_format: str, level: str, event: str, **facts: object) -> str:
    """Return the line of an event, without its line end."""
    (text,) = logged(lambda log: getattr(log.bind(**facts), level)(event), log_format)
    return text.removesuffix("\n")


def facts(text: str) -> str:
    """Check the form of the time in a text line; return the rest."""
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
        ({"value": Unprintable()}, "value=<Unprintable>"),
        ({"total_bytes": float("nan")}, "total_bytes=nan"),
        ({"total_bytes": 10**400}, f"total_bytes={10**400}"),
        ({"total": "all", "total_bytes": 1024}, "total=all total_bytes=1.0KiB"),
        ({"exception": "two\nlines", "stack": 1}, r'exception_="two\nlines" stack_=1'),
    ],
)
def test_text_line_has_names_values_and_units(fact: dict[str, object], expected: str) -> None:
    """Fields are `name=value`; amounts have units, and values with special characters are quoted."""
    assert facts(line("text", "info", "fetched", **fact)) == f"info    fetched {expected}"


def test_json_line_has_numbers_without_units() -> None:
    """The object begins with time, level and event."""
    text = line("json", "warning", "fetched", total_bytes=1024, eta_seconds=None, error=OSError("é"), packs=("a", {1}))
    found = json.loads(text)
    assert list(found) == ["time", "level", "event", "total_bytes", "eta_seconds", "error", "packs"]
    assert found["level"] == "warning"
    assert (found["total_bytes"], found["eta_seconds"], found["error"], found["packs"]) == (1024, None, "é", ["a", [1]])


@given(st.dictionaries(st.sampled_from(["a", "b_bytes", "c_seconds", "event", "exception", "stack", "time"]), VALUES))
@settings(deadline=None)
@pytest.mark.parametrize("log_format", ["text", "json"])
def test_any_fact_is_logged_on_one_line(log_format: str, fact: dict[str, Any]) -> None:
    """A line of JSON can be parsed; no value raises an error."""
    (text,) = logged(lambda log: log.bind(**fact).info("happened"), log_format)
    assert text.endswith("\n")
    assert text.count("\n") == 1
    assert log_format == "text" or json.loads(text)["event"] == "happened"


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_event_with_a_line_break_is_one_line(log_format: str) -> None:
    assert "\n" not in line(log_format, "info", "two\nlines")


def test_value_that_json_does_not_support_becomes_text() -> None:
    """Examples are a list that contains itself, and NaN; the other fields do not change."""
    endless: list[object] = []
    endless.append(endless)
    found = json.loads(line("json", "info", "odd", a=endless, b=float("nan"), c={b"k": 1}, d=1, e=Unprintable()))
    assert [found[key] for key in "abcde"] == ["[[...]]", "nan", "{b'k': 1}", 1, "<Unprintable>"]


@pytest.mark.parametrize(("level", "expected"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_events_below_the_level_are_dropped(level: str, expected: int) -> None:

    def write(log: Any) -> None:
        for name in ("debug", "info", "warning", "error"):
            getattr(log, name)(name)

    assert len(logged(write, level=level)) == expected


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_traceback_is_written_at_level_debug_only(log_format: str) -> None:

    def write(log: Any) -> None:
        try:
            raise ValueError("inside")  # noqa: TRY301 # the test needs a traceback
        except ValueError as error:
            log.info("failed", exc_info=error)

    assert "ValueError: inside" in logged(write, log_format, "debug")[0]
    assert "inside" not in logged(write, log_format, "info")[0]


def test_line_is_logged_while_another_is_written() -> None:
    """Logging holds no lock while it writes, because the garbage collector may cause a warning at any time."""
    lines: list[str] = []

    def write(text: str) -> None:
        if not lines:
            lines.append("")
            log.warning("inner")
        lines.append(text)

    log = logger(write, "text", "info")
    log.info("outer")
    assert [facts(text).split()[1] for text in lines[1:]] == ["inner", "outer"]


@pytest.mark.parametrize("columns", range(20, 80, 5))
def test_secret_is_removed_before_a_line_is_folded(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret with a space that continued on the next line would not be found by the stream, which redacts, too."""
    monkeypatch.setattr(Terminal, "width", lambda _self: columns)
    register("correct horse battery staple")
    lines: list[str] = []
    log = logger(lines.append, "text", "info", Terminal(0))
    log.info("failed", error="the password correct horse battery staple was sent")
    log.info("failed", error="the request had Authorization: Basic dXNlcjpwYXNzd29yZA")
    shown = redact("".join(lines))
    assert [word for word in ("horse", "staple", "dXNlcjpwYXNzd29yZA") if word in shown] == []
