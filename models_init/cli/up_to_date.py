"""Decide whether there is anything to do, without a network, a token or an expensive import."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from models_init.cli.licenses import license_content, record_license, require_licenses
from models_init.cli.result import Result, installed_content, unchanged_content
from models_init.core.errors import VolumeError
from models_init.volume.activation import Switch
from models_init.volume.layout import Volume
from models_init.volume.lease import leased_packs

if TYPE_CHECKING:
    from models_init.cli.settings import Settings
    from models_init.formats.release import Release


def nothing_to_do(settings: Settings) -> Result | None:
    """Return the result if the wanted packs are current or were rolled back; None if an install is needed.

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


def nothing_to_stage(settings: Settings) -> Result | None:
    """Return the result if the wanted packs are installed; None if an install is needed.

    Opens no socket and needs no token. The history records that the set was staged again, so that a prune keeps it. A
    read-only volume records neither this nor a release.
    """
    volume = Volume(settings.directory)
    with suppress(VolumeError), leased_packs(volume, settings.packs):
        release = next((release for release in volume.releases() if release.holds(settings.packs)), None)
        if release or not os.access(volume.root, os.W_OK, effective_ids=True):
            return _staged_before(settings, release)
    return None


def _staged_before(settings: Settings, release: Release | None) -> Result:
    volume, packs = Volume(settings.directory), settings.packs
    if release:
        Switch(volume).note_staged(release)
    licenses = require_licenses(settings)
    content = unchanged_content(release.id if release else None, {ref.name: ref.version for ref in packs})
    text = f"nothing to do: {', '.join(map(str, packs))} are installed on {volume.root}"
    return Result(content | license_content(licenses), text, warnings=tuple(licenses.warnings))
