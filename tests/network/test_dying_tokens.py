"""A real token that expires during an install: the run continues with a new token, otherwise the next run does."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.network.expiring_tokens import CONNECTIONS, IN_FLIGHT, Dying
from tests.samples import MIB
from tests.services.faultproxy import FaultProxy

if TYPE_CHECKING:
    from pathlib import Path

    from tests.network.trial import PublishedPacks


def _dying(large: PublishedPacks) -> Dying:
    """Fetch for at least 12 s with a token that is valid for 8 s; a busy machine needs 2 to 3 s for the start."""
    return Dying(large, rate=large.archives / CONNECTIONS / 12, seconds=8)


async def test_install_continues_with_renewed_token(large: PublishedPacks, volume: Path, tmp_path: Path) -> None:
    """A new token three seconds after the refusal: one run, exit code 0, complete trees.

    Only data in flight is fetched twice. A single log line reports the refused token and the wait for a new one.
    """
    outcome = await _dying(large).renewed(volume, tmp_path / "token", after=3)
    assert (outcome.done.code, outcome.differences) == (0, []), outcome.done.err
    assert outcome.carried <= large.archives + CONNECTIONS * IN_FLIGHT
    assert outcome.done.err.count("token_refused") == 1


async def test_install_with_expired_token_keeps_verified_bytes(
    large: PublishedPacks, volume: Path, tmp_path: Path
) -> None:
    """The run ends with exit code 22 and reports when the token expired; the next one fetches the rest."""
    dying = _dying(large)
    first = await dying.not_renewed(volume, tmp_path / "token")
    assert first.done.code == 22, first.done.err
    assert re.search(r"expired at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", first.done.fault)
    assert first.carried > 8 * MIB
    async with FaultProxy(large.container.origin) as proxy:
        second = await dying.run(proxy, volume, MODELS_SAS_TOKEN=large.container.sas())
    assert (second.done.code, second.differences) == (0, []), second.done.err
    assert first.carried + second.carried <= large.archives + CONNECTIONS * IN_FLIGHT
