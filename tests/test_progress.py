"""Promises about progress: it counts up, it never waits, and it ends."""

from __future__ import annotations

import fcntl
import io
import os
import re
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from models_init.output import log_format
from models_init.output import stream_writer as outlet_module
from models_init.output.progress import RATE_BEATS, EventLogger, Heartbeat, LineReporter, Progress
from models_init.output.stream_writer import PENDING, StreamWriter
from tests.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MIB = 1 << 20


class Beats(threading.Event):
    """Stands for an hour in which nobody ends the program: each wait is over at once, the last one by the end."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.waits: list[float | None] = []
        self._count = count

    def wait(self, timeout: float | None = None) -> bool:
        """Note the time, and return at once."""
        self.waits.append(timeout)
        return len(self.waits) > self._count


@pytest.fixture
def pipe() -> Iterator[tuple[int, io.TextIOWrapper]]:
    """Make a pipe of one page: the reader's descriptor, and a stream for the writer."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    with closing(io.TextIOWrapper(io.FileIO(writer, "w"), write_through=True)) as stream:
        yield reader, stream


def progressed(clock: FakeClock, progress: Progress, count: int, seconds: float = 10) -> dict[str, object]:
    clock.now += seconds
    progress.done += count
    return progress.facts()


def test_the_rate_is_that_of_the_last_minute() -> None:
    """A slow start is forgotten after a minute; the remaining time follows from the rate."""
    clock = FakeClock()
    progress = Progress(clock)
    progress.expect(100 * MIB)
    progressed(clock, progress, 0, seconds=600)
    for _ in range(RATE_BEATS):
        found = progressed(clock, progress, 10 * MIB)
    assert found == {
        "done_bytes": 60 * MIB,
        "total_bytes": 100 * MIB,
        "rate_bytes_per_second": MIB,
        "eta_seconds": 40.0,
        "elapsed_seconds": 660.0,
    }


def test_the_rate_begins_with_the_bytes() -> None:
    """Time spent before bytes were expected does not make the line look slow."""
    clock = FakeClock()
    progress = Progress(clock)
    progressed(clock, progress, 0, seconds=600)
    progress.expect(100 * MIB)
    assert progressed(clock, progress, 20 * MIB)["rate_bytes_per_second"] == 2 * MIB


def test_a_stall_has_no_remaining_time() -> None:
    """Where nothing comes, nobody knows how long it takes."""
    clock = FakeClock()
    progress = Progress(clock)
    progress.expect(MIB)
    found = progressed(clock, progress, 0)
    assert (found["rate_bytes_per_second"], found["eta_seconds"]) == (0, None)


def test_more_bytes_than_expected_leave_no_time() -> None:
    """The remaining time is never below zero."""
    clock = FakeClock()
    progress = Progress(clock)
    progress.expect(MIB)
    assert progressed(clock, progress, 2 * MIB)["eta_seconds"] == 0


def test_a_beat_says_how_far_the_work_is() -> None:
    """Each heartbeat is one line with bytes, total, rate and remaining time; before there are bytes, with the step."""
    clock, stream = FakeClock(), io.StringIO()
    with closing(StreamWriter(stream)) as outlet:
        lines = LineReporter(outlet, "text", "info", Progress(clock))
        lines.event("hashing")
        clock.now += 10
        lines.beat()
        lines.expect(3 * MIB)
        lines.expect(MIB)
        lines.advance(2 * MIB)
        clock.now += 4
        lines.beat()
    _, working, progress = (text.partition("info    ")[2] for text in stream.getvalue().splitlines())
    assert working == "working on=hashing elapsed=10s"
    assert progress == "progress done=2.0MiB total=4.0MiB rate=512.0KiB/s eta=4.0s elapsed=14s"


def test_the_heart_beats_until_it_is_closed() -> None:
    """A beat comes after every interval, and the thread ends when it is told."""
    count, beats = [0], Beats(3)

    def beat() -> None:
        count[0] += 1

    heartbeat = Heartbeat(beat, 10.0, beats)
    heartbeat.close()
    assert count == [3]
    assert beats.waits == [10.0] * 4


