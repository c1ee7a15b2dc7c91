"""Retries of sources: the offset, the waits and the limits; no test waits in real time."""

from __future__ import annotations

import asyncio
import random

import pytest

from models_init.core.errors import (
    AccessError,
    NotFoundError,
    SourceError,
    UnavailableError,
    UsageError,
    WrongBytesError,
)
from models_init.sources.wrappers.retry import Retrier, RetryingSource, RetryPolicy
from tests.eventually import eventually
from tests.sources.collecting_sink import Collected
from tests.sources.fake import FOREVER, Broken, FakeSource, SourceFault
from tests.sources.retry_log import RetryLog

_KEY = "pack"
_DATA = random.Random("pack").randbytes(1_000_000)
_DOWN = UnavailableError("down")


@pytest.fixture
def clock() -> RetryLog:
    return RetryLog()


def patient(
    clock: RetryLog, inner: FakeSource, *, attempts: int = 8, seconds: float = 300.0, first_wait: float = 0.5
) -> RetryingSource:
    return RetryingSource(
        inner, RetryPolicy(attempts, seconds, seconds, first_wait, sleep=clock.sleep, clock=clock), clock
    )


async def fetched(source: RetryingSource, start: int = 0, stop: int = len(_DATA)) -> bytes:
    sink = Collected()
    await source.get_range(_KEY, start, stop, sink)
    return bytes(sink.data)


def broken(at: int = 0, *, error: UnavailableError = _DOWN, times: int = 1, after: int = 0) -> Broken:
    return Broken(error, at=at, times=times, after=after)


async def test_transient_faults_are_retried_until_success(clock: RetryLog) -> None:
    """Documents, lists and ranges succeed after the allowed number of faults; each fault and wait is reported."""
    inner = FakeSource({_KEY: _DATA})
    source = patient(clock, inner)
    inner.script(broken(times=3))
    assert await source.read(_KEY, len(_DATA)) == _DATA
    inner.script(broken(times=3))
    assert await source.names("") == [_KEY]
    inner.script(broken(times=3))
    assert await fetched(source) == _DATA
    assert [call.method for call in inner.calls] == ["read"] * 4 + ["names"] * 4 + ["get_range"] * 4
    assert [(retry.error, retry.wait) for retry in clock.reported] == [(_DOWN, wait) for wait in clock.waits]
    assert len(clock.waits) == 9


async def test_range_resumes_at_byte_where_it_broke_off(clock: RetryLog) -> None:
    """Each attempt requests only the missing bytes; nothing is passed on twice or left out."""
    inner = FakeSource({_KEY: _DATA}, broken(at=100_001), broken(), broken(at=1), broken(at=500_000))
    assert await fetched(patient(clock, inner), 7, 900_000) == _DATA[7:900_000]
    assert inner.ranges() == [
        (7, 900_000),
        (100_008, 900_000),
        (100_008, 900_000),
        (100_009, 900_000),
        (600_009, 900_000),
    ]


async def test_fault_after_last_byte_causes_no_request(clock: RetryLog) -> None:
    """If all bytes were received before the fault, there is no further request."""
    inner = FakeSource({_KEY: _DATA}, broken(at=len(_DATA), times=FOREVER))
    assert await fetched(patient(clock, inner)) == _DATA
    assert len(inner.calls) == 1


async def test_attempts_without_progress_are_limited(clock: RetryLog) -> None:
    """After the allowed number of attempts without a byte, the last error itself is raised."""
    errors = [UnavailableError(f"down {number}") for number in range(5)]
    inner = FakeSource({_KEY: _DATA}, *(broken(error=error) for error in errors))
    with pytest.raises(UnavailableError) as given_up:
        await fetched(patient(clock, inner, attempts=5))
    assert given_up.value is errors[-1]
    assert len(inner.calls) == 5
    assert [retry.error for retry in clock.reported] == errors[:-1]


async def test_received_bytes_reset_limits(clock: RetryLog) -> None:
    """As long as bytes arrive, attempts, seconds and waits start over after each failure."""
    inner = FakeSource({_KEY: _DATA}, broken(at=100_000, times=FOREVER))
    assert await fetched(patient(clock, inner, attempts=2, seconds=1.0)) == _DATA
    assert len(inner.calls) == len(_DATA) // 100_000
    assert max(clock.waits) <= 0.5


async def test_time_limit_is_counted_from_last_byte(clock: RetryLog) -> None:
    """Retries end when that many seconds have passed without a byte, however long the range had succeeded before."""
    inner = FakeSource({_KEY: _DATA})
    source = patient(clock, inner, attempts=FOREVER, seconds=100.0)

    def stall(_piece: bytes) -> None:
        clock.now += 90.0  # every piece takes 90 s

    began = clock.now
    await source.get_range(_KEY, 0, 600_000, Collected(stall))
    assert clock.now - began >= 900.0

    inner.script(broken(times=FOREVER))
    began = clock.now
    with pytest.raises(UnavailableError):
        await fetched(source, 0, 600_000)
    assert 50.0 < clock.now - began <= 100.0


