"""MODELS_METRICS_FILE: the metrics that each run writes for node_exporter's textfile collector."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from models_init.output import metrics
from models_init.output.metrics import METRICS, PREFIX, Sample
from models_init.publish.pack.version_directory import ARCHIVE_NAME
from tests.services import require_tool
from tests.site import COMMON, DUTCH, NEWER, NOWHERE, in_container
from tests.tokens import leaks, token

if TYPE_CHECKING:
    from tests.services.azurite import Azurite
    from tests.site import Packs, Site


def samples(path: Path) -> dict[str, float]:
    """Return the values by name and labels, without the prefix and the label that all metrics have."""
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    assert all(line.startswith(PREFIX) and 'volume="models-init"}' in line for line in lines)
    found = (re.sub(r',?volume="models-init"', "", line).replace("{}", "").rsplit(" ", 1) for line in lines)
    return {name.removeprefix(PREFIX): float(value) for name, value in found}


def check(path: Path) -> None:
    """Check the file with Prometheus' own tool."""
    tool = require_tool("promtool")
    done = subprocess.run(
        [tool, "check", "metrics"], input=path.read_text(), check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return the path of the metrics file, in a directory that exists."""
    (tmp_path / "textfile").mkdir()
    return tmp_path / "textfile/models-init.prom"


@pytest.fixture
def measured(site: Site, file: Path) -> Site:
    """Return a site that writes metrics."""
    return site.but(MODELS_METRICS_FILE=str(file))


def test_install_reports_release_bytes_phases_and_space(measured: Site, file: Path) -> None:
    began = time.time()
    result = measured.run("--json").json
    check(file)
    found = samples(file)
    assert found['run_exit_code{action="install"}'] == 0
    assert began <= found['run_timestamp_seconds{action="install"}'] <= time.time()
    assert found['run_success_timestamp_seconds{action="install"}'] >= began
    fetched = [value for name, value in found.items() if name.startswith("run_fetched_bytes")]
    assert sum(fetched) == result["bytes_fetched"]
    assert found['run_written_bytes{action="install"}'] == result["bytes_written"]
    phases = {name: value for name, value in found.items() if name.startswith("run_phase_seconds")}
    assert {f'run_phase_seconds{{action="install",phase="{phase}"}}' for phase in ("start", "plan", "fetch")} < {
        *phases
    }
    assert sum(phases.values()) == pytest.approx(found['run_duration_seconds{action="install"}'], abs=0.05)
    assert found[f'release_info{{release="{result["release"]}"}}'] == 1
    assert found[f'pack_info{{pack="{DUTCH.name}",version="{DUTCH.version}"}}'] == 1
    assert found[f'pack_info{{pack="{COMMON.name}",version="{COMMON.version}"}}'] == 1
    assert 0 < found["volume_free_bytes"] <= found["volume_size_bytes"]
    assert found["rolled_back"] == 0


def test_file_is_readable_for_others_and_nothing_else_is_left(measured: Site, file: Path) -> None:
    measured.run(through=["sh", "-c", 'umask 077; exec "$@"', "sh"])
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert os.listdir(file.parent) == [file.name]


def test_start_with_nothing_to_do_is_reported(measured: Site, file: Path) -> None:
    measured.run()
    measured.run()
    found = samples(file)
    assert found['run_exit_code{action="install"}'] == 0
    assert found['run_written_bytes{action="install"}'] == 0
    check(file)


def test_failed_run_reports_exit_code_and_keeps_last_success(measured: Site, file: Path) -> None:
    measured.run()
    before = samples(file)
    newer = measured.but(REALTIME_LANGUAGE_VERSION=NEWER.version)
    done = newer.run(MODELS_URL=NOWHERE, MODELS_SAS_TOKEN=token(), MODELS_RETRY_SECONDS="1")
    after = samples(file)
    assert done.code
    assert after['run_exit_code{action="install"}'] == done.code
    success = 'run_success_timestamp_seconds{action="install"}'
    assert after[success] == before[success]
    assert after['run_timestamp_seconds{action="install"}'] > before['run_timestamp_seconds{action="install"}']
    check(file)


def test_failed_install_reports_the_bytes_that_it_has_fetched(
    measured: Site, packs: Packs, file: Path, tmp_path: Path
) -> None:
    shutil.copytree(packs.directory, tmp_path / "damaged")
    archive = tmp_path / "damaged" / DUTCH.name / DUTCH.version / ARCHIVE_NAME
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 1
    archive.write_bytes(data)
    assert measured.run(MODELS_URL=(tmp_path / "damaged").as_uri()).code == 30
    source = f'run_fetched_bytes{{action="install",source="{tmp_path}/damaged"}}'
    assert samples(file)[source] > len(data) / 2


def test_invalid_setting_is_reported_as_exit_code_2(measured: Site, file: Path) -> None:
    assert measured.run(MODELS_CONNECTIONS="many").code == 2
    assert samples(file)['run_exit_code{action="install"}'] == 2


def test_other_actions_do_not_hide_a_failed_install(measured: Site, file: Path) -> None:
    measured.run()
    assert measured.run(MODELS_CONNECTIONS="many").code == 2
    assert measured.run("--prune").code == 0
    (measured.active(DUTCH.name) / "extra").touch()
    assert measured.run("--verify").code == 45
    found = samples(file)
    assert [found[f'run_exit_code{{action="{action}"}}'] for action in ("install", "prune", "verify")] == [2, 0, 45]
    assert found['run_damages{action="verify"}'] == 1
    assert found['run_freed_bytes{action="prune"}'] == 0
    check(file)


def test_rollback_is_reported(measured: Site, file: Path) -> None:
    measured.run()
    measured.run(REALTIME_LANGUAGE_VERSION=NEWER.version)
    assert samples(file)["rolled_back"] == 0
    assert measured.run("--rollback").code == 0
    found = samples(file)
    assert found["rolled_back"] == 1
    assert found[f'pack_info{{pack="{DUTCH.name}",version="{DUTCH.version}"}}'] == 1
    assert f'pack_info{{pack="{DUTCH.name}",version="{NEWER.version}"}}' not in found


def test_token_is_reported_by_its_expiry_only(measured: Site, packs: Packs, container: Azurite, file: Path) -> None:
    began = time.time()
    secret = container.sas(expires_in=7200)
    assert measured.run(**in_container(packs, container.container_url, secret)).code == 0
    assert began + 7100 < samples(file)["token_expiry_timestamp_seconds"] < began + 7300
    assert leaks(file.read_text()) == []
    assert "sig" not in file.read_text()


def test_directory_that_does_not_exist_is_a_warning(measured: Site, tmp_path: Path) -> None:
    file = tmp_path / "missing/models-init.prom"
    done = measured.run(MODELS_METRICS_FILE=str(file))
    assert done.code == 0
    assert f"MODELS_METRICS_FILE={file} cannot be written: No such file or directory" in done.err
    assert "metrics_not_written" in done.steps
    assert measured.run(MODELS_METRICS_FILE=str(file), MODELS_CONNECTIONS="many").code == 2


def test_other_file_name_is_refused(site: Site) -> None:
    assert "let the name end with .prom" in site.run(MODELS_METRICS_FILE="/tmp/metrics.txt").fault
    assert "not an absolute path" in site.run(MODELS_METRICS_FILE="metrics.prom").fault


def test_unreadable_existing_file_is_replaced(file: Path) -> None:
    file.write_bytes(
        b'\xff\x00 garbage\nmodels_init_run_exit_code{action="prune"} x\nmodels_init_unknown{action="a"} 1\n'
    )
    metrics.write(str(file), "install", [Sample("run_exit_code", 0, {"action": "install"})])
    assert samples(file) == {'run_exit_code{action="install"}': 0}


def test_label_with_quote_and_token_is_escaped_and_redacted(file: Path) -> None:
    label = f'a"b\\c\n{token()}'
    metrics.write(str(file), "install", [Sample("run_fetched_bytes", 1, {"action": "install", "source": label})])
    check(file)
    assert leaks(file.read_text()) == []


def test_every_metric_is_documented() -> None:
    page = (Path(__file__).parents[1] / "docs/operations.md").read_text()
    assert set(re.findall(rf"`{PREFIX}(\w+)", page)) == {*METRICS}
