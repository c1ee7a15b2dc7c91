"""The release engineer learns beforehand what a site will fetch."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from models_init.formats.manifest import encode
from models_init.publish.cli.main import main
from models_init.publish.inspection.compare_packs import compare
from tests.manifests import manifest

if TYPE_CHECKING:
    from pathlib import Path

OLD = manifest({"a": [(1000, 2000)], "b": [(3000, 4000), (5000, 6000)]})


def test_the_same_version_costs_its_manifest() -> None:
    """Where nothing changed, everything is linked, and the manifest alone is fetched."""
    found = compare(OLD, replace(OLD, version="2026.07"), 700)
    assert (found.bytes_fetched, found.requests, found.bytes_linked, found.files_linked) == (700, 1, OLD.size, 2)


def test_another_pack_costs_all_of_it() -> None:
    """Where nothing is shared, all chunks are fetched, with what lies between them in the archive."""
    new = manifest({"x": [(100, 200), (300, 400)]}, gap=7, version="2026.07")
    new = replace(new, files=tuple(replace(file) for file in new.files))
    found = compare(OLD, new, 0)
    assert (found.bytes_fetched, found.bytes_new, found.requests) == (400, 600, 2)


def test_a_line_of_a_megabit_takes_eight_seconds_for_a_megabyte() -> None:
    """Seconds are bits over rate."""
    found = compare(OLD, replace(OLD, version="2026.07"), 10**6)
    assert found.seconds(1) == pytest.approx(8.0)


def test_the_command_tells_it_as_a_table_and_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`models-pack compare OLD NEW` reads both manifests and names the lines of 50, 200 and 1000 Mbit/s."""
    directories = []
    for version in ("2026.04", "2026.07"):
        directory = tmp_path / "nl-nl" / version
        directory.mkdir(parents=True)
        (directory / "manifest.json").write_bytes(encode(replace(OLD, version=version)))
        directories.append(str(directory))

    assert main(["compare", *directories]) == 0
    shown = capsys.readouterr().out
    assert main(["compare", *directories, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)

    assert "from nl-nl 2026.04 to nl-nl 2026.07" in shown
    assert "1000 Mbit/s" in shown
    assert facts["bytes_linked"] == OLD.size
    assert set(facts["seconds"]) == {"50", "200", "1000"}
