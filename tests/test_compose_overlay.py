"""The overlay for several languages; tests/container has it judged by compose and nginx."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from models_init.cli.compose_overlay import languages, overlay
from models_init.cli.main import main
from models_init.core.pack_ref import PackRef

if TYPE_CHECKING:
    import pytest

_ENVIRONMENT = {"REALTIME_LANGUAGE_VERSION": "2026.04", "REALTIME_COMMON_VERSION": "2026.04"}


def test_only_languages_have_an_engine() -> None:
    """The pack common and whisper variants belong to all engines."""
    packs = [PackRef(name, "1") for name in ("common", "en-us", "nl-nl", "whisper-large-v3-turbo")]
    assert languages(packs) == ["en-us", "nl-nl"]


def test_it_depends_on_the_languages_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """Order, versions, whisper, other settings change nothing; another language does."""
    texts = []
    for named, more in (
        ("nl-nl,en-us", {}),
        ("en-us@2026.07, nl-nl", {"WHISPER_VARIANT": "large-v3-turbo", "MODELS_SAS_TOKEN": "sig=secret", "X": "Y"}),
        ("en-us", {}),
    ):
        assert main(["--render-overlay"], {**_ENVIRONMENT, "REALTIME_LANGUAGES": named, **more}) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] == overlay(["en-us", "nl-nl"])
    assert texts[2] != texts[0]


def test_a_changed_configuration_changes_the_service() -> None:
    """Compose makes a container anew when its service changes, and does not look into configurations."""
    gateways = {
        text[text.index("labels:") : text.index("environment: !reset")] for text in map(overlay, (["de"], ["nl"]))
    }
    assert len(gateways) == 2


def test_programs_can_read_it(capsys: pytest.CaptureFixture[str]) -> None:
    """With --json, the languages and the overlay are one object."""
    assert main(["--render-overlay", "--json"], {**_ENVIRONMENT, "REALTIME_LANGUAGE": "nl-nl"}) == 0
    assert json.loads(capsys.readouterr().out) == {"languages": ["nl-nl"], "overlay": overlay(["nl-nl"])}
