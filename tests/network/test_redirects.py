"""Whoever the source sends the program to learns no secret."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote

import pytest

from tests.network.trial import run
from tests.services.faultproxy import FaultProxy
from tests.services.proxyfaults import fault

if TYPE_CHECKING:
    from pathlib import Path

    from tests.network.trial import Stock
    from tests.services.certificates import Certificates
    from tests.services.faulty import Seen


def _told(seen: list[Seen]) -> str:
    """Everything that requests say, decoded."""
    return unquote(unquote("\n".join(f"{each.path} {each.query} {each.headers}" for each in seen)))


@pytest.mark.parametrize("echo", ["", "?"], ids=["path alone", "with the query"])
async def test_another_host_gets_no_token(stock: Stock, volume: Path, echo: str) -> None:
    """A server to which every request is redirected sees none of the token, even where the redirect itself holds it."""
    token = stock.container.sas()
    async with (
        FaultProxy(stock.container.origin, sign=stock.container.sas()) as other,
        FaultProxy(stock.container.origin, fault("redirect", other.origin + echo)) as proxy,
    ):
        outcome = await run(stock, proxy, volume, MODELS_SAS_TOKEN=token)
    assert (outcome.done.code, outcome.differences) == (0, []), outcome.done.err
    assert all(seen.signed for seen in proxy.seen)
    assert len(other.seen) == len(proxy.seen) > 4
    assert parse_qs(token)["sig"][0] not in _told(other.seen)
    assert "sig=" not in _told(other.seen)


async def test_another_host_that_wants_a_token_gets_none(stock: Stock, volume: Path) -> None:
    """Where the other server refuses, that is told as its refusal (20), and the token was not told all the same."""
    async with (
        FaultProxy(stock.container.origin) as other,
        FaultProxy(stock.container.origin, fault("redirect", other.origin)) as proxy,
    ):
        outcome = await run(stock, proxy, volume)
    assert outcome.done.code == 20, outcome.done.err
    assert "which answered 403; the token goes to" in outcome.done.fault
    assert len(other.seen) > 0
    assert "sig=" not in _told(other.seen)


async def test_a_redirect_out_of_tls_is_refused(stock: Stock, volume: Path, certificates: Certificates) -> None:
    """From https to http nobody is followed: exit 20, and the other server is not asked."""
    async with (
        FaultProxy(stock.container.origin, sign=stock.container.sas()) as other,
        FaultProxy(stock.container.origin, fault("redirect", other.origin), tls=certificates.server_context()) as proxy,
    ):
        outcome = await run(stock, proxy, volume, MODELS_CA_FILE=str(certificates.authority))
    assert outcome.done.code == 20
    assert "without encryption" in outcome.done.fault
    assert other.seen == []
