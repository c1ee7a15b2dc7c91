"""The order in which a mirrored source uses its mirrors and its origin, and the conditions for giving a mirror up."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

from models_init.core.errors import (
    AccessError,
    ModelsInitError,
    NoSpaceError,
    NotFoundError,
    SourceError,
    UnavailableError,
)
from models_init.sources.wrappers.mirrors import MirroredSource
from models_init.sources.wrappers.retry import RetryPolicy
from tests.clock import FakeClock
from tests.eventually import eventually
from tests.recorder import Recorder
from tests.sources.collecting_sink import Collected
from tests.sources.fake import FOREVER, Broken, FakeSource, Flipped

if TYPE_CHECKING:
    from tests.sources.fake import SourceFault

_KEY, _MANIFEST, _SIGNATURE = "nl-nl/1/pack.tar.zst", "nl-nl/1/manifest.json", "nl-nl/1/manifest.json.minisig"
_SIZE = 1_000_000
_DATA = random.Random("mirrors").randbytes(_SIZE)
_OBJECTS = {_KEY: _DATA, _MANIFEST: b"{}", _SIGNATURE: b"signature"}


class NamedFake(FakeSource):
    """A fake source with a given name."""

    def __init__(self, name: str, *faults: SourceFault) -> None:
        super().__init__(_OBJECTS, *faults)
        self.name = name


class Mirrored:
    """A source with mirrors, the objects that observe it, and the events in short form."""

    def __init__(self, *mirrors: NamedFake, is_signed: bool = False, policy: RetryPolicy | None = None) -> None:
        self.origin, self.mirrors, self.observer = NamedFake("origin"), mirrors, Recorder()
        self.source = MirroredSource(self.origin, mirrors, self.observer, is_signed=is_signed, policy=policy)

    async def fetched(self, start: int = 0, stop: int = _SIZE) -> bytes:
        """Fetch a range."""
        sink = Collected()
        await self.source.get_range(_KEY, start, stop, sink)
        return bytes(sink.data)

    @property
    def asked(self) -> list[list[tuple[int, int]]]:
        """The ranges that were requested from each mirror and from the origin."""
        return [source.ranges() for source in (*self.mirrors, self.origin)]

    @property
    def dropped(self) -> list[object]:
        """The names of mirrors that were reported as given up, in order."""
        return [facts["mirror"] for name, facts in self.observer.events if name == "mirror_dropped"]


async def test_first_mirror_serves_all_ranges() -> None:
    mirrored = Mirrored(NamedFake("one"), NamedFake("two"))
    assert await mirrored.fetched(5, 900_000) == _DATA[5:900_000]
    assert mirrored.asked == [[(5, 900_000)], [], []]
    assert mirrored.observer.events == []


@pytest.mark.parametrize(
    "error",
    [
        UnavailableError("down"),
        AccessError("denied"),
        SourceError("x"),
    ],
    ids=repr,
)
async def test_range_continues_at_next_source_where_mirror_broke_off(error: ModelsInitError) -> None:
    """No byte is requested twice; the mirror, which has not sent a complete range, gets no further request."""
    mirrored = Mirrored(NamedFake("one", Broken(error, at=300_000)))
    assert await mirrored.fetched() == _DATA
    assert mirrored.asked == [[(0, _SIZE)], [(300_000, _SIZE)]]
    assert await mirrored.fetched(7, 70) == _DATA[7:70]
    assert mirrored.asked == [[(0, _SIZE)], [(300_000, _SIZE), (7, 70)]]
    assert mirrored.dropped == ["one"]
    assert mirrored.observer.events[0][1]["error"] == str(error)


@pytest.mark.parametrize(("retry_after", "pause"), [(30.0, 30.0 + 30.0), (None, 8.0)], ids=["retry-after", "none"])
async def test_overloaded_mirror_is_used_again_after_pause(retry_after: float | None, pause: float) -> None:
    """The range continues at the next source; after Retry-After and the jitter the mirror gets new ranges."""
    clock, busy = FakeClock(), UnavailableError("busy", retry_after=retry_after, overloaded=True)
    policy = RetryPolicy(clock=clock, uniform=lambda _, high: high)
    mirrored = Mirrored(NamedFake("one", Broken(busy, at=300_000)), policy=policy)
    assert await mirrored.fetched() == _DATA
    clock.now += pause - 0.1
    assert await mirrored.fetched(7, 70) == _DATA[7:70]
    assert mirrored.asked == [[(0, _SIZE)], [(300_000, _SIZE), (7, 70)]]
    clock.now += 0.2
    assert await mirrored.fetched(8, 80) == _DATA[8:80]
    assert mirrored.asked == [[(0, _SIZE), (8, 80)], [(300_000, _SIZE), (7, 70)]]
    assert mirrored.observer.names == ["mirror_overloaded"]


async def test_overloaded_mirror_gets_single_request_after_each_pause() -> None:
    """Requests that are refused at the same time start one pause; pauses grow, and only the first is reported."""
    clock, busy = FakeClock(), UnavailableError("busy", overloaded=True)
    one = NamedFake("one", Broken(busy, after=1, times=FOREVER))
    mirrored = Mirrored(one, policy=RetryPolicy(clock=clock, uniform=lambda _, high: high))
    ranges = [(start, start + 100_000) for start in range(0, _SIZE, 100_000)]
    assert await mirrored.fetched(0, 10) == _DATA[:10]
    for pause in (0.0, 8.1, 30.1, 30.1):
        clock.now += pause
        before = len(one.ranges())
        assert b"".join(await asyncio.gather(*(mirrored.fetched(*range_) for range_ in ranges))) == _DATA
        assert len(one.ranges()) - before == (1 if pause else len(ranges))
    assert mirrored.observer.names == ["mirror_overloaded"]


async def test_error_after_last_byte_of_mirror_requests_nothing_more() -> None:
    mirrored = Mirrored(NamedFake("one", Broken(UnavailableError("late"), at=_SIZE)))
    assert await mirrored.fetched() == _DATA
    assert mirrored.asked == [[(0, _SIZE)], []]


async def test_proven_mirror_is_asked_again_after_single_failure() -> None:
    """After one failure, a range continues at the same mirror; after three in a row, at the next source."""
    mirrored = Mirrored(NamedFake("one", Broken(UnavailableError("reset"), at=100_000, after=1)))
    assert await mirrored.fetched(0, 10) == _DATA[:10]
    assert await mirrored.fetched() == _DATA
    assert mirrored.asked == [[(0, 10), (0, _SIZE), (100_000, _SIZE)], []]
    assert mirrored.observer.events == []
    mirrored.mirrors[0].script(Broken(UnavailableError("reset"), at=100_000, times=FOREVER))
    assert await mirrored.fetched() == _DATA
    assert mirrored.asked[0][3:] == [(0, _SIZE), (100_000, _SIZE), (200_000, _SIZE)]
    assert mirrored.asked[1] == [(300_000, _SIZE)]
    assert mirrored.dropped == ["one"]


async def test_missing_object_is_reported_once_and_mirror_stays_in_use() -> None:
    one = NamedFake("one")
    del one.objects[_KEY]
    one.objects["common/1/pack.tar.zst"] = b"other"
    mirrored = Mirrored(one)
    assert [await mirrored.fetched(), await mirrored.fetched(5, 6)] == [_DATA, _DATA[5:6]]
    assert one.ranges() == [(0, _SIZE)]
    facts = {"level": "warning", "mirror": "one", "pack": "nl-nl", "version": "1"}
    assert mirrored.observer.events == [
        ("mirror_lacks_pack", {**facts, "text": "the pack is fetched from the next source"})
    ]
    sink = Collected()
    await mirrored.source.get_range("common/1/pack.tar.zst", 0, 5, sink)
    assert sink.data == b"other"


async def test_mirror_that_has_sent_one_range_gets_several_at_once() -> None:
    one = NamedFake("one")
    mirrored = Mirrored(one)
    ranges = [(start, start + 100_000) for start in range(0, _SIZE, 100_000)]
    pieces = await asyncio.gather(*(mirrored.fetched(*range_) for range_ in ranges))
    assert b"".join(pieces) == _DATA
    assert one.ranges() == ranges
    assert one.most_at_once > 1


async def test_broken_mirror_gets_one_of_many_concurrent_ranges() -> None:
    one = NamedFake("one", Broken(UnavailableError("down"), times=FOREVER))
    mirrored = Mirrored(one)
    ranges = [(start, start + 100_000) for start in range(0, _SIZE, 100_000)]
    assert b"".join(await asyncio.gather(*(mirrored.fetched(*range_) for range_ in ranges))) == _DATA
    assert one.ranges() == ranges[:1]
    assert mirrored.dropped == ["one"]


async def test_running_ranges_of_dropped_mirror_continue_at_origin() -> None:
    """Ranges that wait for data from a mirror stop when it is given up, even if their data would never come."""
    stalled = asyncio.Event()

    class Stalling(NamedFake):
        async def get_range(self, key: str, start: int, stop: int, sink: Collected) -> None:  # type: ignore[override] # a sink of these tests
            await super().get_range(key, start, min(stop, start + 60_000), sink)
            if start:
                await stalled.wait()

    one = Stalling("one")
    mirrored = Mirrored(one)
    await mirrored.fetched(0, 60_000)
    waiting = [asyncio.create_task(mirrored.fetched(start, start + 90_000)) for start in (100_000, 200_000, 300_000)]
    await eventually(lambda: len(one.ranges()) == 4, "all ranges being requested")
    assert mirrored.source.report_wrong(_KEY, 10, 20, "it sent a wrong chunk")
    assert await asyncio.gather(*waiting) == [_DATA[start : start + 90_000] for start in (100_000, 200_000, 300_000)]
    assert sorted(start for start, _ in mirrored.origin.ranges()) == [160_000, 260_000, 360_000]
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_wrong_bytes_are_requested_past_caches_then_from_next_sources() -> None:
    """The order is: the mirror again past its caches, the next mirror in the same way, the origin, the origin again."""
    one, two = (NamedFake(name, Flipped(at=50, times=FOREVER)) for name in ("one", "two"))
    mirrored = Mirrored(one, two)
    answers = [await mirrored.fetched(0, 100)]
    elsewhere = []
    for _ in range(5):
        elsewhere.append(mirrored.source.report_wrong(_KEY, 0, 100, "it sent a wrong chunk"))
        answers.append(await mirrored.fetched(0, 100))
    assert elsewhere == [True, True, True, True, False]
    assert [answer == _DATA[:100] for answer in answers] == [False, False, False, False, True, True]
    assert mirrored.asked == [[(0, 100)] * 2, [(0, 100)] * 2, [(0, 100)] * 2]
    assert (one.uncached, two.uncached, mirrored.origin.uncached) == ([_KEY], [_KEY], [_KEY])
    assert mirrored.dropped == ["one", "two"]


async def test_wrong_bytes_of_origin_are_not_attributed_to_mirror() -> None:
    """A mirror that sent other bytes of the object stays in use."""
    mirrored = Mirrored(NamedFake("one"))
    await mirrored.fetched(0, 1000)
    assert mirrored.source.report_wrong(_KEY, 1000, 2000, "wrong") is False
    assert mirrored.dropped == []
    assert mirrored.source.report_wrong(_KEY, 999, 2000, "wrong") is True
    assert mirrored.dropped == ["one"]


@pytest.mark.parametrize(
    "error", [NoSpaceError("full"), NotFoundError("not the mirror's"), OSError("broken")], ids=repr
)
async def test_error_of_sink_is_not_attributed_to_mirror(error: Exception) -> None:
    def fail(_piece: bytes) -> None:
        raise error

    mirrored = Mirrored(NamedFake("one"))
    with pytest.raises(type(error)) as raised:
        await mirrored.source.get_range(_KEY, 0, _SIZE, Collected(fail))
    assert raised.value is error
    assert mirrored.observer.events == []
    assert mirrored.origin.calls == []


async def test_documents_are_read_from_origin_only_without_signatures() -> None:
    mirrored = Mirrored(NamedFake("one"))
    mirrored.mirrors[0].objects[_MANIFEST] = b"forged"
    assert await mirrored.source.read(_MANIFEST, 100) == b"{}"
    assert mirrored.mirrors[0].calls == []


async def test_signed_documents_are_read_from_first_mirror_that_has_them() -> None:
    one, two = NamedFake("one"), NamedFake("two")
    del one.objects[_MANIFEST]
    mirrored = Mirrored(one, two, is_signed=True)
    assert await mirrored.source.read(_MANIFEST, 100) == b"{}"
    assert [len(source.calls) for source in (one, two, mirrored.origin)] == [1, 1, 0]
    assert mirrored.observer.names == ["mirror_lacks_pack"]


async def test_rejected_document_is_read_from_next_source() -> None:
    """A mirror whose document is reported as wrong is given up; such a report about the origin changes nothing."""
    mirrored = Mirrored(NamedFake("one"), NamedFake("two"), is_signed=True)
    for expected in (True, True, False):
        await mirrored.source.read(_MANIFEST, 100)
        assert mirrored.source.report_wrong(_MANIFEST, 0, 2, "not signed") is expected
    assert mirrored.dropped == ["one", "two"]


async def test_failing_mirror_is_reported_with_its_own_setting() -> None:
    """A remedy that would name MODELS_URL names the mirror's setting instead."""
    error = UnavailableError("the host name m.example cannot be resolved; check MODELS_URL, DNS and the proxy")
    mirrored = Mirrored(NamedFake("one", Broken(error)))
    await mirrored.fetched()
    assert str(mirrored.observer.events[0][1]["error"]).endswith("check MODELS_MIRRORS, DNS and the proxy")


async def test_gap_of_a_mirror_is_read_from_the_next_source_without_warning() -> None:
    """A bundle without some chunks is still used for the others."""

    class Partial(NamedFake):
        def unavailable_reason(self, _key: str, start: int, stop: int) -> str:
            return "made without it" if self.calls and start < 500_000 < stop else ""

    mirrored = Mirrored(Partial("one", Broken(NotFoundError("not in it"))))
    assert await mirrored.fetched() == _DATA
    assert await mirrored.fetched(600_000, 700_000) == _DATA[600_000:700_000]
    assert await mirrored.fetched(400_000, 600_000) == _DATA[400_000:600_000]
    assert mirrored.asked == [[(0, _SIZE), (600_000, 700_000)], [(0, _SIZE), (400_000, 600_000)]]
    assert mirrored.observer.events == []


async def test_cancelled_range_leaves_no_task() -> None:
    mirrored = Mirrored(NamedFake("one"))
    sink = Collected(size=1000)
    task = asyncio.create_task(mirrored.source.get_range(_KEY, 0, _SIZE, sink))
    await eventually(lambda: sink.data, "the first bytes")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert mirrored.observer.events == []
    assert mirrored.origin.calls == []
