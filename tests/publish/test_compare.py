"""`models-pack compare`: what a site will fetch for an upgrade."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from models_init.formats.manifest import OpaqueArchive, encode
from models_init.formats.ordinary_image import ImageLayer, OrdinaryImage
from models_init.publish.cli.main import main
from models_init.publish.inspection.compare_packs import compare
from tests.manifests import digest, manifest

if TYPE_CHECKING:
    from pathlib import Path

OLD = manifest({"a": [(1000, 2000)], "b": [(3000, 4000), (5000, 6000)]})


def test_identical_content_fetches_manifest_only() -> None:
    found = compare(OLD, replace(OLD, version="2026.07"), 700)
    assert (found.bytes_fetched, found.requests, found.bytes_linked, found.files_linked) == (700, 1, OLD.size, 2)


def test_unrelated_pack_is_fetched_completely() -> None:
    """Including the bytes between chunks."""
    new = manifest({"x": [(100, 200), (300, 400)]}, gap=7, version="2026.07")
    new = replace(new, files=tuple(replace(file) for file in new.files))
    found = compare(OLD, new, 0)
    assert (found.bytes_fetched, found.bytes_new, found.requests) == (400, 600, 2)


def test_layers_of_the_old_image_are_not_fetched() -> None:
    """The digest of the tar stream decides, not that of the blob, which may be compressed again."""
    first, second = (
        OrdinaryImage(
            (ImageLayer(digest(top), 20 << 20, digest(1)), ImageLayer(digest(top + 1), 3000, digest(top))), ("/",)
        )
        for top in (10, 20)
    )
    old, new = (
        replace(OLD, files=(), archive=replace(OLD.archive, size=(20 << 20) + 3000), plain=OpaqueArchive(image=image))
        for image in (first, second)
    )
    found = compare(old, new, 700)
    assert (found.bytes_fetched, found.requests) == (700 + 3000, 2)
    unrelated = compare(OLD, new, 700)
    assert (unrelated.bytes_fetched, unrelated.requests) == (700 + (20 << 20) + 3000, 1 + 3 + 1)


def test_megabyte_takes_eight_seconds_at_one_mbit() -> None:
    found = compare(OLD, replace(OLD, version="2026.07"), 10**6)
    assert found.seconds(1) == pytest.approx(8.0)


def test_compare_prints_table_or_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
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
