"""License files at a site: in `--check`, before an install, with nothing to do, and in `--status`."""

from __future__ import annotations

import json
import os
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from tests.license_files import ENGINE, document, expiring
from tests.preflight.check_result import check
from tests.preflight.mounts import powerless, read_only
from tests.site import NOWHERE

if TYPE_CHECKING:
    from pathlib import Path

    from tests.site import Site


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A directory with both license files, both valid."""
    directory = tmp_path / "config"
    directory.mkdir()
    (directory / "license.json").write_bytes(document())
    (directory / "license.dat").write_bytes(ENGINE)
    return directory


@pytest.fixture
def licensed(site: Site, config: Path) -> Site:
    """A site that names its engine license."""
    return site.but(REALTIME_LICENSE_FILE=str(config / "license.dat"))


def test_check_notes_missing_settings(site: Site) -> None:
    found = check(site)
    assert found.code == 0
    assert found.text("engine license") == "not checked: REALTIME_LICENSE_FILE is not set"
    assert found.text("platform license").startswith("not checked: license.json does not exist")
    assert "licenses" not in found.content


def test_check_shows_valid_licenses(licensed: Site) -> None:
    found = check(licensed)
    assert (found.code, found.named("warning")) == (0, [])
    assert found.text("platform license").startswith("licensee Example Hospital; languages nl-nl, en-us; 4 realtime")
    assert found.content["licenses"]["engine_license_sha256"] == sha256(ENGINE).hexdigest()
    assert found.content["licenses"]["licensee"] == "Example Hospital"


def test_check_reports_unlicensed_language_and_missing_file(licensed: Site, config: Path) -> None:
    (config / "license.json").write_bytes(document(languages=["de-de"]))
    (config / "license.dat").unlink()
    found = check(licensed)
    assert (found.code, found.named("failed")) == (23, ["platform license", "engine license"])
    assert "does not include nl-nl; it includes de-de; change REALTIME_LANGUAGES" in found.text("platform license")


@pytest.mark.parametrize("arguments", [(), ("--json",)], ids=["text", "json"])
def test_install_ends_with_23_before_source_and_volume_are_used(
    licensed: Site, config: Path, arguments: tuple[str, ...]
) -> None:
    (config / "license.json").write_bytes(document(languages=["de-de"]))
    done = licensed.run(*arguments, MODELS_URL=NOWHERE, MODELS_SAS_TOKEN="sv=1&sig=unused")
    assert done.code == 23
    assert "resolved" not in done.err
    assert f"{config}/license.json does not include nl-nl; it includes de-de;" in done.err
    assert not (licensed.volume / "packs").exists()


def test_start_with_nothing_to_do_checks_licenses_as_well(licensed: Site, config: Path) -> None:
    assert licensed.run().code == 0
    (config / "license.json").write_bytes(document(expires="2026-01-31"))
    done = licensed.run()
    assert (done.code, done.fault) == (
        23,
        f"{config}/license.json expired on 2026-01-31; ask the vendor's support for a new license",
    )
    warned = licensed.run(MODELS_LICENSE_CHECKS="warn")
    assert (warned.code, warned.steps) == (0, ["license"])
    assert warned.out.startswith("nothing to do")


def test_license_warnings_do_not_end_an_install(licensed: Site, config: Path) -> None:
    (config / "license.json").write_bytes(document(expires=expiring(5), max_realtime_streams=0))
    done = licensed.run("--json")
    assert (done.code, done.steps.count("license")) == (0, 2)
    assert len(done.json["licenses"]["warnings"]) == 2


def test_platform_license_elsewhere_is_named(licensed: Site, tmp_path: Path) -> None:
    (tmp_path / "v1.json").write_bytes(b'{"license": {"licensee": "Example"}}')
    done = licensed.run(PLATFORM_LICENSE_FILE=str(tmp_path / "v1.json"))
    assert (done.code, done.fault) == (
        23,
        f"{tmp_path}/v1.json is a v1 license, without `realtime`; ask the vendor's support for a v2 license",
    )


def test_unreadable_engine_license_fails_and_platform_license_warns(licensed: Site, config: Path) -> None:
    """The platform may run as another user than this program and the engine."""
    for path in config.iterdir():
        path.chmod(0)
        os.chown(path, 65534, 65534)
    found = check(licensed, powerless())
    assert (found.states["platform license"], found.states["engine license"]) == ("warning", "failed")
    assert f"license.dat cannot be read by user {os.geteuid()}; run chmod 644 on" in found.text("engine license")


def test_rotation_is_reported_by_next_start_and_status(licensed: Site, config: Path) -> None:
    assert licensed.run().code == 0
    before = licensed.run("--status", "--json").json["engine_license"]
    assert (before["sha256"], before["changed"]) == (sha256(ENGINE).hexdigest(), False)

    (config / "license.dat").write_bytes(ENGINE[::-1])
    rotated = licensed.run("--status")
    assert f"CHANGED since the last run, now {sha256(ENGINE[::-1]).hexdigest()[:12]}: restart" in rotated.out

    started = licensed.run()
    assert started.code == 0
    assert f"the engine license has changed since {before['since']}; restart the engine to use it" in started.err
    after = licensed.run("--status", "--json").json["engine_license"]
    assert (after["changed"], after["previous"]) == (False, before["sha256"])
    assert ENGINE not in b"".join(path.read_bytes() for path in licensed.volume.rglob("*") if path.is_file())


def test_rotation_on_read_only_volume_does_not_fail_a_start(licensed: Site, config: Path) -> None:
    assert licensed.run().code == 0
    (config / "license.dat").write_bytes(ENGINE[::-1])
    done = licensed.run(through=read_only(licensed.volume))
    assert (done.code, done.steps) == (0, ["license"])


def test_relative_path_is_accepted(site: Site) -> None:
    """The product's documentation uses one."""
    done = site.run("--check", "--json", REALTIME_LICENSE_FILE="./config/license.dat")
    failed = [entry["text"] for entry in json.loads(done.out)["checks"] if entry["check"] == "engine license"]
    assert (done.code, failed[0].partition(";")[0]) == (23, "config/license.dat does not exist")
