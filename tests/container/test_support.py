"""deploy/compose/support.sh: one archive with information from the program and from docker, without secrets."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

from tests.container.site import INIT
from tests.test_support import unpacked
from tests.tokens import leaks, real

if TYPE_CHECKING:
    from tests.container.site import ContainerSite
    from tests.services.azurite import Azurite


def support(site: ContainerSite) -> dict[str, str]:
    """Run support.sh as docs/support.md says; return the members of the archive."""
    variables = {"COMPOSE_FILE": ":".join(site.files), "COMPOSE_ENV_FILES": ".env.onprem"}
    environment = site.docker.environment | variables | {"COMPOSE_PROJECT_NAME": site.project}
    done = subprocess.run(
        ["./support.sh", "s.tar.gz"], cwd=site.directory, env=environment, check=False, capture_output=True, text=True
    )
    path = site.directory / "s.tar.gz"
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"s.tar.gz: {path.stat().st_size} bytes; contains no secrets\n"
    return unpacked(path.read_bytes())


def test_script_adds_information_about_the_host(site: ContainerSite, stocked: Azurite) -> None:
    token = real(stocked.sas())
    site.use(stocked, token)
    site.compose("up", "--detach")
    found = support(site)
    assert {f"host/logs-{name}.txt" for name in (INIT, "asr-server", "api")} <= {*found}
    assert "License is valid: stand-in" in found["host/logs-asr-server.txt"]
    assert INIT in found["host/compose-ps.txt"]
    assert re.search(r'"image": "(sha256:)?[0-9a-f]{64}"', found["program.json"])
    assert "[redacted]" in found["host/compose-config.json"]
    assert leaks("".join(found.values())) == []
