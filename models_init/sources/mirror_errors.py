"""Describe the errors of mirrors: their remedies name the settings of the origin, which mirrors do not share."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models_init.core.errors import ModelsInitError

_REPLACED = {
    "MODELS_URL": "MODELS_MIRRORS",
    "set MODELS_REGISTRY_USERNAME and MODELS_REGISTRY_PASSWORD or MODELS_REGISTRY_PASSWORD_FILE": (
        "add the registry to a credential file"
    ),
}


def mirror_error_text(error: ModelsInitError) -> str:
    """Return the text of a mirror's error with remedies that apply to mirrors."""
    text = str(error)
    for old, new in _REPLACED.items():
        text = text.replace(old, new)
    return text
