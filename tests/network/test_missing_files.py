"""Files that settings name and that do not exist."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.services import free_port
from tests.site import in_container

if TYPE_CHECKING:
    from tests.site import Packs, Site


def test_missing_ca_file_and_token_file_are_reported_together(site: Site, packs: Packs) -> None:
    """Both are exit code 2, before any connection; with everything installed, neither file is needed."""
    url = f"https://127.0.0.1:{free_port()}/models"
    files = {"MODELS_CA_FILE": "/nosuch/ca.pem", "MODELS_SAS_TOKEN_FILE": "/nosuch/token"}
    away = site.but(**in_container(packs, url, "")).but(**files)
    done = away.run()
    assert done.code == 2
    assert sorted(fault.partition("=")[0] for fault in done.faults) == sorted(files)
    assert site.run().code == 0
    assert away.run().out.startswith("nothing to do")
