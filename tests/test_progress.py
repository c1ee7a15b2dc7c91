"""Progress: rates, heartbeats, and writing without blocking."""

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
from models_init.output import stream_writer as stream_writer_module
from models_init.output.progress import RATE_BEATS, EventLogger, Heartbeat, LineReporter, Progress
from models_init.output.stream_writer import PENDING, StreamWriter
from tests.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MIB = 1 << 20


class CountedWaits(threading.Event):
    """An event whose waits return at once; it counts as set after `count` waits."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.waits: list[float | None] = []
        self._count = count

    def wait(self, timeout: float | None = None) -> bool:
        """Record the timeout, and return at once."""
        self.waits.append(timeout)
        return len(self.waits) > self._count


@pytest.fixture
def pipe() -> Iterator[tuple[int, io.TextIOWrapper]]:
    """A pipe that holds one page: the reader's descriptor, and a stream for writing."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    with closing(io.TextIOWrapper(io.FileIO(writer, "w"), write_through=True)) as stream:
        yield reader, stream


def progressed(clock: FakeClock, progress: Progress, count: int, seconds: float = 10) -> dict[str, object]:
    clock.now += seconds
    progress.done += count
    return progress.facts()


def test_rate_covers_the_last_minute() -> None:
    """A slow start does not count after a minute; the remaining time follows from the rate."""
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


def test_rate_begins_with_the_first_expected_bytes() -> None:
    """Time spent on hashing before that does not count."""
    clock = FakeClock()
    progress = Progress(clock)
    progressed(clock, progress, 0, seconds=600)
    progress.expect(100 * MIB)
    assert progressed(clock, progress, 20 * MIB)["rate_bytes_per_second"] == 2 * MIB


def test_restored_bytes_do_not_count_for_the_rate() -> None:
    """Bytes that an earlier run has fetched count as done, but not for the rate."""
    clock = FakeClock()
    reporter = LineReporter(StreamWriter(io.StringIO()), "text", "info", progress := Progress(clock))
    reporter.expect(100 * MIB)
    reporter.restore(60 * MIB)
    found = progressed(clock, progress, 20 * MIB)
    assert (found["done_bytes"], found["total_bytes"]) == (80 * MIB, 100 * MIB)
    assert (found["rate_bytes_per_second"], found["eta_seconds"]) == (2 * MIB, 10.0)


def test_remaining_time_is_unknown_during_a_stall() -> None:
    clock = FakeClock()
    progress = Progress(clock)
    progress.expect(MIB)
    found = progressed(clock, progress, 0)
    assert (found["rate_bytes_per_second"], found["eta_seconds"]) == (0, None)


def test_remaining_time_is_never_negative() -> None:
    """More bytes than expected may arrive."""
    clock = FakeClock()
    progress = Progress(clock)
    progress.expect(MIB)
    assert progressed(clock, progress, 2 * MIB)["eta_seconds"] == 0


def test_heartbeat_is_a_line_with_the_progress() -> None:
    """The line has bytes, total, rate and remaining time; before bytes are expected, it has the last event."""
    clock, stream = FakeClock(), io.StringIO()
    with closing(StreamWriter(stream)) as stream_writer:
        lines = LineReporter(stream_writer, "text", "info", Progress(clock))
        lines.event("hashing")
        clock.now += 10
        lines.beat()
        lines.expect(3 * MIB)
        lines.expect(MIB)
        lines.advance(2 * MIB)
        clock.now += 4
        lines.beat()
    _, working, progress = (text.partition("info    ")[2] for text in stream.getvalue().splitlines())
    assert working == "working step=hashing elapsed=10s"
    assert progress == "progress done=2.0MiB total=4.0MiB rate=512.0KiB/s eta=4.0s elapsed=14s"


def test_heartbeat_names_the_host_that_does_not_answer() -> None:
    """During an outage before the download, the line has the host for which the program waits, and the time."""
    clock, stream = FakeClock(), io.StringIO()
    with closing(StreamWriter(stream)) as stream_writer:
        lines = LineReporter(stream_writer, "text", "info", Progress(clock))
        lines.event("retrying", host="acc.blob.core.windows.net", error="cannot be reached")
        clock.now += 20
        lines.beat()
    assert (
        stream.getvalue().splitlines()[-1].endswith("info    still_waiting for=acc.blob.core.windows.net elapsed=20s")
    )


