"""Find environment variables whose names are similar to those of settings."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

from models_init.cli.settings import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_SIMILAR = 0.85
"""Smallest ratio of `difflib` that counts as a misspelling: one or two wrong characters in 12 or more."""

_FAMILY = re.compile(r"(?:MODEL|REALTIME|WHISPER)")
_OTHERS = {"MODELS_INIT_TAG", "MODELS_KEY_PASSWORD", "REALTIME_LICENSE_FILE", "REALTIME_REGISTRY", "REALTIME_IMAGE_TAG"}
"""Variables of the compose files and of `models-pack`, which an env file may also contain."""


def misspelled_variables(environment: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield each variable that is probably misspelled, with the setting that is probably meant."""
    known = [setting.variable for setting in SETTINGS]
    for variable in environment:
        if _FAMILY.match(variable) and variable not in known and variable not in _OTHERS:
            for setting in difflib.get_close_matches(variable, known, n=1, cutoff=_SIMILAR):
                yield variable, setting


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean WORD?` for the most similar known word, or an empty string."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.7)
    return f"; did you mean {found[0]}?" if found else ""
