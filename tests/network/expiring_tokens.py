"""Install with a real token that expires during the run; the service enforces the expiry.

This module does not need pytest, because `scripts/measure-faults` uses it too.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models_init.transfer.ranges import BATCH_SIZE
from tests.eventually import eventually
from tests.network.trial import run
from tests.services.faultproxy import FaultProxy
from tests.services.proxyfaults import fault

if TYPE_CHECKING:
    from pathlib import Path

    from tests.network.trial import PublishedPacks, TrialResult

CONNECTIONS = 4
IN_FLIGHT = 2 * BATCH_SIZE
"""Bytes that a connection may lose: an incomplete batch, and data in the kernel's buffers."""


@dataclass(frozen=True)
class Dying:
    """An install at `rate` bytes per second on each of `CONNECTIONS`, with a token valid for `seconds` seconds.

    At that rate, the install takes longer than the token is valid.
    """

    published: PublishedPacks
    rate: float
    seconds: float

    async def renewed(self, volume: Path, token_file: Path, after: float) -> TrialResult:
        """Run once; `after` seconds after the first refusal, write a new token to the file."""
        async with self._proxy() as proxy:
            self._write(token_file, self.seconds)
            running = asyncio.create_task(self.run(proxy, volume, MODELS_SAS_TOKEN_FILE=str(token_file)))
            await eventually(lambda: any(seen.status == 403 for seen in proxy.seen), "the token's end")
            await asyncio.sleep(after)  # the operator's reaction time, which is under test
            self._write(token_file, 3600)
            return await running

    async def not_renewed(self, volume: Path, token_file: Path) -> TrialResult:
        """Run once without a new token; the program waits one second for it."""
        async with self._proxy() as proxy:
            self._write(token_file, self.seconds)
            patience = {"MODELS_SAS_TOKEN_FILE": str(token_file), "MODELS_TOKEN_SECONDS": "1"}
            return await self.run(proxy, volume, **patience)

    async def run(self, proxy: FaultProxy, volume: Path, **token: str) -> TrialResult:
        """Run once with this token."""
        usual = {"MODELS_SAS_TOKEN": "", "MODELS_CONNECTIONS": str(CONNECTIONS), "MODELS_IDLE_SECONDS": "10"}
        return await run(self.published, proxy, volume, **{**usual, **token})

    def _proxy(self) -> FaultProxy:
        return FaultProxy(self.published.container.origin, fault("rate", str(self.rate)))

    def _write(self, token_file: Path, seconds: float) -> None:
        aside = token_file.with_name("token.new")
        aside.write_text(self.published.container.sas(expires_in=seconds))
        os.replace(aside, token_file)
