"""Fixtures for all tests (real services, sample packs), and the rule that CI skips nothing."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, TypeVar

import hypothesis
import pytest

from tests import services
from tests.canary import Canary

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from tests.services.azurite import Azurite
    from tests.services.certificates import Certificates
    from tests.site import Packs, Site

_Report = TypeVar("_Report", pytest.TestReport, pytest.CollectReport)

hypothesis.settings.register_profile("models", deadline=None, derandomize=services.IN_CI)  # speed is never asserted
hypothesis.settings.load_profile("models")


def pytest_configure(config: pytest.Config) -> None:
    """Search everything that the suite prints, logs and writes for tokens."""
    config.pluginmanager.register(Canary(config), "canary")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skipped test into a failed one in CI."""
    return _never_skipped_in_ci((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Turn a skipped module into a failed one in CI."""
    return _never_skipped_in_ci((yield))


def _never_skipped_in_ci(report: _Report) -> _Report:
    if services.IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"CI must not skip: {report.longrepr}"
    return report


@pytest.fixture(autouse=True)
def _seeded(request: pytest.FixtureRequest) -> None:
    """Give each test its own seed, so that code with random waits does the same in every run."""
    random.seed(request.node.nodeid)


@pytest.fixture(scope="session")
def azurite() -> Iterator[Azurite]:
    """Run Azurite with an empty container; a test that writes uses `azurite.fresh_container()`."""
    yield from _served(None)


@pytest.fixture(scope="session")
def azurite_tls(certificates: Certificates) -> Iterator[Azurite]:
    """Run Azurite with TLS, with a certificate of the fixture `certificates`."""
    yield from _served(certificates)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Create a CA for this run, with a certificate for 127.0.0.1 and localhost."""
    from tests.services.certificates import issue  # noqa: PLC0415  # imports cryptography, which only TLS needs

    return issue(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def packs(tmp_path_factory: pytest.TempPathFactory) -> Packs:
    """Build small packs in a directory, once per session; tests must not change them."""
    from tests.site import build_samples  # noqa: PLC0415  # imports the builder, which only packs need

    return build_samples(tmp_path_factory.mktemp("packs"))


@pytest.fixture(scope="session")
def container(azurite: Azurite, packs: Packs) -> Azurite:
    """Publish the packs in a container below the default prefix; tests must not change it."""
    from tests.site import stocked  # noqa: PLC0415  # see above

    return stocked(azurite, packs)


@pytest.fixture
def site(tmp_path: Path, packs: Packs) -> Site:
    """Return a site with an empty volume and an environment that names two packs in the directory."""
    from tests.site import Site  # noqa: PLC0415  # see above

    return Site(tmp_path / "models", packs.environment)


def _served(certificates: Certificates | None) -> Iterator[Azurite]:
    from tests.services.azurite import install, serve  # noqa: PLC0415  # imports the SDK, which only Azurite needs

    node, npm = services.require_tool("node"), services.require_tool("npm")
    with serve(install(npm), certificates=certificates, node=node) as azurite:
        yield azurite
