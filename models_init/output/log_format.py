"""Render events as log lines through structlog: text for people, JSON for collectors.

A fact whose name ends in its unit (`total_bytes`, `eta_seconds`, `rate_bytes_per_second`) is a plain number in JSON. In
text, the unit moves from the name to the value: `total=4.0GiB`.

The fact `exc_info` (an exception) becomes a traceback, at level debug only. The name `exception` is reserved for it in
JSON. In text, the names `exception` and `stack` are reserved; other facts of these names are written as `exception_`
and `stack_`.

Importing this module imports structlog (0.13 s), so import it only when there is something to log.
"""

from __future__ import annotations

import json
from functools import partial
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import structlog
from structlog.dev import Column, ConsoleRenderer, KeyValueColumnFormatter, plain_traceback
from structlog.processors import JSONRenderer, TimeStamper, add_log_level, format_exc_info

from models_init.core.redaction import redact
from models_init.core.units import human_rate, human_size, human_time, text_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

    from models_init.output.terminal import Terminal

_LARGEST = 1e18
"""Numbers of at least this size, infinity and NaN are written without a unit, because they are not plausible
amounts."""

_UNITS: dict[str, Callable[[float], str]] = {
    "_bytes_per_second": human_rate,
    "_bytes": human_size,
    "_seconds": human_time,
}


def logger(
    write: Callable[[str], object], log_format: str, level: str, terminal: Terminal | None = None
) -> FilteringBoundLogger:
    """Return a structlog logger that passes each event to `write` as one line with its line end.

    `log_format` is `text` or `json`; events below `level` (`debug`, `info`, `warning`, `error`) are dropped. On a
    terminal the time is short and local, the level may be colored, and long lines are folded between words.
    """
    stamps = [_LOCAL_CLOCK] if terminal else [TimeStamper(fmt="%Y-%m-%dT%H:%M:%S.%f", key="time"), _to_milliseconds]
    processors: list[Processor] = [
        add_log_level,
        *stamps,
        *([] if level == "debug" else [_without_traceback]),
        *(_json_renderer() if log_format == "json" else _text_renderer()),
    ]
    line_logger = _LineLogger(partial(_write_folded, write, terminal) if terminal else write)
    minimum = structlog.make_filtering_bound_logger(level)
    return structlog.wrap_logger(line_logger, processors=processors, wrapper_class=minimum)  # type: ignore[no-any-return] # structlog gives Any


_LOCAL_CLOCK = TimeStamper(fmt="%H:%M:%S", utc=False, key="time")
_CLOCK_WIDTH, _LEVEL_WIDTH = len("23:59:59 "), 7


def _write_folded(write: Callable[[str], object], terminal: Terminal, text: str) -> None:
    """Fold a line to the width of the terminal, indent its continuation lines, and color the level.

    The line is redacted first, because a secret with a space would not be found on two lines.
    """
    text = redact(text)
    clock, level, rest = text[:_CLOCK_WIDTH], text[_CLOCK_WIDTH:][:_LEVEL_WIDTH], text[_CLOCK_WIDTH + _LEVEL_WIDTH :]
    room = max(terminal.width() - _CLOCK_WIDTH, _CLOCK_WIDTH)
    lines = [
        piece
        for line in f"{level}{rest}".splitlines()
        for piece in wrap(line, room, break_long_words=False, break_on_hyphens=False) or [""]
    ]
    colored = lines[0].replace(level, terminal.colored(level, level.strip()), 1)
    write(f"\n{' ' * _CLOCK_WIDTH}".join([f"{clock}{colored}", *lines[1:]]) + "\n")


class _LineLogger:
    """Passes lines rendered by structlog to `write`.

    structlog's `WriteLogger` holds a lock. A warning that the garbage collector triggers while the lock is held is
    logged by the same thread, which would then wait for the lock forever.
    """

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self.debug = self.info = self.warning = self.error = self._line

    def _line(self, text: str) -> None:
        self._write(f"{text}\n")


def _json_renderer() -> list[Processor]:
    return [
        format_exc_info,
        _head_first,
        JSONRenderer(_dumps, default=_encodable, ensure_ascii=False, allow_nan=False),
    ]


def _text_renderer() -> list[Processor]:
    columns = [
        Column("time", _column(text_of)),
        Column("level", _column(text_of, width=7)),
        Column("event", _column(_event)),
        Column("", _column(_word, key_style="")),
    ]
    return [
        _readable,
        ConsoleRenderer(columns=columns, sort_keys=False, exception_formatter=plain_traceback),
    ]


def _column(write: Callable[[object], str], width: int = 0, key_style: str | None = None) -> KeyValueColumnFormatter:
    """Return a column without colors; without a `key_style` it shows only the value."""
    return KeyValueColumnFormatter(key_style, value_style="", reset_style="", value_repr=write, width=width)


def _to_milliseconds(_logger: WrappedLogger, _method: str, entry: EventDict) -> EventDict:
    entry["time"] = f"{entry['time'][:-3]}Z"
    return entry


def _without_traceback(_logger: WrappedLogger, _method: str, entry: EventDict) -> EventDict:
    entry.pop("exc_info", None)
    return entry


def _head_first(_logger: WrappedLogger, _method: str, entry: EventDict) -> EventDict:
    return {key: entry.pop(key) for key in ("time", "level", "event")} | dict(entry)


def _dumps(entry: EventDict, **options: Any) -> str:
    """Serialize an event. A value that JSON does not support (NaN, a list that contains itself) becomes text."""
    try:
        return json.dumps(entry, **options)
    except (TypeError, ValueError, RecursionError):
        return json.dumps({key: _serializable(value, options) for key, value in entry.items()}, **options)


def _serializable(value: object, options: dict[str, Any]) -> object:
    try:
        json.dumps(value, **options)
    except (TypeError, ValueError, RecursionError):
        return text_of(value)
    return value


def _encodable(value: object) -> object:
    """Convert a value that `json` does not support."""
    return list(value) if isinstance(value, set | frozenset) else text_of(value)


def _readable(_logger: WrappedLogger, _method: str, entry: EventDict) -> EventDict:
    """Write amounts with their units, and rename the facts that `ConsoleRenderer` would treat as tracebacks."""
    for key in ("exception", "stack"):
        if key in entry:
            entry[f"{key}_"] = entry.pop(key)
    return dict(_with_unit(key, value, entry) for key, value in entry.items())


def _with_unit(key: str, value: object, entry: EventDict) -> tuple[str, object]:
    """Move the unit from the name to the value; keep the name if another fact has the shorter one."""
    for unit, write in _UNITS.items():
        if f"_{key}".endswith(unit) and (value is None or _is_amount(value)):
            short = key.removesuffix(unit)
            figure = "unknown" if value is None else write(value).replace(" ", "")  # type: ignore[arg-type] # a number
            return (key if short in entry else short), figure
    return key, value


def _is_amount(value: object) -> bool:
    return type(value) in (int, float) and abs(value) < _LARGEST  # type: ignore[arg-type] # a number


def _event(name: object) -> str:
    text = text_of(name)
    return text if text.isprintable() else _quoted(text)


def _word(value: object) -> str:
    """Write a value as one word, quoted if it contains a space, a quote, `=` or a control character."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    text = ",".join(map(text_of, value)) if isinstance(value, list | set | frozenset) else text_of(value)
    if text and text.isprintable() and not set(text) & set(" \"'="):
        return text
    return _quoted(text)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=not text.isprintable())
