"""A Docker engine with the images, a blob container with packs, and sites to install on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from models_init.core.pack_ref import PackRef
from tests.container import base, images
from tests.container.daemon import Docker, engine, require_compose
from tests.container.site import ContainerSite
from tests.publish.packs import built
from tests.samples import MIB, Shape, upgrade, write_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.services.azurite import Azurite

_SMALL = Shape(texts=12, weights=(3 * MIB,), dense=(2 * MIB + 1,))


@pytest.fixture(scope="session")
def docker() -> Iterator[Docker]:
    """Run a Docker engine that has the base image."""
    with engine() as docker:
        images.import_base(docker, base.tarball())
        yield docker


@pytest.fixture(scope="session")
def compose(docker: Docker) -> Docker:
    """The engine, if compose v2 is installed."""
    require_compose(docker.program)
    return docker


@pytest.fixture(scope="session")
def image(docker: Docker) -> str:
    """Build the image with docker, as a release does."""
    images.build("docker", images.IMAGE, environment=docker.environment)
    return images.IMAGE


@pytest.fixture(scope="session")
def stocked(azurite: Azurite, tmp_path_factory: pytest.TempPathFactory) -> Azurite:
    """A blob container with two languages, one of them in two versions, and the pack `common`."""
    directory, bucket = tmp_path_factory.mktemp("packs"), azurite.fresh_container()
    for name in ("nl-nl", "en-us", "common"):
        tree = write_tree(directory / "trees" / name, _SMALL, name)
        built(tree, directory / "out", PackRef(name, "2026.04"), level=1)
    upgrade(directory / "trees/nl-nl")
    built(directory / "trees/nl-nl", directory / "out", PackRef("nl-nl", "2026.07"), level=1)
    bucket.put_tree(directory / "out", "realtime/")
    return bucket


@pytest.fixture(scope="session")
def ready(compose: Docker, image: str) -> Docker:
    """The engine with all images, including the replacement of asr-server."""
    images.build_stand_in(compose, image)
    return compose


@pytest.fixture
def site(ready: Docker, tmp_path: Path) -> Iterator[ContainerSite]:
    """A directory like that of a customer, before anything is started."""
    site = ContainerSite(ready, tmp_path / "site")
    try:
        yield site
    finally:
        site.close()


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Report a measurement at the end of the run."""
    return lambda text: record_property("figure", text)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the measurements."""
    figures = [
        text
        for report in terminalreporter.getreports("passed")
        for name, text in report.user_properties
        if name == "figure"
    ]
    if figures:
        terminalreporter.section("measured in containers")
        for text in figures:
            terminalreporter.line(str(text))
