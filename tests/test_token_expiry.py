"""A token that will expire before the fetch ends is reported once, as soon as the rate is known."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from models_init.cli.token_expiry import TokenExpiryMonitor
from tests.clock import FakeClock
from tests.recorder import Recorder

_MB = 10**6


def fetched(expires: datetime | None, seconds: int) -> Recorder:
    """Fetch 100 MB at 1 MB/s for this number of seconds."""
    recorder, clock = Recorder(), FakeClock()
    monitor = TokenExpiryMonitor(recorder, lambda: expires, clock)
    monitor.event("fetching", bytes=100 * _MB)
    monitor.expect(100 * _MB)
    for _ in range(seconds):
        clock.now += 1.0
        monitor.advance(_MB)
    assert (recorder.expected, recorder.done, recorder.names[0]) == (100 * _MB, seconds * _MB, "fetching")
    return recorder


def in_seconds(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


def test_early_expiry_is_reported_once() -> None:
    """After three seconds the fetch needs 97 more; a token that is valid for 60 s is not sufficient."""
    recorder = fetched(in_seconds(60), 50)
    [(name, facts)] = recorder.events[1:]
    assert name == "token_expires_early"
    assert facts["level"] == "warning"
    assert "MODELS_SAS_TOKEN_FILE" in str(facts["text"])
    assert str(facts["expires"]) < str(facts["estimated_end"])


@pytest.mark.parametrize(("expires_in", "seconds"), [(150, 100), (None, 100), (60, 2)])
def test_sufficient_token_lifetime_is_not_reported(expires_in: float | None, seconds: int) -> None:
    """A token without expiry is not reported either, nor any token before the rate is known."""
    recorder = fetched(None if expires_in is None else in_seconds(expires_in), seconds)
    assert recorder.names == ["fetching"]


def test_restored_bytes_do_not_count_for_the_rate() -> None:
    """Hashing 90 MB in one second does not change the estimate that the rest takes 100 seconds."""
    recorder, clock = Recorder(), FakeClock()
    monitor = TokenExpiryMonitor(recorder, lambda: in_seconds(60), clock)
    monitor.expect(190 * _MB)
    clock.now += 1.0
    monitor.restore(90 * _MB)
    for _ in range(5):
        clock.now += 1.0
        monitor.advance(_MB)
    assert (recorder.done, recorder.restored) == (95 * _MB, 90 * _MB)
    assert recorder.names == ["token_expires_early"]


def test_renewed_token_is_judged_by_its_own_expiry() -> None:
    """The expiry is read at each check."""
    recorder, clock, ends = Recorder(), FakeClock(), [in_seconds(500), in_seconds(10)]
    monitor = TokenExpiryMonitor(recorder, lambda: ends.pop(0), clock)
    monitor.expect(100 * _MB)
    for _ in range(20):
        clock.now += 1.0
        monitor.advance(_MB)
    assert recorder.names == ["token_expires_early"]
