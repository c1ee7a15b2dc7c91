"""The manifests in deploy/kubernetes: the chart's output for some of its value sets, for clusters without helm.

python -m tests.kubernetes.examples     writes them; scripts/kubernetes-examples calls it
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.kubernetes.chart import CHART, ROOT
from tests.services.chart_tools import Helm, install_helm

if TYPE_CHECKING:
    from collections.abc import Iterator

DIRECTORY = ROOT / "deploy/kubernetes"
_NAMES = ("minimal", "job")
_HEADER = """\
# Written by scripts/kubernetes-examples: the chart realtime-asr with ci/{name}-values.yaml.
# docs/deploy-kubernetes.md describes how to use it. Change at least the versions and the names of the Secrets.
"""


def files(helm: Helm) -> Iterator[tuple[Path, str]]:
    """Yield the path of each manifest and its content."""
    for name in _NAMES:
        values = CHART / "ci" / f"{name}-values.yaml"
        output = helm.run("template", "asr", CHART, "--skip-tests", "--values", values)
        yield DIRECTORY / f"{name}.yaml", _HEADER.format(name=name) + output


def write() -> None:
    """Write the manifests."""
    DIRECTORY.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as home:
        for path, content in files(Helm(install_helm()[3], Path(home))):
            path.write_text(content)


if __name__ == "__main__":
    write()