async def test_single_byte_resets_attempts(clock: RetryLog) -> None:
    """An attempt that failed after a byte is the first of a new series, for the limit and for the waits."""
    inner = FakeSource({_KEY: _DATA}, broken(times=3), broken(at=1), broken(times=FOREVER))
    with pytest.raises(UnavailableError):
        await fetched(patient(clock, inner, attempts=4, first_wait=1e-3))
    assert len(inner.calls) == 3 + 4
    ceilings = [1e-3, 2e-3, 4e-3] * 2
    assert all(wait <= ceiling for wait, ceiling in zip(clock.waits, ceilings, strict=True))


async def test_time_of_sink_is_not_counted(clock: RetryLog) -> None:
    """The time taken by the sink (such as a stalled disk) is not counted against the source."""
    inner = FakeSource({_KEY: _DATA}, broken(at=1_000))

    def stall(_piece: bytes) -> None:
        clock.now += 1000.0

    await patient(clock, inner, seconds=10.0).get_range(_KEY, 0, 2_000, Collected(stall))
    assert inner.ranges() == [(0, 2_000), (1_000, 2_000)]


async def test_wait_for_answered_requests_is_not_counted(clock: RetryLog) -> None:
    """A refused request waits minutes for another one on a slow line, and can be retried after that."""
    busy = UnavailableError("busy", overloaded=True)
    inner = FakeSource({_KEY: _DATA, "other": _DATA}, Broken(busy, on="other"), Broken(_DOWN, on="other"))
    source = patient(clock, inner)

    def wait(_: bytes) -> None:
        if len(inner.calls) == 2:  # the other request has been refused
            clock.now += 60.0

    slow = asyncio.create_task(source.get_range(_KEY, 0, len(_DATA), Collected(wait)))
    await asyncio.sleep(0)  # it is sent first
    sink = Collected()
    await source.get_range("other", 0, 1000, sink)
    assert slow.done()
    assert bytes(sink.data) == _DATA[:1000]
    assert [retry.error for retry in clock.reported] == [busy, _DOWN]


async def test_few_bytes_do_not_reset_time_limit(clock: RetryLog) -> None:
    """If each attempt yields only a few bytes, the retries end by the time limit."""
    inner = FakeSource({_KEY: _DATA}, broken(at=10, times=FOREVER))
    began = clock.now
    with pytest.raises(UnavailableError):
        await fetched(patient(clock, inner, attempts=2, seconds=20.0))
    assert 15.0 < clock.now - began <= 20.0


async def test_source_that_never_answered_has_shorter_time_limit(clock: RetryLog) -> None:
    """A wrong address is more likely than an outage: the limit is one minute, but five after a first response."""

    async def given_up_after(source: RetryingSource) -> float:
        began = clock.now
        with pytest.raises(UnavailableError):
            await source.read(_KEY, len(_DATA))
        return clock.now - began

    def source(*faults: SourceFault) -> RetryingSource:
        return RetryingSource(FakeSource({_KEY: _DATA}, *faults), RetryPolicy(sleep=clock.sleep, clock=clock), clock)

    down = broken(times=FOREVER)
    assert 25.0 < await given_up_after(source(down)) <= 60.0
    busy = broken(error=UnavailableError("busy", overloaded=True), times=2)
    answered = source(busy, broken(times=FOREVER, after=1))
    assert await answered.read(_KEY, len(_DATA)) == _DATA
    assert 250.0 < await given_up_after(answered) <= 300.0


async def test_waits_grow_exponentially_with_full_jitter(clock: RetryLog) -> None:
    """Wait number n is random between zero and 0.5 s times 2^n, and never more than 30 s."""
    rounds: list[list[float]] = []
    for _ in range(200):
        clock.waits.clear()
        with pytest.raises(UnavailableError):
            await patient(clock, FakeSource({}, broken(times=FOREVER)), attempts=11, seconds=1e6).read(_KEY, 1)
        rounds.append(list(clock.waits))
    for number, waits in enumerate(zip(*rounds, strict=True)):
        ceiling = min(30.0, 0.5 * 2**number)
        assert 0.0 <= min(waits) < 0.2 * ceiling
        assert 0.8 * ceiling < max(waits) <= ceiling


async def test_jitter_is_added_to_retry_after(clock: RetryLog) -> None:
    """The waits are longer than the service's Retry-After, even if it exceeds the longest wait of the policy."""
    for overloaded in (False, True):
        clock.waits.clear()
        busy = UnavailableError("busy", retry_after=45.0, overloaded=overloaded)
        inner = FakeSource({_KEY: _DATA}, broken(error=busy, times=2), broken())
        assert await patient(clock, inner).read(_KEY, len(_DATA)) == _DATA
        first, second, third = clock.waits
        assert 45.0 < first <= 135.0
        assert 45.0 < second <= 67.5
        assert third <= 2.0


async def test_jitter_ends_before_the_request_is_given_up(clock: RetryLog) -> None:
    """A Retry-After within the time limit is always waited for, whatever the jitter."""
    for _ in range(20):
        busy = UnavailableError("busy", retry_after=290.0, overloaded=True)
        assert await patient(clock, FakeSource({_KEY: _DATA}, broken(error=busy))).read(_KEY, len(_DATA)) == _DATA
    assert all(290.0 <= wait < 300.0 for wait in clock.waits)


