"""Decide whether there is anything to do, without a network, a token or an expensive import."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models_init.cli.licenses import license_content, record_license, require_licenses
from models_init.cli.result import Result, installed_content
from models_init.volume.activation import Switch
from models_init.volume.layout import Volume

if TYPE_CHECKING:
    from models_init.cli.settings import Settings


def nothing_to_do(settings: Settings) -> Result | None:
    """Return the result if the volume holds the wanted packs or was rolled back from them; None if there is work.

    Opens no socket, needs no token, and imports as little as possible. Raises `LicenseError`: the engine could not
    start with these licenses.
    """
    volume = Volume(settings.directory)
    switch, current = Switch(volume), volume.current()
    if not current:
        return None
    if current.holds(settings.packs) and switch.is_usable(current):
        switch.clear_rollback(settings.packs)
        content, text = installed_content(current), f"nothing to do: release {current} is current"
    elif refused := switch.rolled_back(settings.packs):
        content = installed_content(current) | {"rolled_back_from": refused.id}
        text = (
            f"ROLLED BACK: release {current} stays current, though the environment names {refused}; "
            f"to go forward again run --activate {refused.id}, or name other versions"
        )
    else:
        return None
    licenses = require_licenses(settings)
    warnings = filter(None, [*licenses.warnings, record_license(settings, licenses)])
    return Result(content | license_content(licenses), text, warnings=tuple(warnings))
