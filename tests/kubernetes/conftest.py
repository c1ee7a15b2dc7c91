"""Both versions of helm, and the rendered value sets of the chart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.kubernetes.chart import NAMED, VALUE_SETS
from tests.services.chart_tools import Helm, install_helm

if TYPE_CHECKING:
    from pathlib import Path

VERSIONS = (3, 4)


@pytest.fixture(scope="session")
def helms(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Helm]:
    """Return helm 3 and helm 4, without a cluster."""
    home = tmp_path_factory.mktemp("helm")
    return {major: Helm(program, home) for major, program in install_helm().items()}


@pytest.fixture(scope="session", params=VERSIONS, ids=[f"helm{major}" for major in VERSIONS])
def helm(request: pytest.FixtureRequest, helms: dict[int, Helm]) -> Helm:
    """Run the test with helm 3 and with helm 4."""
    return helms[request.param]


@pytest.fixture(scope="session")
def rendered(helms: dict[int, Helm], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Render each value set with helm 3; return the files by the name of the value set."""
    directory = tmp_path_factory.mktemp("rendered")
    files = {values.stem: directory / values.name for values in VALUE_SETS}
    for values in VALUE_SETS:
        files[values.stem].write_text(helms[3].run("template", *NAMED, "--values", values))
    return files
