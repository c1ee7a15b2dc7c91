"""`--render-overlay`: print a compose overlay with one engine for each language."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models_init.cli.compose_overlay import languages, overlay
from models_init.cli.result import Result

if TYPE_CHECKING:
    from models_init.cli.arguments import Command
    from models_init.cli.settings import Settings


def run(_command: Command, settings: Settings) -> Result:
    """Print the compose overlay for the languages that the environment names."""
    named = languages(settings.packs)
    text = overlay(named)
    return Result({"languages": named, "overlay": text}, text.removesuffix("\n"), is_document=True)
