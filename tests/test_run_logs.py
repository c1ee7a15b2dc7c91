"""The logs of the last runs on the volume."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from models_init.output import stream_writer
from models_init.output.run_log import LogFile, RunLog
from models_init.volume import run_logs
from tests.preflight.mounts import in_tmpfs, read_only
from tests.site import NOWHERE
from tests.tokens import leaks, token

if TYPE_CHECKING:
    from pathlib import Path

    from tests.site import Site


def _events(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _names(path: Path) -> list[str]:
    return [entry["event"] for entry in _events(path)]


def test_install_is_logged_on_the_volume(site: Site) -> None:
    assert site.run().code == 0
    (log,) = run_logs.recent(site.volume)
    names = _names(log)
    assert names[:2] == ["started", "running"]
    assert {"resolved", "fetching", "published", "activated"} < set(names)
    last = _events(log)[-1]
    assert (last["event"], last["exit_code"], last["result"]["activated"]) == ("ended", 0, True)


def test_start_with_nothing_to_do_and_read_only_actions_write_no_log(site: Site) -> None:
    site.run()
    for arguments in ((), ("--check",), ("--status",), ("--verify",), ("--plan",), ("--prune", "--dry-run")):
        assert site.run(*arguments).code == 0
    assert len(run_logs.recent(site.volume)) == 1


def test_failure_is_the_last_line_and_has_no_token(site: Site) -> None:
    secret = token(se="2020-01-01T00:00:00Z")
    done = site.run(MODELS_URL=f"{NOWHERE}?{secret}", MODELS_SAS_TOKEN=secret, MODELS_RETRY_SECONDS="1")
    assert done.code == 2
    done = site.run(MODELS_URL=NOWHERE, MODELS_SAS_TOKEN=secret, MODELS_RETRY_SECONDS="1")
    assert done.code == 20
    (log,) = run_logs.recent(site.volume)
    last = _events(log)[-1]
    assert (last["event"], last["level"], last["exit_code"]) == ("failed", "error", 20)
    assert "cannot be resolved" in last["error"][0]
    assert leaks(log.read_bytes()) == []


def test_five_newest_logs_are_kept(site: Site) -> None:
    versions = [f"absent-{number}" for number in range(6)]
    for version in versions:
        assert site.run(REALTIME_COMMON_VERSION=version).code == 21
    logs = [log.read_text() for log in run_logs.recent(site.volume)]
    assert [[version for version in versions if version in log] for log in logs] == [[each] for each in versions[1:]]


def test_logs_of_a_clock_that_was_ahead_are_removed_first(tmp_path: Path) -> None:
    """Otherwise each new log would be removed at once until that time."""
    (tmp_path / "logs").mkdir()
    for day in range(1, 6):
        (tmp_path / f"logs/2999-01-0{day}T00:00:00.000000Z-7.jsonl").touch()
    for _ in range(3):
        os.close(run_logs.create(tmp_path))
    future, present = [path.name for path in run_logs.recent(tmp_path)][:2], run_logs.recent(tmp_path)[2:]
    assert [name[:10] for name in future] == ["2999-01-04", "2999-01-05"]
    assert (len(present), any(path.name.startswith("2999") for path in present)) == (3, False)


def test_logs_can_be_disabled(site: Site) -> None:
    assert site.run(MODELS_KEEP_LOGS="0").code == 0
    assert not (site.volume / "logs").exists()


def test_link_in_place_of_the_directory_is_not_followed(site: Site, tmp_path: Path) -> None:
    site.volume.mkdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (site.volume / "logs").symlink_to(elsewhere)
    assert site.run().code == 0
    assert list(elsewhere.iterdir()) == []


def test_volume_that_cannot_be_written_does_not_change_the_result(site: Site) -> None:
    site.run()
    (log,) = run_logs.recent(site.volume)
    done = site.run(through=read_only(site.volume), REALTIME_LANGUAGE_VERSION="2026.07")
    assert done.code == 43
    site.volume.joinpath("full").mkdir()
    full = site.run(
        MODELS_DIR=str(site.volume / "full"), through=in_tmpfs(site.volume / "full", "size=16k,nr_inodes=3")
    )
    assert (full.code, full.fault.startswith("this is a bug")) == (41, False)
    assert run_logs.recent(site.volume) == [log]


def test_log_is_limited_and_keeps_its_last_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_writer, "GRACE_SECONDS", 60.0)  # a busy machine may need more than a second
    log = RunLog(tmp_path, "install")
    for number in range(30):
        log.event("large", {"number": number, "text": "x" * 50_000})
    log.end("failed", {"level": "error"})
    log.close()
    (path,) = run_logs.recent(tmp_path)
    assert 900_000 < path.stat().st_size <= run_logs.SIZE_LIMIT
    assert _names(path)[-1] == "failed"


def test_events_before_the_volume_exists_are_kept(tmp_path: Path) -> None:
    file = LogFile(tmp_path / "models")
    with pytest.raises(FileNotFoundError):
        file.write("early\n")
    (tmp_path / "models").mkdir()
    file.write("late\n")
    file.close()
    (path,) = run_logs.recent(tmp_path / "models")
    assert path.read_text() == "early\nlate\n"
