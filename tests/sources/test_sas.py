"""Properties of a SAS token that can be read from its text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from models_init.sources.sas import SasToken
from tests.tokens import CANARY, leaks, token

_NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    "text", ["{}", "?{}", " {} ", "{}\n", "'{}'", '"{}"', "&{}", "?{}\r\n", "'?{}'", '\n "?{}" \n']
)
def test_a_token_is_taken_as_people_paste_it(text: str) -> None:
    """Spaces, line ends, quotes and a question mark around a token are removed."""
    assert SasToken.make(text.format(token())).query == token()


@pytest.mark.parametrize(
    "good",
    [
        token(),
        token(sp=""),
        token(sr="", ss="bf", srt="sco"),
        token(sr="", ss="b", srt="o", sp="racwdl"),
        token(si="policy", sp="", se=""),
        token(sr="d", sdd="1"),
        token(sp="r"),
        token().replace("%2B", "+").replace("%2F", "/").replace("%3D", "="),
    ],
)
def test_a_usable_token_has_no_flaw(good: str) -> None:
    """Container and account tokens are accepted with and without permissions and dates, in any encoding."""
    assert SasToken.make(good).flaw() == ""


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        pytest.param("", "is empty", id="empty"),
        pytest.param(" ?\n", "is empty", id="nothing but a question mark"),
        pytest.param("Hello", "no signature", id="something else"),
        pytest.param(token(sig=""), "no signature (field sig): it", id="no sig"),
        pytest.param(token()[:-1], "broken signature", id="cut by one"),
        pytest.param(token()[:-20], "broken signature", id="cut"),
        pytest.param(token(sig="!" * 44), "broken signature", id="not base64"),
        pytest.param(token(sig="QUJD"), "broken signature", id="short"),
        pytest.param(token(sig="sîg"), "broken signature", id="not ASCII"),
        pytest.param(token(sp="l"), "permission to read (sp=l)", id="list only"),
        pytest.param(token(sp="wd"), "permission to read (sp=wd)", id="write only"),
        pytest.param(token(sr="b"), "for one blob", id="blob"),
        pytest.param(token(sr="bs"), "for one blob", id="snapshot"),
        pytest.param(token(sr="", ss="qf", srt="sco"), "not for the blob service (ss=qf)", id="queues and files"),
        pytest.param(token(sr="", ss="b", srt="sc"), "not for objects (srt=sc)", id="containers only"),
        pytest.param(token().replace("&sp", "\n&sp"), "space or line break", id="a line break inside"),
        pytest.param(token().replace("&sp", "& sp"), "space or line break", id="a space inside"),
        pytest.param(token().replace("sr=c", "sr=ç"), "space or line break", id="not ASCII outside the signature"),
    ],
)
def test_a_flaw_is_named(bad: str, words: str) -> None:
    """Flaws that do not depend on the time are described without the token's secret."""
    flaw = SasToken.make(bad).flaw()
    assert words in flaw
    assert not leaks(flaw)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"se": "2026-11-22T11:59:59Z"}, "expired at 2026-11-22 11:59:59 UTC"),
        ({"se": "2026-11-22T12:00:00Z"}, "expired at 2026-11-22 12:00:00 UTC"),
        ({"se": "2026-11-22T12:00:01Z"}, ""),
        ({"se": "2026-11-22"}, "expired at 2026-11-22 00:00:00 UTC"),
        ({"se": "2026-11-22T11:00Z"}, "expired at 2026-11-22 11:00:00 UTC"),
        ({"se": "2026-11-22T11:00:00.0000000Z"}, "expired at 2026-11-22 11:00:00 UTC"),
        ({"se": "2026-11-22T12:30:00+01:00"}, "expired at 2026-11-22 11:30:00 UTC"),
        ({"st": "2026-11-22T12:00:01Z"}, "is not valid before 2026-11-22 12:00:01 UTC"),
        ({"st": "2026-11-22T12:00:00Z"}, ""),
        ({"se": "soon", "st": "later"}, ""),
        ({"se": ""}, ""),
    ],
)
def test_its_life_is_judged_by_a_given_clock(fields: dict[str, str], words: str) -> None:
    """A token is valid from its start until before its expiry; unreadable dates are not reported."""
    assert SasToken.make(token(**fields)).time_flaw(_NOON) == words


def test_its_dates_can_be_asked_for() -> None:
    """`starts` and `expires` are times with a time zone, or None."""
    both = SasToken.make(token(st="2026-11-22T12:00:00Z", se="2026-11-23T12:00:00Z"))
    assert both.starts == _NOON
    assert both.expires == _NOON + timedelta(days=1)
    assert SasToken.make(token(se="")).expires is None


def test_it_has_no_repr() -> None:
    """Neither `repr` nor `str` of a token shows it."""
    sas = SasToken.make(token())
    assert CANARY in sas.field("sig")
    assert not leaks(f"{sas!r} {sas} {[sas]}")