def test_heartbeat_stops_when_it_is_closed() -> None:
    """The thread has ended after `close`."""
    count, waits = [0], CountedWaits(3)

    def beat() -> None:
        count[0] += 1

    heartbeat = Heartbeat(beat, 10.0, waits)
    heartbeat.close()
    assert count == [3]
    assert waits.waits == [10.0] * 4


def test_writer_keeps_the_order() -> None:
    """Everything that was written before `close` is in the stream once."""
    stream = io.StringIO()
    with closing(StreamWriter(stream)) as stream_writer:
        for number in range(PENDING // 2):
            stream_writer.write(f"{number}\n")
    assert stream.getvalue().split() == [str(number) for number in range(PENDING // 2)]


def test_blocked_reader_does_not_block_the_writer(
    pipe: tuple[int, io.TextIOWrapper], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a full pipe, `write` returns at once, `close` returns soon, and lost pieces are counted."""
    monkeypatch.setattr(stream_writer_module, "GRACE_SECONDS", 0.01)
    reader, stream = pipe
    stream_writer = StreamWriter(stream)
    for _ in range(PENDING + 200):
        stream_writer.write("x" * 999 + "\n")
    stream_writer.close()
    assert 0 < stream_writer.lost <= 200
    os.close(reader)


def test_slow_reader_receives_everything(pipe: tuple[int, io.TextIOWrapper]) -> None:
    """Queued text is written when the reader continues, also through a non-blocking pipe."""
    reader, stream = pipe
    os.set_blocking(stream.fileno(), False)
    stream_writer = StreamWriter(stream)
    for _ in range(100):
        stream_writer.write("x" * 999 + "\n")
    thread = threading.Thread(target=stream_writer.close)
    thread.start()
    received = 0
    while received < 100_000:
        received += len(os.read(reader, 65536))
    thread.join()
    os.close(reader)
    assert received == 100_000
    assert stream_writer.lost == 0


def test_closed_stream_raises_no_error(pipe: tuple[int, io.TextIOWrapper]) -> None:
    """The stream may be a broken pipe, closed, or missing."""
    reader, stream = pipe
    os.close(reader)
    closed = io.StringIO()
    closed.close()
    for gone in (stream, closed, None):
        with closing(StreamWriter(gone)) as stream_writer:
            stream_writer.write("lost\n")


def test_reused_descriptor_is_not_written_to(tmp_path: Path) -> None:
    """A descriptor that was closed may be reused for another file, which must not receive log lines."""
    reader, writer = os.pipe()
    stream = io.TextIOWrapper(io.FileIO(writer, "w"), write_through=True)
    stream_writer = StreamWriter(stream)
    stream.close()
    other = os.open(tmp_path / "pack", os.O_CREAT | os.O_RDWR)
    assert other == writer
    stream_writer.write("a line\n")
    stream_writer.close()
    assert os.read(reader, 100) == b"a line\n"
    assert os.fstat(other).st_size == 0
    os.close(other)
    os.close(reader)


def test_characters_outside_the_encoding_are_escaped() -> None:
    """A log in ASCII can contain any name."""
    raw = io.BytesIO()
    with closing(StreamWriter(io.TextIOWrapper(raw, encoding="ascii", write_through=True))) as stream_writer:
        stream_writer.write("pack-é\udc80\n")
    assert raw.getvalue() == b"pack-\\xe9\\udc80\n"


def test_writer_redacts_secrets() -> None:
    """Redaction is the last step before the stream."""
    stream = io.StringIO()
    with closing(StreamWriter(stream)) as stream_writer:
        stream_writer.write("?sv=1&sig=abc\n")
    assert re.fullmatch(r"\?\[redacted\]\n", stream.getvalue())


def test_warning_during_the_import_of_structlog_is_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    """The logger is not opened a second time."""
    shown: list[str] = []
    opened: list[Any] = []
    event_logger = EventLogger(shown.append, "text", "info")
    real = log_format.logger

    def warns(*settings: Any) -> Any:
        opened.append(settings)
        event_logger.write("stderr", {"level": "warning", "text": "deprecated"})
        return real(*settings)

    monkeypatch.setattr(log_format, "logger", warns)
    event_logger.event("resolved", pack="nl-nl")

    assert [line.split()[1:3] for line in shown] == [["info", "resolved"], ["warning", "stderr"]]
    assert len(opened) == 1
