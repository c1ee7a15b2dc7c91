"""Bundles with images: an empty Docker engine loads them from the bundle, and compose runs them."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from models_init.core.pack_ref import PackRef
from tests import services
from tests.bundle import vendor
from tests.container import images
from tests.container.daemon import engine, require_compose
from tests.container.site import BUCKET, ENGINE, INIT, ONPREM, ContainerSite
from tests.container.test_compose import ask
from tests.publish.packs import built, write
from tests.samples import MIB, Shape, write_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.container.daemon import Docker

_SERVER = f"{images.REGISTRY}/server:dev"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a language and the pack that it needs."""
    directory = tmp_path_factory.mktemp("published")
    tree = write_tree(directory / "tree", Shape(texts=12, weights=(3 * MIB,), dense=(2 * MIB + 1,)))
    built(tree, directory / "packs", PackRef("nl-nl", "2026.04"), level=1)
    built(write(directory / "common", {"a": b"b"}), directory / "packs", PackRef("common", "2026.04"))
    return directory / "packs"


@pytest.fixture
def bare() -> Iterator[Docker]:
    """The engine of the site, without any image."""
    with engine() as docker:
        require_compose(docker.program)
        yield docker


def _environment(published: Path) -> dict[str, str]:
    packs = {"REALTIME_LANGUAGES": "nl-nl", "REALTIME_LANGUAGE": "nl-nl", "REALTIME_LANGUAGE_VERSION": "2026.04"}
    tags = {"REALTIME_REGISTRY": images.REGISTRY, "REALTIME_IMAGE_TAG": "dev", "MODELS_INIT_TAG": "dev"}
    return {**packs, **tags, "REALTIME_COMMON_VERSION": "2026.04", "MODELS_URL": str(published)}


def test_bundle_with_images_starts_the_services(
    ready: Docker, bare: Docker, published: Path, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    """Images of one engine are copied in parts and loaded into another; `install.sh` starts the services."""
    services.require_tool("skopeo")
    vendors, stick = ContainerSite(ready, tmp_path / "vendor"), tmp_path / "stick"
    stick.mkdir()
    compose = [word for name in (ONPREM, BUCKET) for word in ("--compose", vendors.directory / name)]
    license_file = vendors.directory / "config/license.dat"
    wanted = ["--image", images.IMAGE, "--image", _SERVER, *compose, "--file", f"{license_file}=config/license.dat"]
    made = vendor.bundled(
        "--out", stick / "site.tar", "--split", "150MB", *wanted, **ready.environment, **_environment(published)
    ).json
    figure(f"a bundle with two images: {made['size'] / MIB:.0f} MiB in {len(made['files'])} parts")
    assert made["images"] == [images.IMAGE, _SERVER]
    assert len(made["files"]) > 2
    assert sorted(path.name for path in stick.iterdir()) == [
        f"site.tar.{n:03}" for n in range(1, len(made["files"]) + 1)
    ]
    shutil.rmtree(vendors.directory)

    site = ContainerSite(bare, tmp_path / "site")
    shutil.rmtree(site.directory)
    script = tmp_path / "install.sh"
    with script.open("wb") as file:
        command = ["tar", "-xOf", str(stick / "site.tar.001"), "--occurrence=1", "install.sh"]
        subprocess.run(command, check=True, stdout=file)
    assert bare.run("images", "--quiet") == ""
    variables = bare.environment | {"COMPOSE_PROJECT_NAME": site.project}
    run = ["sh", str(script), "--bundle", str(stick / "site.tar.001"), "--dir", str(site.directory)]
    done = subprocess.run(run, check=False, capture_output=True, text=True, env=variables)
    assert done.returncode == 0, done.stdout + done.stderr
    try:
        assert set(bare.run("images", "--format", "{{.Repository}}:{{.Tag}}").split()) == {images.IMAGE, _SERVER}
        assert "up --detach --pull never" in done.stdout
        assert done.stdout.endswith("install: done: the services are running\n")
        assert site.container()["State"]["ExitCode"] == 0
        assert site.container()["HostConfig"]["NetworkMode"] == "none"
        assert ask(site)["packs"] == {"nl-nl": "2026.04", "common": "2026.04"}
        record = json.loads((site.volume / "current/release.json").read_text())
        assert record["source"] == "file:///bundle/site.tar"
        assert (site.directory / "config/license.dat").read_text() == "a license\n"

        again = subprocess.run(run, check=False, capture_output=True, text=True, env=variables)
        assert again.returncode == 0, again.stdout + again.stderr
        assert "nothing to do" in bare.run("logs", f"{site.project}-{INIT}-1")
        assert ask(site, ENGINE)["packs"]["nl-nl"] == "2026.04"
    finally:
        names = bare.run("ps", "--all", "--quiet").split()
        bare.try_run("rm", "--force", *names)
