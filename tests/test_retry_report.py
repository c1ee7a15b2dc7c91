"""Retries are counted, and reported with one line per host and interval."""

from __future__ import annotations

import pytest

from models_init.cli.retry_report import INTERVAL, RetryReport
from models_init.core.errors import UnavailableError
from models_init.sources.wrappers.retry import Retry
from tests.clock import FakeClock
from tests.recorder import Recorder


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def observer() -> Recorder:
    return Recorder()


@pytest.fixture
def report(observer: Recorder, clock: FakeClock) -> RetryReport:
    return RetryReport(observer, clock)


def retry(left: float = 300.0) -> Retry:
    return Retry(UnavailableError("models.example cannot be reached"), wait=1.5, left=left)


def test_outage_is_reported_at_intervals_with_time_left(
    report: RetryReport, observer: Recorder, clock: FakeClock
) -> None:
    """An outage of a minute with eighty retries gives five lines, and one more when the server answers again."""
    for number in range(81):
        report.retrying("models.example", retry(left=300.0 - 0.75 * number))
        clock.now += 0.75
    report.recovered("models.example")
    *lines, (last, facts) = observer.events
    assert report.count == 81
    assert [name for name, _ in lines] == ["retrying"] * (1 + int(60 / INTERVAL))
    assert lines[0][1] == {
        "level": "warning",
        "host": "models.example",
        "error": "models.example cannot be reached",
        "failures": 1,
        "wait_seconds": 1.5,
        "left_seconds": 300.0,
    }
    assert sum(int(str(facts["failures"])) for _, facts in lines) == 81
    assert lines[-1][1]["left_seconds"] == 240.0
    assert (last, facts) == ("recovered", {"source": "models.example", "outage_seconds": pytest.approx(60.8, abs=0.1)})


def test_each_host_has_its_own_interval(report: RetryReport, observer: Recorder) -> None:
    """A host that fails is reported even if another one was reported just before."""
    for host in ("one.example", "other.example", "one.example"):
        report.retrying(host, retry())
    assert [facts["host"] for _, facts in observer.events] == ["one.example", "other.example"]


def test_momentary_failures_are_reported_once_per_interval(
    report: RetryReport, observer: Recorder, clock: FakeClock
) -> None:
    """If other connections continue to receive data, the host has not failed, and no recovery is reported."""
    for _ in range(100):
        report.retrying("models.example", retry())
        clock.now += 0.1
        report.recovered("models.example")
        clock.now += 0.1
    assert [name for name, _ in observer.events] == ["retrying"] * 2


def test_new_outage_is_reported_immediately(report: RetryReport, observer: Recorder, clock: FakeClock) -> None:
    """The interval begins again after a recovery that was reported."""
    for _ in range(2):
        report.retrying("models.example", retry())
        clock.now += 2.0
        report.recovered("models.example")
    assert [name for name, _ in observer.events] == ["retrying", "recovered"] * 2
