"""Collect the metrics of this run, and write them at its end to the file of MODELS_METRICS_FILE.

There is one recorder per process, like the standard streams; without the setting there is none.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from models_init import __version__
from models_init.cli.token_expiry import token_expires
from models_init.core.errors import EXIT_OK, ModelsInitError
from models_init.output import metrics
from models_init.output.metrics import Sample
from models_init.sources.open_source import host_of
from models_init.volume.activation import Switch
from models_init.volume.layout import Volume

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from models_init.cli.retry_report import RetryReport
    from models_init.cli.settings import Settings
    from models_init.core.events import Observer

_PHASES = {
    "waiting": "lock",
    "start_delayed": "delay",
    "resolved": "plan",
    "checking_staging": "plan",
    "fetching": "fetch",
    "reusing": "fetch",
    "activated": "finish",
    "verifying": "verify",
}
"""The phase that begins with an event."""

_COUNTERS = {
    "bytes_reused": "run_reused_bytes",
    "bytes_written": "run_written_bytes",
    "bytes_freed": "run_freed_bytes",
}
"""The metric for each figure of a result."""


class RunRecorder:
    """Measures a run of `action`: its phases from the events of the work, its figures from the result."""

    def __init__(self, settings: Settings, action: str) -> None:
        self.retries: RetryReport | None = None
        self.received: Mapping[str, int] = {}
        self._settings = settings
        self._action = action
        self._began = self._phase_began = time.monotonic()
        self._phase = "start"
        self._seconds: dict[str, float] = {}

    def event(self, name: str) -> None:
        """Begin another phase if the event belongs to one."""
        now = time.monotonic()
        self._seconds[self._phase] = self._seconds.get(self._phase, 0.0) + now - self._phase_began
        self._phase, self._phase_began = _PHASES.get(name, self._phase), now

    def write(self, exit_code: int, content: Mapping[str, Any]) -> None:
        """Write the file; `content` is the result, empty after a failure. Raises `OSError`."""
        self.event("")
        samples = [*self._of_run(exit_code, content), *_of_site(self._settings)]
        metrics.write(self._settings.metrics_file, self._action, samples)

    def _of_run(self, exit_code: int, content: Mapping[str, Any]) -> Iterator[Sample]:
        labels = {"action": self._action}
        yield Sample("run_timestamp_seconds", time.time(), labels)
        if exit_code == EXIT_OK:
            yield Sample("run_success_timestamp_seconds", time.time(), labels)
        yield Sample("run_exit_code", exit_code, labels)
        yield Sample("run_duration_seconds", time.monotonic() - self._began, labels)
        for phase, seconds in self._seconds.items():
            yield Sample("run_phase_seconds", seconds, labels | {"phase": phase})
        yield Sample("run_retries", self.retries.count if self.retries else 0, labels)
        for source, size in self._received_by_host().items():
            yield Sample("run_fetched_bytes", size, labels | {"source": source})
        for name, metric in _COUNTERS.items():
            if name in content:
                yield Sample(metric, content[name], labels)
        if "damages" in content:
            yield Sample("run_damages", len(content["damages"]), labels)

    def _received_by_host(self) -> Mapping[str, int]:
        """Return the received bytes by the host of their source; 0 for the origin if nothing was fetched."""
        received = Counter({host_of(self._settings.url): 0})
        for name, size in self.received.items():
            received[host_of(name)] += size
        return received


def _of_site(settings: Settings) -> Iterator[Sample]:
    """Yield the metrics of the site; those of the volume are omitted if it cannot be read."""
    yield Sample("build_info", 1, {"version": __version__})
    if expires := token_expires(settings):
        yield Sample("token_expiry_timestamp_seconds", expires.timestamp())
    with suppress(OSError):
        status = os.statvfs(settings.directory)
        yield Sample("volume_free_bytes", status.f_bavail * status.f_frsize)
        yield Sample("volume_size_bytes", status.f_blocks * status.f_frsize)
        yield Sample("volume_free_inodes", status.f_favail)
    with suppress(ModelsInitError):
        volume = Volume(settings.directory)
        current = volume.current()
        yield Sample("rolled_back", bool(Switch(volume).rolled_back_from()))
        if current:
            yield Sample("release_info", 1, {"release": current.id})
            for pack, version in current.versions.items():
                yield Sample("pack_info", 1, {"pack": pack, "version": version})


class PhaseObserver:
    """Passes all calls on, and the events also to the recorder (observer decorator)."""

    def __init__(self, inner: Observer, recorder: RunRecorder) -> None:
        self._inner = inner
        self._recorder = recorder
        self.expect, self.advance, self.restore = inner.expect, inner.advance, inner.restore

    def event(self, name: str, **facts: object) -> None:
        """See `Observer.event`."""
        self._recorder.event(name)
        self._inner.event(name, **facts)


_recorder: RunRecorder | None = None


def start(settings: Settings, action: str) -> None:
    """Begin to measure this run."""
    global _recorder  # noqa: PLW0603 - one run per process, like its log
    _recorder = RunRecorder(settings, action)


def observed(observer: Observer) -> Observer:
    """Return an observer that also measures, if this run is measured."""
    return PhaseObserver(observer, _recorder) if _recorder else observer


def count_transfer(retries: RetryReport, received: Mapping[str, int]) -> None:
    """Include these retries and received bytes by source in the metrics; their values at the end of the run count."""
    if _recorder:
        _recorder.retries, _recorder.received = retries, received


def end(exit_code: int, content: Mapping[str, Any]) -> str:
    """Write the metrics if this run is measured. Return why they could not be written, or an empty text."""
    global _recorder
    recorder, _recorder = _recorder, None
    try:
        if recorder:
            recorder.write(exit_code, content)
    except OSError as error:
        return f"{error.strerror or error}"
    return ""
