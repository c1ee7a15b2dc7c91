"""The vendor's commands report retries like an install: a line for each host and interval, with the time left."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from models_init.publish.cli.main import main
from tests import services
from tests.publish.packs import pack
from tests.tokens import token

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

REGISTRY, CONTAINER = "oci://{host}/models", "http://{host}/account/container"


def _upload(directory: Path, url: str) -> list[str]:
    return ["upload", str(pack(directory, {"a": b"b"}).path), "--url", url]


def _bundle(directory: Path, _url: str) -> list[str]:
    return ["bundle", "--out", str(directory / "site.tar")]


def _compare(_directory: Path, url: str) -> list[str]:
    return ["compare", f"{url}/nl-nl:2026.04", f"{url}/nl-nl:2026.07"]


@pytest.mark.parametrize(
    ("command", "pattern"),
    [(_upload, CONTAINER), (_upload, REGISTRY), (_bundle, CONTAINER), (_bundle, REGISTRY), (_compare, REGISTRY)],
)
def test_retries_are_reported_with_the_time_left(
    command: Callable[[Path, str], list[str]],
    pattern: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    host = f"127.0.0.1:{services.free_port()}"
    settings = {
        "HOME": str(tmp_path),
        "MODELS_RETRY_SECONDS": "1",
        "MODELS_SAS_TOKEN": token(sp="rw"),
        "MODELS_URL": pattern.format(host=host),
        "REALTIME_LANGUAGES": "nl-nl@2026.04",
        "REALTIME_COMMON_VERSION": "2026.04",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    assert main(command(tmp_path, settings["MODELS_URL"])) == 20
    lines = capsys.readouterr().err.splitlines()
    (reported,) = [line for line in lines if " retrying " in line]
    assert " warning retrying " in reported
    assert f"host={host}" in reported
    assert f"{host} cannot be reached: Connection refused; check the network" in reported
    assert "failures=1 " in reported
    assert " left=" in reported
    assert lines[-1] == f"models-pack: error: {host} cannot be reached: Connection refused; check the network"
