"""Run functions that collect facts, each in a thread with a time limit: a disk or a network may not answer."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING

from models_init.cli.support.bundle import SupportMember, json_text
from models_init.core.units import one_line

if TYPE_CHECKING:
    from collections.abc import Callable

ALL_SECONDS = 3.0
"""Time limit for everything: a support bundle takes less than five seconds."""

_LEAST_SECONDS = 0.2  # for each function, even after the time limit for everything: most take milliseconds


@dataclass
class Collector:
    """Collects members. `failures` has a line for each that failed; `unfinished` is True if a thread still runs."""

    members: list[SupportMember] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    unfinished: bool = False
    _end: float = field(default_factory=lambda: monotonic() + ALL_SECONDS)

    def add(self, name: str, description: str, collect: Callable[[], object]) -> None:
        """Add a member with the function's result: text, or a value that becomes JSON."""
        task = _Task(collect)
        task.start()
        task.ended.wait(max(_LEAST_SECONDS, self._end - monotonic()))
        if not task.ended.is_set():
            self.unfinished = True
            self.fail(name, description, f"it took longer than {ALL_SECONDS:g} s for everything")
        elif task.error:
            self.fail(name, description, f"{type(task.error).__name__}: {one_line(task.error)}")
        else:
            text = task.result if isinstance(task.result, str) else json_text(task.result)
            self.members.append(SupportMember(name, description, text))

    def fail(self, name: str, description: str, reason: str) -> None:
        """Add a member with the reason why its content could not be collected."""
        self.failures.append(f"{name}: {reason}")
        self.members.append(SupportMember(name, description, json_text({"not_collected": reason})))


class _Task(threading.Thread):
    """Runs a function; the process can end while it waits for a disk."""

    def __init__(self, collect: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self.ended = threading.Event()
        self.result: object = None
        self.error: Exception | None = None
        self._collect = collect

    def run(self) -> None:
        try:
            self.result = self._collect()
        except Exception as error:  # noqa: BLE001 - any error becomes a line of the bundle
            self.error = error
        finally:
            self.ended.set()
