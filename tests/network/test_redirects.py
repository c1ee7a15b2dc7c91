"""Targets of redirects receive no secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote

import pytest

from tests.network.trial import run
from tests.services.faultproxy import FaultProxy
from tests.services.proxyfaults import fault

if TYPE_CHECKING:
    from pathlib import Path

    from tests.network.trial import PublishedPacks
    from tests.services.certificates import Certificates
    from tests.services.faulty import Seen


def _all_text(seen: list[Seen]) -> str:
    """Return the complete decoded text of the requests."""
    return unquote(unquote("\n".join(f"{each.path} {each.query} {each.headers}" for each in seen)))


@pytest.mark.parametrize("echo", ["", "?"], ids=["path alone", "with the query"])
async def test_redirect_target_receives_no_token(published: PublishedPacks, volume: Path, echo: str) -> None:
    """A server to which all requests are redirected receives no part of the token, even if the redirect contains it."""
    token = published.container.sas()
    async with (
        FaultProxy(published.container.origin, sign=published.container.sas()) as other,
        FaultProxy(published.container.origin, fault("redirect", other.origin + echo)) as proxy,
    ):
        outcome = await run(published, proxy, volume, MODELS_SAS_TOKEN=token)
    assert (outcome.done.code, outcome.differences) == (0, []), outcome.done.err
    assert all(seen.signed for seen in proxy.seen)
    assert len(other.seen) == len(proxy.seen) > 4
    assert parse_qs(token)["sig"][0] not in _all_text(other.seen)
    assert "sig=" not in _all_text(other.seen)


async def test_redirect_target_that_requires_token_receives_none(published: PublishedPacks, volume: Path) -> None:
    """A refusal by the other server is reported as such (exit code 20), and the server did not receive the token."""
    async with (
        FaultProxy(published.container.origin) as other,
        FaultProxy(published.container.origin, fault("redirect", other.origin)) as proxy,
    ):
        outcome = await run(published, proxy, volume)
    assert outcome.done.code == 20, outcome.done.err
    assert "which answered 403: a token is sent to" in outcome.done.fault
    assert len(other.seen) > 0
    assert "sig=" not in _all_text(other.seen)


async def test_install_rejects_redirect_from_https_to_http(
    published: PublishedPacks, volume: Path, certificates: Certificates
) -> None:
    """A redirect from https to http is not followed: exit code 20, and no request to the other server."""
    async with (
        FaultProxy(published.container.origin, sign=published.container.sas()) as other,
        FaultProxy(
            published.container.origin, fault("redirect", other.origin), tls=certificates.server_context()
        ) as proxy,
    ):
        outcome = await run(published, proxy, volume, MODELS_CA_FILE=str(certificates.authority))
    assert outcome.done.code == 20
    assert "without encryption" in outcome.done.fault
    assert other.seen == []
