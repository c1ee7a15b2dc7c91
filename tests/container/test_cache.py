"""The site cache of deploy/cache in a container, and an install through it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from tests import services
from tests.container.daemon import until
from tests.container.images import BASE, ROOT
from tests.container.test_gateway import listens
from tests.tokens import leaks

if TYPE_CHECKING:
    from pathlib import Path

    from tests.container.site import ContainerSite
    from tests.services.azurite import Azurite

_COMPOSE, _OVERLAY = "docker-compose.cache.yml", "docker-compose.host.yml"
_HOST_NETWORK = """
services:
  models-cache:
    network_mode: host
    ports: !reset []
    environment: {{ CACHE_LISTEN: "127.0.0.1:{port}" }}
"""


def _prepare(directory: Path, bucket: Azurite, port: int) -> None:
    """Fill the directory as the first lines of the compose file say."""
    shutil.copytree(ROOT / "deploy/cache", directory)
    for name in ("cache", "secrets"):
        (directory / name).mkdir(mode=0o700)
        shutil.chown(directory / name, 10001, 10001)
    token = directory / "secrets/models-sas-token"
    token.write_text(bucket.sas())
    token.chmod(0o400)
    shutil.chown(token, 10001, 10001)
    (directory / ".env.cache").write_text(f"CACHE_ORIGIN={bucket.container_url}\nCACHE_IMAGE={BASE}\n")
    (directory / _OVERLAY).write_text(_HOST_NETWORK.format(port=port))


def test_install_through_the_cache_needs_no_token(site: ContainerSite, stocked: Azurite, tmp_path: Path) -> None:
    """The cache runs without root, with a read-only file system; its log has no token."""
    port = services.free_port()
    _prepare(tmp_path / "cache", stocked, port)
    files = ("-f", _COMPOSE, "-f", _OVERLAY, "--env-file", ".env.cache", "--project-name", f"{site.project}cache")
    where = {"cwd": tmp_path / "cache"}
    try:
        site.docker.run("compose", *files, "up", "--detach", **where)
        until(lambda: listens(f"127.0.0.1:{port}"), "the cache")
        url = stocked.container_url.replace(stocked.origin, f"http://127.0.0.1:{port}")
        site.use(stocked, "", MODELS_URL=url, MODELS_ANONYMOUS="yes")
        assert "is current" in site.run_init()
        logged = site.docker.run("compose", *files, "logs", "--no-color", **where)
        assert "pack.tar.zst" in logged
        assert leaks(logged) == []
        assert "sig=" not in logged
        assert [path for path in (tmp_path / "cache/cache").rglob("*") if path.is_file()]
    finally:
        site.docker.try_run("compose", *files, "down", "--volumes", "--timeout", "5", **where)