async def test_retry_after_beyond_time_limit_ends_retries(clock: RetryLog) -> None:
    """The program does not begin a wait that would end after the time limit."""
    busy = UnavailableError("busy", retry_after=301.0)
    inner = FakeSource({_KEY: _DATA}, broken(error=busy, times=FOREVER))
    with pytest.raises(UnavailableError) as given_up:
        await patient(clock, inner).read(_KEY, 100)
    assert given_up.value is busy
    assert (len(inner.calls), clock.waits) == (1, [])


@pytest.mark.parametrize(
    "error",
    [
        SourceError("will not pass"),
        NotFoundError("not there"),
        AccessError("refused"),
        WrongBytesError("replaced"),
        UsageError("no token"),
    ],
    ids=repr,
)
async def test_permanent_error_is_not_retried(clock: RetryLog, error: SourceError) -> None:
    """Only `UnavailableError` is retried; every other error is raised at once, unchanged."""
    inner = FakeSource({_KEY: _DATA}, Broken(error, times=FOREVER))
    source = patient(clock, inner)
    for call in (source.read(_KEY, len(_DATA)), source.names(""), fetched(source)):
        with pytest.raises(type(error)) as refused:
            await call
        assert refused.value is error
    assert (len(inner.calls), clock.waits, clock.reported) == (3, [], [])


async def test_permanent_error_after_retries_ends_range(clock: RetryLog) -> None:
    """A permanent error after retried ones ends the range."""
    inner = FakeSource({_KEY: _DATA}, broken(at=10), Broken(AccessError("expired meanwhile")))
    with pytest.raises(AccessError):
        await fetched(patient(clock, inner))
    assert len(inner.calls) == 2


async def test_each_call_has_its_own_limits(clock: RetryLog) -> None:
    """A range that has exhausted its retries does not affect another one."""
    inner = FakeSource({_KEY: _DATA, "bad": _DATA}, Broken(_DOWN, on="bad", times=FOREVER), broken(at=9, times=7))
    source = patient(clock, inner)
    good, bad = await asyncio.gather(fetched(source), source.read("bad", 100), return_exceptions=True)
    assert (good, bad) == (_DATA, _DOWN)


async def test_retry_has_time_left_until_source_is_given_up(clock: RetryLog) -> None:
    """The time is counted from the last progress, so that it falls with each retry and restarts after bytes."""
    inner = FakeSource({_KEY: _DATA}, broken(times=2), broken(at=100_000), broken())
    source = patient(clock, inner, seconds=300.0)
    await fetched(source)
    first, second, third, fourth = (retry.left for retry in clock.reported)
    assert first == 300.0
    assert second == pytest.approx(300.0 - clock.waits[0])
    assert third == 300.0
    assert fourth == pytest.approx(300.0 - clock.waits[2])


async def test_recovery_is_reported_once_at_first_success_or_byte(clock: RetryLog) -> None:
    """A source that never failed reports no recovery."""
    inner = FakeSource({_KEY: _DATA})
    source = patient(clock, inner)
    await fetched(source)
    assert clock.recoveries == []
    inner.script(broken(times=3))
    await source.read(_KEY, len(_DATA))
    assert clock.recoveries == [clock.now]
    inner.script(broken(at=100_000))
    began = clock.now

    def advance(_piece: bytes) -> None:
        clock.now += 1.0

    await source.get_range(_KEY, 0, len(_DATA), Collected(advance))
    (_, recovery) = clock.recoveries
    assert recovery - began < 5.0 < clock.now - began


async def test_calls_share_an_outage_and_report_its_end_once(clock: RetryLog) -> None:
    """This is for requests that are not sent by a source, such as those of an upload."""
    retrier = Retrier(RetryPolicy(sleep=clock.sleep, clock=clock), clock)
    answers = [_DOWN, _DOWN, None]

    async def call() -> None:
        if answer := answers.pop(0):
            raise answer

    await retrier.call(call)
    assert [retry.error for retry in clock.reported] == [_DOWN, _DOWN]
    assert clock.recoveries == [clock.now]
    answers.append(None)
    await retrier.call(call)
    assert len(clock.recoveries) == 1


async def test_wait_can_be_cancelled() -> None:
    """A cancelled call does not finish its wait."""
    log = RetryLog()
    policy = RetryPolicy(first_wait=1e5, longest_wait=1e5, seconds=1e9, first_seconds=1e9)
    source = RetryingSource(FakeSource({}, broken(times=FOREVER)), policy, log)
    task = asyncio.create_task(source.read(_KEY, 1))
    await eventually(lambda: log.reported, "the first retry")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_name_and_close_are_delegated(clock: RetryLog) -> None:
    """A retrying source has the name of its inner source, and closes it."""
    inner = FakeSource({}, SourceFault())
    source = patient(clock, inner)
    assert source.name == inner.name
    await source.close()
    assert inner.closed
