"""License files with real compose: what init reports, and that the engine does not start without a license."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from tests.container.site import ENGINE, INIT
from tests.license_files import document

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.container.site import ContainerSite
    from tests.services.azurite import Azurite


def _seconds(site: ContainerSite) -> float:
    state = site.container()["State"]
    start, end = (datetime.fromisoformat(state[key]) for key in ("StartedAt", "FinishedAt"))
    return (end - start).total_seconds()


def test_unlicensed_language_ends_with_23_before_a_request(
    site: ContainerSite, stocked: Azurite, figure: Callable[[str], None]
) -> None:
    (site.directory / "config/license.json").write_bytes(document(languages=["de-de"]))
    site.use(stocked)
    asked = len(stocked.requests())
    done = site.try_compose("up", "--detach")
    assert done.code == 1
    assert done.text.endswith(f'service "{INIT}" didn\'t complete successfully: exit 23')
    assert site.log()[-1] == (
        "models-init: error: /platform/config/license.json does not include nl-nl; it includes de-de; change "
        "REALTIME_LANGUAGES, or ask the vendor's support for a license with that language"
    )
    assert site.container(ENGINE)["State"]["Status"] == "created"
    assert len(stocked.requests()) == asked
    figure(f"init with an unlicensed language: exit 23 after {_seconds(site):.2f} s, 0 requests")


def test_missing_engine_license_is_explained_in_the_log(site: ContainerSite, stocked: Azurite) -> None:
    """Docker creates no directory in its place, because the engine does not start. With the file, `up` succeeds."""
    (site.directory / "config/license.dat").unlink()
    site.use(stocked)
    assert site.try_compose("up", "--detach").code == 1
    assert site.log()[-1] == (
        "models-init: error: /site/config/license.dat does not exist; put the file there that the vendor sent, or name "
        "its path in REALTIME_LICENSE_FILE"
    )
    assert site.container(ENGINE)["State"]["Status"] == "created"
    (site.directory / "config/license.dat").write_text("a license\n")
    site.compose("up", "--detach")
    assert site.container(ENGINE)["State"]["Status"] == "running"


@pytest.mark.parametrize("absolute", [True, False], ids=["absolute", "relative"])
def test_license_files_with_other_names_are_found(site: ContainerSite, stocked: Azurite, *, absolute: bool) -> None:
    """The license files need not be below ./config, and a missing platform license is only noted."""
    directory = site.directory.parent / "licenses of 2026"
    directory.mkdir()
    (directory / "asr.dat").write_text("a license\n")
    shown = str(directory) if absolute else f"../{directory.name}"
    site.use(stocked, REALTIME_LICENSE_FILE=f"{shown}/asr.dat", PLATFORM_LICENSE_FILE=f"{shown}/platform.json")
    noted = site.run_init("--check")
    assert f"{directory.name}/platform.json does not exist" in noted
    (directory / "platform.json").write_bytes(document())
    found = site.run_init("--check")
    assert "licensee Example Hospital" in found
    assert f"{directory.name}/asr.dat, sha256 " in found
    site.compose("up", "--detach")
    assert site.container(ENGINE)["State"]["Status"] == "running"
