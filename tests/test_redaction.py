"""Redaction: secrets are replaced, and ordinary text does not change."""

from __future__ import annotations

import html
import json
import time
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus, unquote

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from models_init.core.redaction import MARK, SHORTEST, Secrets, redact

if TYPE_CHECKING:
    from collections.abc import Callable

TOKEN = "sv=2024-11-04&sr=c&se=2026-12-01T00%3A00%3A00Z&sp=rl&sig=aB%2Fc%2BdEf12345ghIJ%3D"  # made up
SIGNATURE = "aB/c+dEf12345ghIJ="

PRINTABLE = st.characters(min_codepoint=0x20, max_codepoint=0x24F, exclude_categories=("Cc", "Cf", "Zs"))
SECRETS = st.text(PRINTABLE, min_size=SHORTEST, max_size=40).filter(
    lambda text: len(unquote(unquote(unquote(text))).strip("'\"?& ")) >= SHORTEST and text == text.strip("'\"?& ")
)
NAMES = ("sig=", "signature=", "token", "password", "Authorization", "cookie: ", "Bearer ", "SIG", "abcdefghijklmnopqr")
SIGNS = (
    "%3D",
    "%26",
    "%253D",
    "://",
    "\\u003d",
    "\\u0026",
    "\\n",
    "26",
    "b'",
    "&#x2f;",
    "\u2028",
    *"nué?&=:,}]{[()'\"\\ \n\t@/<>",
)
SUSPECT = st.lists(st.sampled_from(NAMES + SIGNS), max_size=14).map("".join)


@pytest.fixture
def secrets() -> Secrets:
    found = Secrets()
    found.add(f"?{TOKEN}\n")
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("GET https://host/c/b?sv=1&sig=ab%2Fc&se=2 failed", f"GET https://host/c/b?{MARK} failed"),
        ("sv=1&sig=ab%2Fc%3D&se=2026", f"sv=1&sig={MARK}&se=2026"),
        ("sv%3D1%26sig%3Dab%252Fc%26se%3D2026", f"sv%3D1%26sig%3D{MARK}%26se%3D2026"),
        ("SV=1&SIG=AB&SE=2", f"SV=1&SIG={MARK}&SE=2"),
        ("Signature=abc, token=def", f"Signature={MARK} token={MARK}"),
        (r'{"url": "https:\/\/h\/c?sv=1\u0026sig=a\/b\u003d"}', rf'{{"url": "https:\/\/h\/c?{MARK}"}}'),
        (r'"two lines\nsig=abc\nthree"', rf'"two lines\nsig={MARK}\nthree"'),
        ('{"sig": "abc", "n": 1}', f'{{"sig": "{MARK}", "n": 1}}'),
        (r'"{\"sas_token\": \"abc\"}"', rf'"{{\"sas_token\": \"{MARK}\"}}"'),
        ("[('sv', '1'), ('sig', 'ab/c=')]", f"[('sv', '1'), ('sig', '{MARK}')]"),
        ('sig="two words" rest', f'sig="{MARK}" rest'),
        ("<Uri>h?a=1&amp;sig=ab&#x2F;c&amp;b=2</Uri>", f"<Uri>h?{MARK}</Uri>"),
        ("Authorization: Bearer abc.def\nHost: h", f"Authorization: {MARK}\nHost: h"),
        (r"b'x\r\nAuthorization: Basic YTpi\r\nHost: h'", rf"b'x\r\nAuthorization: {MARK}\r\nHost: h'"),
        ("{'Authorization': 'SharedKey a:b='}", f"{{'Authorization': '{MARK}'}}"),
        ("sent Bearer eyJhbGciOiJIUzI1NiJ9.e30", f"sent Bearer {MARK}"),
        ("proxy http://user:pass@proxy:3128/ refused", f"proxy http://{MARK}@proxy:3128/ refused"),
        ("MODELS_SAS_TOKEN=sv=1 x", f"MODELS_SAS_TOKEN={MARK} x"),
        ("DefaultEndpointsProtocol=https;AccountKey=abc==", f"DefaultEndpointsProtocol=https;AccountKey={MARK}"),
    ],
)
def test_value_named_like_a_credential_is_replaced(text: str, expected: str) -> None:
    """The text around it does not change."""
    assert redact(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "Make sure the value of the Authorization header is formed correctly including the signature.",
        "MODELS_SAS_TOKEN is not set; put the SAS token there, or its file's path into MODELS_SAS_TOKEN_FILE",
        "set MODELS_SAS_TOKEN=<token>",
        "MODELS_SAS_TOKEN_FILE=/run/secrets/sas",
        'WWW-Authenticate: Bearer realm="https://auth.example/token",service="registry"',
        "https://host/models/realtime/nl-nl/2026.04/pack.tar.zst?comp=list&restype=container",
        "nl-nl/2026.04/manifest.json.minisig: the signature is that of another key",
        "  3%|▎  | 1.2GiB/4.0GiB [00:10<00:27, 105.2MiB/s]",
    ],
)
def test_ordinary_text_is_not_changed(text: str) -> None:
    """The texts include messages of this program and of the services that it uses."""
    assert redact(text) == text


@given(st.text(st.characters(exclude_characters="=@:%\\'\""), max_size=200))
@settings(deadline=None)
def test_text_without_assignments_is_not_changed(text: str) -> None:
    """Words like `token` are not secrets."""
    assume("bearer" not in text.lower())
    assert Secrets().redact(text) == text