def test_an_outlet_writes_in_order() -> None:
    """What is written before the end comes out, once and in order."""
    stream = io.StringIO()
    with closing(StreamWriter(stream)) as outlet:
        for number in range(PENDING // 2):
            outlet.write(f"{number}\n")
    assert stream.getvalue().split() == [str(number) for number in range(PENDING // 2)]


def test_a_reader_that_does_not_read_stops_nothing(
    pipe: tuple[int, io.TextIOWrapper], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a pipe is full, writing returns at once, the end comes soon, and what is lost is counted."""
    monkeypatch.setattr(outlet_module, "GRACE_SECONDS", 0.01)
    reader, stream = pipe
    outlet = StreamWriter(stream)
    for _ in range(PENDING + 200):
        outlet.write("x" * 999 + "\n")
    outlet.close()
    assert 0 < outlet.lost <= 200
    os.close(reader)


def test_a_slow_reader_gets_everything(pipe: tuple[int, io.TextIOWrapper]) -> None:
    """What waits is written when the reader reads again, also through a pipe that does not block."""
    reader, stream = pipe
    os.set_blocking(stream.fileno(), False)
    outlet = StreamWriter(stream)
    for _ in range(100):
        outlet.write("x" * 999 + "\n")
    thread = threading.Thread(target=outlet.close)
    thread.start()
    received = 0
    while received < 100_000:
        received += len(os.read(reader, 65536))
    thread.join()
    os.close(reader)
    assert received == 100_000
    assert outlet.lost == 0


def test_a_reader_that_has_gone_is_nobodys_fault(pipe: tuple[int, io.TextIOWrapper]) -> None:
    """A broken pipe, a closed stream and no stream at all are written to in vain, without an error."""
    reader, stream = pipe
    os.close(reader)
    closed = io.StringIO()
    closed.close()
    for gone in (stream, closed, None):
        with closing(StreamWriter(gone)) as outlet:
            outlet.write("lost\n")


def test_a_closed_descriptor_is_not_written_to(tmp_path: Path) -> None:
    """A descriptor that was closed and came back as somebody's file gets no log line."""
    reader, writer = os.pipe()
    stream = io.TextIOWrapper(io.FileIO(writer, "w"), write_through=True)
    outlet = StreamWriter(stream)
    stream.close()
    theirs = os.open(tmp_path / "pack", os.O_CREAT | os.O_RDWR)
    assert theirs == writer
    outlet.write("a line\n")
    outlet.close()
    assert os.read(reader, 100) == b"a line\n"
    assert os.fstat(theirs).st_size == 0
    os.close(theirs)
    os.close(reader)


def test_what_a_stream_cannot_encode_is_escaped() -> None:
    """A name in another script does not silence a log in ASCII."""
    raw = io.BytesIO()
    with closing(StreamWriter(io.TextIOWrapper(raw, encoding="ascii", write_through=True))) as outlet:
        outlet.write("pack-é\udc80\n")
    assert raw.getvalue() == b"pack-\\xe9\\udc80\n"


def test_an_outlet_tells_no_secret() -> None:
    """Everything passes the redaction last, whoever wrote it."""
    stream = io.StringIO()
    with closing(StreamWriter(stream)) as outlet:
        outlet.write("?sv=1&sig=abc\n")
    assert re.fullmatch(r"\?\[redacted\]\n", stream.getvalue())


def test_what_is_written_while_the_logger_opens_is_a_line_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A warning that Python issues while structlog is imported is logged, and does not open the logger again."""
    shown: list[str] = []
    opened: list[Any] = []
    journal = EventLogger(shown.append, "text", "info")
    real = log_format.logger

    def warns(*settings: Any) -> Any:
        opened.append(settings)
        journal.write("stderr", {"level": "warning", "text": "deprecated"})
        return real(*settings)

    monkeypatch.setattr(log_format, "logger", warns)
    journal.event("resolved", pack="nl-nl")

    assert [line.split()[1:3] for line in shown] == [["info", "resolved"], ["warning", "stderr"]]
    assert len(opened) == 1
