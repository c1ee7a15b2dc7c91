"""`INSTALL.md` of a bundle describes what the bundle contains."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from models_init.publish.bundle.contents import ContainerImage
from models_init.publish.bundle.site_files import ExtraFiles, build_site_files
from tests.site import COMMON, DUTCH

if TYPE_CHECKING:
    from pathlib import Path

    from tests.site import Packs


def _instructions(packs: Packs, tmp_path: Path, *, compose: bool, images: bool) -> str:
    file, image = tmp_path / "docker-compose.yml", tmp_path / "a.tar"
    file.write_text("services: {}\n")
    site = build_site_files(
        packs.environment,
        [COMMON, DUTCH],
        ExtraFiles([file] if compose else [], []),
        "site.tar",
        [ContainerImage("images/a.tar", "registry/a:1", image, 1, "sha256:…")] if images else [],
    )
    (text,) = (document.data.decode() for document in site.documents if document.name == "INSTALL.md")
    return text


@pytest.mark.parametrize(
    ("compose", "images", "command", "absent"),
    [
        (False, False, "install.sh --bundle site.tar --models /models", ("--dir", "--no-up", "Docker")),
        (False, True, "install.sh --bundle site.tar --no-up", ("--dir",)),
        (True, False, "install.sh --bundle site.tar --dir /opt/realtime", ("--no-up",)),
        (True, True, "install.sh --bundle site.tar --dir /opt/realtime", ("--no-up",)),
    ],
)
def test_instructions_name_only_steps_that_work(
    packs: Packs, tmp_path: Path, *, compose: bool, images: bool, command: str, absent: tuple[str, ...]
) -> None:
    text = _instructions(packs, tmp_path, compose=compose, images=images)
    assert f"\nsh {command}\n" in text
    assert [word for word in absent if word in text] == []
    assert ("registry/a:1" in text) == images
    assert f"- {DUTCH}\n" in text
    assert "$" not in text.replace("MODELS_URL=$PWD/site.tar", "")
