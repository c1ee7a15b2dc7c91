"""The manifests in deploy/kubernetes are the chart's output."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.kubernetes import examples

if TYPE_CHECKING:
    from tests.services.chart_tools import Helm


def test_each_manifest_is_the_output_of_the_chart(helm: Helm) -> None:
    expected = dict(examples.files(helm))
    found = {path: path.read_text() for path in examples.DIRECTORY.iterdir()}
    assert found == expected, "the chart has changed: run scripts/kubernetes-examples"
