"""Delay an install by this site's part of MODELS_START_SPREAD, so that sites do not download at the same moment."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from models_init.cli.factory import require_usable_token
from models_init.install.start_delay import start_delay
from models_init.sources.open_source import is_remote
from models_init.volume.copied_links import require_replaceable
from models_init.volume.layout import Volume
from models_init.volume.site_id import site_id

if TYPE_CHECKING:
    from models_init.cli.settings import Settings
    from models_init.core.events import Observer


async def wait_for_start(settings: Settings, observer: Observer) -> None:
    """Report the delay and wait, unless every pack is installed or all sources are local.

    Raises the errors of the volume and of the token that are known without a network, before the wait.
    """
    volume = Volume(settings.directory)
    is_local = not any(map(is_remote, (settings.url, *settings.mirrors)))
    if not settings.start_spread or is_local or all(map(volume.is_installed, settings.packs)):
        return
    require_usable_token(settings)
    volume.prepare()
    require_replaceable(volume)
    delay = start_delay(site_id(volume), settings.start_spread)
    until = datetime.now(UTC) + timedelta(seconds=delay)
    observer.event("start_delayed", wait_seconds=round(delay, 1), until=until.isoformat(timespec="seconds"))
    await asyncio.sleep(delay)
