"""A plain web server as a source without a token: a real nginx that serves the packs as files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests import services
from tests.bench.servers import nginx
from tests.samples import MIB
from tests.site import COMMON, DUTCH, Site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.bench.servers import Nginx
    from tests.services.azurite import Azurite
    from tests.site import Packs


@pytest.fixture(scope="module")
def directory(packs: Packs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the servers, whose subdirectory `models` has the packs."""
    services.require_tool("nginx")
    directory = tmp_path_factory.mktemp("servers")
    (directory / "site").mkdir()
    (directory / "site/models").symlink_to(packs.directory)
    return directory


@pytest.fixture(scope="module")
def server(directory: Path) -> Iterator[Nginx]:
    """An nginx without TLS."""
    with nginx(directory / "site", directory / "plain") as running:
        yield running


@pytest.fixture(scope="module")
def tls_server(directory: Path) -> Iterator[Nginx]:
    """An nginx with TLS and its own authority."""
    with nginx(directory / "site", directory / "tls", tls=True) as running:
        yield running


def anonymous(server: Nginx, packs: Packs, volume: Path, **variables: str) -> Site:
    """Return a site that installs from the web server; the URL has no path."""
    settings = {"MODELS_URL": server.origin, "MODELS_ANONYMOUS": "yes", "MODELS_PREFIX": "models"}
    return Site(volume, {**packs.environment, **settings, **variables})


def test_packs_are_installed_from_web_server_without_token(server: Nginx, packs: Packs, volume: Path) -> None:
    """The URL needs no path; check, plan and install work as with a container."""
    site = anonymous(server, packs, volume)
    checked = site.run("--check")
    assert checked.code == 0, checked.out
    assert "not needed" in checked.out
    assert "ready to install" in checked.out
    planned = site.run("--plan", "--json")
    assert planned.json["bytes_to_fetch"] > 8 * MIB
    done = site.run("--json")
    assert (done.code, done.json["activated"], done.json["retries"]) == (0, True, 0), done.err
    assert packs.differences(site, COMMON, DUTCH) == []
    assert site.run().out.startswith("nothing to do")


def test_packs_are_installed_from_https_web_server(tls_server: Nginx, packs: Packs, volume: Path) -> None:
    """Its certificate is verified like that of a container."""
    site = anonymous(tls_server, packs, volume)
    assert "certificate of 127.0.0.1" in site.run("--plan").fault
    done = site.run(MODELS_CA_FILE=str(tls_server.authority))
    assert done.code == 0, done.err
    assert packs.differences(site, COMMON, DUTCH) == []


def test_missing_version_on_web_server_is_reported_without_list(server: Nginx, packs: Packs, volume: Path) -> None:
    """Unlike a container, a web server does not list packs; the message has the URL that was requested."""
    done = anonymous(server, packs, volume).run(REALTIME_LANGUAGE_VERSION="1999.01")
    assert done.code == 21
    assert f"{DUTCH.name} 1999.01 is not at {server.origin}/models/ (" in done.fault
    assert "nl-nl/1999.01/manifest.json does not exist" in done.fault
    assert "token" not in done.fault
    assert "retrying" not in done.steps


def test_server_that_requires_token_is_reported_to_anonymous_site(azurite: Azurite, packs: Packs, volume: Path) -> None:
    """The message says that a token is missing, not that a token is wrong."""
    site = Site(
        volume,
        {**packs.environment, "MODELS_URL": azurite.fresh_container().container_url, "MODELS_ANONYMOUS": "yes"},
    )
    done = site.run()
    assert done.code == 22, done.err
    assert "denies access without a token" in done.fault
    assert "set MODELS_SAS_TOKEN or MODELS_SAS_TOKEN_FILE instead of MODELS_ANONYMOUS" in done.fault