WAYS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "percent-encoded": lambda text: quote(text, safe=""),
    "percent-encoded in lower case": lambda text: quote(text, safe="").replace("%2F", "%2f").replace("%3D", "%3d"),
    "percent-encoded twice": lambda text: quote(quote(text, safe=""), safe=""),
    "percent-encoded for a form": quote_plus,
    "percent-encoded to the last letter": lambda text: "".join(f"%{byte:02X}" for byte in text.encode()),
    "percent-encoded to the last letter, within JSON within JSON": lambda text: json.dumps(
        json.dumps("".join(f"%25{byte:02x}" for byte in text.encode()))
    ),
    "decoded": unquote,
    "JSON": json.dumps,
    "JSON within JSON": lambda text: json.dumps(json.dumps(text)),
    "JSON in Unicode": lambda text: json.dumps({"a": [text]}, ensure_ascii=False),
    "JSON of Go": lambda text: json.dumps(text).replace("&", r"\u0026").replace("=", r"\u003d").replace("/", r"\/"),
    "repr": repr,
    "HTML": html.escape,
}


@pytest.mark.parametrize("way", WAYS)
@given(secret=SECRETS, before=st.text(max_size=20), after=st.text(max_size=20))
@settings(deadline=None)
def test_registered_secret_is_replaced_in_any_spelling(way: str, secret: str, before: str, after: str) -> None:
    """The secret is found in any encoding, and next to any other text."""
    assume(secret not in MARK and unquote(secret) not in before + MARK + after)
    found = Secrets()
    found.add(secret)
    text = found.redact(f"{before}{WAYS[way](secret)}{after}")
    assert MARK in text
    for written in WAYS.values():
        assert written(secret) not in text


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("secret", [TOKEN, SIGNATURE, quote(SIGNATURE, safe=""), unquote(TOKEN)])
def test_signature_of_a_registered_token_is_replaced(secrets: Secrets, secret: str, way: str) -> None:
    """It is sufficient to register the token; its signature is replaced in encoded and decoded form."""
    text = secrets.redact(f"before,{WAYS[way](secret)},after")
    assert MARK in text
    assert text.startswith("before,")
    assert text.endswith(",after")
    assert "dEf12345ghIJ" not in text


def test_signature_in_a_registered_url_is_replaced() -> None:
    """It is sufficient to register the whole URL."""
    found = Secrets()
    found.add(f"https://account.example/models?{TOKEN}")
    assert found.redact(f"<{SIGNATURE}>") == f"<{MARK}>"


def test_quotes_around_a_registered_token_are_ignored() -> None:
    """The token is found without its quotes."""
    found = Secrets()
    found.add("'?not-a-sas-but-secret'")
    assert found.redact("x not-a-sas-but-secret x") == f"x {MARK} x"


def test_later_secrets_are_added_to_earlier_ones(secrets: Secrets) -> None:
    """After a renewal, both tokens are replaced."""
    secrets.add(TOKEN.replace("aB", "xY"))
    assert secrets.redact(f"{SIGNATURE} and {SIGNATURE.replace('aB', 'xY')}") == f"{MARK} and {MARK}"


@pytest.mark.parametrize("short", ["", "?", "  ", "sv=1", "%41%42%43"])
def test_short_secret_is_ignored(short: str) -> None:
    """Otherwise parts of ordinary words would be replaced."""
    found = Secrets()
    found.add(short)
    assert found.redact("ABC sv=1 ? nothing") == "ABC sv=1 ? nothing"


@given(SUSPECT)
@settings(deadline=None)
def test_redaction_is_idempotent(text: str) -> None:
    """Text may be redacted repeatedly."""
    assert redact(redact(text)) == redact(text)


@given(
    st.recursive(SUSPECT, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(SUSPECT, inner), max_leaves=8),
    st.booleans(),
    st.sampled_from([None, (",", ":")]),
)
@settings(deadline=None, max_examples=200)
def test_redacted_json_is_valid_json(document: object, ascii_only: bool, separators: tuple[str, str] | None) -> None:  # noqa: FBT001 # drawn by hypothesis
    """The document may contain any strings."""
    json.loads(redact(json.dumps(document, ensure_ascii=ascii_only, separators=separators)))


@given(st.text(st.characters(), max_size=100) | SUSPECT)
@settings(deadline=None)
def test_redaction_raises_no_error(text: str) -> None:
    """This holds for any text and secret, with lone surrogates, control characters and broken escapes."""
    found = Secrets()
    found.add(text)
    found.redact(text + text)


HOSTILE = ("?", "?a&sig", "sig", "sig?&=", "('", "://", "%25", "bearer  ", "cookie  ", "\\", " ", "a")


@pytest.mark.parametrize("again", HOSTILE)
@pytest.mark.parametrize("first", ["", "?", "('", "sig=", "bearer ", "cookie"])
def test_redaction_takes_linear_time(first: str, again: str) -> None:
    """A hostile response must not block the program."""
    start = time.process_time()
    redact(first + again * 20_000)
    assert time.process_time() - start < 2


def test_one_of_many_secrets_is_redacted_in_every_spelling() -> None:
    """A registry gives new secrets during the whole run; each is found, also with encoded letters."""
    secrets = Secrets()
    made = [f"signature/{number:04}+{'abcdefgh' * 3}==" for number in range(40)]
    for secret in made:
        secrets.add(secret)
    encoded = "".join(f"%{ord(letter):02x}" for letter in made[39])
    for written in (made[0], quote(made[20], safe=""), quote(quote(made[21], safe=""), safe=""), encoded):
        assert secrets.redact(f"36 % of {written}; 100%") == f"36 % of {MARK}; 100%"
