"""Writes an event as one line.

A fact whose name ends in its unit (`total_bytes`, `eta_seconds`, `rate_bytes_per_second`) is a plain number in JSON,
while text drops the unit from the name and writes it behind the figure: `total=4.0GiB`.

The fact `level` (debug, info, warning, error) decides whether the event is written; without it, it is `info`.
The fact `exc_info` (an exception) is written as a traceback, and only at level debug.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from models_init.figures import human_rate, human_size, human_time

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

    from structlog.typing import FilteringBoundLogger, Processor

LEVELS = ("debug", "info", "warning", "error")

Facts = dict[str, Any]


def logger(write: Callable[[str], object], log_format: str, level: str) -> FilteringBoundLogger:
    """Return a structlog logger that hands each line, with its line end, to `write`."""
    import structlog  # noqa: PLC0415 - 0.13 s that a start with nothing to do must not pay

    processors: list[Processor] = [
        structlog.processors.add_log_level,
        _with_time,
        structlog.processors.format_exc_info if level == "debug" else _without_traceback,
        lambda _logger, _method, entry: f"{_renderer(log_format)(dict(entry))}\n",
    ]
    return structlog.wrap_logger(  # type: ignore[no-any-return] # structlog gives Any
        _Pen(write), processors=processors, wrapper_class=structlog.make_filtering_bound_logger(level)
    )


def line(log_format: str, level: str, event: str, **facts: object) -> str:
    """Write one event without structlog, for where its import would cost more than the work."""
    return _renderer(log_format)({**facts, "time": _now(), "level": level, "event": event})


def one_line(text: object) -> str:
    """Write anything without line ends or control characters: an error's text may come from a server."""
    return "".join(char if char.isprintable() else "?" for char in " ".join(_text(text).split()))


class _Pen:
    """Takes structlog's last step.

    Its own `WriteLogger` holds a lock, on which a warning from the garbage collector in the midst of it would wait for
    ever.
    """

    def __init__(self, write: Callable[[str], object]) -> None:
        self.debug = self.info = self.warning = self.error = write


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _with_time(_logger: Any, _method: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    entry["time"] = _now()
    return entry


def _without_traceback(_logger: Any, _method: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    entry.pop("exc_info", None)
    return entry


def _as_text(entry: Facts) -> str:
    head = f"{entry.pop('time')} {entry.pop('level'):<7} {entry.pop('event')}"
    traceback = entry.pop("exception", None)
    text = " ".join([head, *(_pair(key, value) for key, value in entry.items())])
    return f"{text}\n{traceback}" if traceback else text


def _as_json(entry: Facts) -> str:
    import json  # noqa: PLC0415 - the text format does without it

    entry = {key: entry.pop(key) for key in ("time", "level", "event")} | entry
    try:
        return json.dumps({key: _plain(value) for key, value in entry.items()}, ensure_ascii=False, allow_nan=False)
    except (ValueError, RecursionError):  # not a number, or a list within itself
        return json.dumps({key: _text(value) for key, value in entry.items()}, ensure_ascii=False)


def _renderer(log_format: str) -> Callable[[Facts], str]:
    return _as_json if log_format == "json" else _as_text


_UNITS: dict[str, Callable[[float], str]] = {
    "_bytes_per_second": human_rate,
    "_bytes": human_size,
    "_seconds": human_time,
}


def _pair(key: str, value: object) -> str:
    for unit, written in _UNITS.items():
        if f"_{key}".endswith(unit) and (value is None or type(value) in (int, float)):
            figure = "unknown" if value is None else written(value).replace(" ", "")  # type: ignore[arg-type] # a number
            return f"{key.removesuffix(unit)}={figure}"
    return f"{key}={_word(value)}"


def _word(value: object) -> str:
    if value is None or isinstance(value, bool):
        return str(value).lower()
    text = ",".join(map(_text, value)) if isinstance(value, list | set | frozenset) else _text(value)
    if text and text.isprintable() and not set(text) & set(" \"'="):
        return text
    return _quoted(text)


def _quoted(text: str) -> str:
    import json  # noqa: PLC0415 - most words need no quotes

    return json.dumps(text, ensure_ascii=not text.isprintable())


def _plain(value: object) -> object:
    """Leave what JSON has, at any depth, and turn everything else into text."""
    if type(value) in (str, int, float, bool, type(None)):
        return value
    if type(value) is dict:
        return {_text(key): _plain(each) for key, each in value.items()}
    if type(value) in (list, tuple, set, frozenset):
        return [_plain(each) for each in value]  # type: ignore[attr-defined] # one of the four
    return _text(value)


def _text(value: object) -> str:
    try:
        return str(value) or (type(value).__name__ if isinstance(value, BaseException) else "")
    except Exception:  # noqa: BLE001 - a foreign __str__ may raise anything, and a log line must not
        return f"<{type(value).__name__}>"
