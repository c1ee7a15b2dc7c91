"""Properties of a SAS token that can be read from its text."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest

from models_init.sources.azure.sas import SasToken
from tests.tokens import CANARY, leaks, token

_NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        *("{}", "?{}", " {} ", "{}\n", "'{}'", '"{}"', "&{}", "?{}\r\n", "'?{}'", '\n "?{}" \n', "\ufeff{}", "“{}”"),
        "https://acc.blob.core.windows.net/models?{}",
        "https://acc.blob.core.windows.net/models?restype=container&comp=list&{}",
        "acc.blob.core.windows.net/models?{}",
        "BlobEndpoint=https://acc.blob.core.windows.net/;SharedAccessSignature={}",
        "BlobEndpoint=https://a.example/;SharedAccessSignature={};QueueEndpoint=https://b.example/",
        "MODELS_SAS_TOKEN={}",
        'export MODELS_SAS_TOKEN="{}"',
        'MODELS_SAS_TOKEN: "{}"',
        "$env:MODELS_SAS_TOKEN = '{}'",
        "  - MODELS_SAS_TOKEN=?{}",
        "MODELS_SAS_TOKEN=https://acc.blob.core.windows.net/models?{}",
    ],
)
def test_token_is_accepted_as_people_paste_it(text: str) -> None:
    """A token is found in a URL, a connection string, or an assignment, with quotes, spaces and question marks."""
    assert SasToken.make(text.format(token())).query == token()
    assert SasToken.make(token()).flaw() == ""


@pytest.mark.parametrize("ampersand", ["&amp;", "\\&", "^&", "\\u0026", "&AMP;"])
def test_escaped_ampersands_are_decoded(ampersand: str) -> None:
    """A token that was escaped for XML, a shell, cmd.exe or JSON is the same token."""
    assert SasToken.make(token().replace("&", ampersand)).query == token()


def test_percent_encoded_token_is_decoded() -> None:
    """A token that is percent-encoded as a whole is the same token."""
    assert SasToken.make(quote(token(), safe="")).query == token()


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (f"AccountName=a;AccountKey={base64.b64encode(bytes(64)).decode()}", "a connection string with the account's"),
        (base64.b64encode(bytes(range(64))).decode(), "an account key"),
        ("https://acc.blob.core.windows.net/models", "a URL without a token"),
        ("eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", "a bearer token (JWT)"),
        ("/run/secrets/models-sas-token", "the path of a file: set MODELS_SAS_TOKEN_FILE"),
        ("./config/models-sas-token", "the path of a file"),
        ("C:\\keys\\token.txt", "the path of a file"),
        ("sv=…&sig=…", "a placeholder"),
        ("sv=...&sig=...", "a placeholder"),
        ("${MODELS_SAS_TOKEN}", "a placeholder"),
        ("<token>", "a placeholder"),
        ("{{ sas_token }}", "a placeholder"),
        ("-----BEGIN CERTIFICATE-----", "a key or a certificate"),
        ("<!DOCTYPE html><html>", "a web page"),
    ],
)
def test_other_texts_are_recognized(text: str, kind: str) -> None:
    """A text that is not a token is described by its kind, without showing it."""
    flaw = SasToken.make(text).flaw()
    assert flaw.startswith(f"is {kind}")
    assert text not in flaw


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
def test_usable_token_has_no_flaw(good: str) -> None:
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
        pytest.param(token().replace("&sp", "\n&sp"), "a space, a line break", id="a line break inside"),
        pytest.param(token().replace("&sp", "& sp"), "a space, a line break", id="a space inside"),
        pytest.param(token().replace("sr=c", "sr=ç"), "outside ASCII", id="not ASCII outside the signature"),
        pytest.param(f"amp;{token()}", "a field 'amp;sv' that no SAS token has", id="wrong name"),
        pytest.param(f"{token()}&{CANARY}=", "a field that no SAS token has", id="name that may be secret"),
        pytest.param(f"{token()}&{token()}", "has the field sv twice", id="two tokens"),
    ],
)
def test_unusable_token_is_described(bad: str, words: str) -> None:
    """Flaws that do not depend on the time are described without the token's signature."""
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
def test_lifetime_is_compared_with_the_given_time(fields: dict[str, str], words: str) -> None:
    """A token is valid from its start until before its expiry; unreadable dates are not reported."""
    assert SasToken.make(token(**fields)).time_flaw(_NOON) == words


def test_dates_are_parsed() -> None:
    """`starts` and `expires` are times with a time zone, or None."""
    both = SasToken.make(token(st="2026-11-22T12:00:00Z", se="2026-11-23T12:00:00Z"))
    assert both.starts == _NOON
    assert both.expires == _NOON + timedelta(days=1)
    assert SasToken.make(token(se="")).expires is None


def test_repr_does_not_show_the_token() -> None:
    """Neither `repr` nor `str` of a token shows it."""
    sas = SasToken.make(token())
    assert CANARY in sas.field("sig")
    assert not leaks(f"{sas!r} {sas} {[sas]}")
