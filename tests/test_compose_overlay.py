"""The overlay for several languages; tests/container validate it with compose and nginx."""

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
    """The pack `common` and whisper variants are shared by all engines."""
    packs = [PackRef(name, "1") for name in ("common", "en-us", "nl-nl", "whisper-large-v3-turbo")]
    assert languages(packs) == ["en-us", "nl-nl"]


def test_overlay_depends_on_the_languages_only(capsys: pytest.CaptureFixture[str]) -> None:
    """Order, versions, whisper variant and other settings do not change it."""
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


def test_changed_configuration_changes_the_service() -> None:
    """Compose recreates a container when its service changes, and does not compare configurations."""
    gateways = {
        text[text.index("labels:") : text.index("environment: !reset")] for text in map(overlay, (["de"], ["nl"]))
    }
    assert len(gateways) == 2


def test_json_result_has_languages_and_overlay(capsys: pytest.CaptureFixture[str]) -> None:
    """The result is one object with both."""
    assert main(["--render-overlay", "--json"], {**_ENVIRONMENT, "REALTIME_LANGUAGE": "nl-nl"}) == 0
    assert json.loads(capsys.readouterr().out) == {"languages": ["nl-nl"], "overlay": overlay(["nl-nl"])}
