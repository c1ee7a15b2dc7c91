"""Remove secrets from text.

There are two passes, because neither finds all secrets alone. The first replaces registered secrets, however their
special characters are written (percent-encoded, escaped for JSON or XML, also repeatedly). The second replaces the
values of fields whose name is that of a credential. JSON stays valid JSON: a replacement never extends beyond its
string.

Limits: only a whole registered secret is found, not a part of it. A secret shorter than `SHORTEST` is not searched for.
"""

from __future__ import annotations

import re
from functools import cache, partial
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Iterator

MARK = "[redacted]"
"""The text that replaces a secret."""

SHORTEST = 8
"""Minimum length in characters of a registered secret; a shorter one would replace parts of ordinary words."""

_KEY = r"(?:sig|signature|token|password|passwd|pwd|secret|(?:account|shared[_-]?access|access|api|private)[_-]?key)"
_HEADER = r"(?:authorization|cookie|x-registry-auth)"
_IS = r"(?:=|%(?:25)*3D|\\+u003d)"
_QUOTE = r"\\*[\"']"
# No word boundary before a name: `\nsig=`, `%3Fsig=` and `SAS_TOKEN=` must all be found. A backslash is matched only
# together with the character that it escapes, and a quote never, so that the enclosing string stays intact.
_IN_VALUE = r"(?:(?!%(?:25)*26)[^\s&\"'<>\\]|\\+(?!u0026|[nrtbf])[^\s&\"'<>\\]|&\#x?[0-9a-f]+;)"
_IN_QUERY = r"(?:[^\s?\"'<>\\]|\\+(?![nrtbf])[^\s?\"'<>\\])"
_IN_LINE = r"(?:[^\r\n\"'\\]|\\+(?![nr])[^\r\n\"'\\])"
_IN_QUOTES = r"(?:[^\"'\\]|\\+[^\"'\\])"


@cache
def _credential() -> re.Pattern[str]:
    """Compile the pattern of all forms of a credential. The text of its groups is kept; the rest of a match is not."""
    forms = (
        rf"(\?){_IN_QUERY}*?{_KEY}{_IS}{_IN_QUERY}*",  # a whole query string that contains a secret
        rf"({_KEY}{_IS}){_IN_VALUE}+",  # sig=…, sig%3D…
        # Not before , : } ] or space: there, the quote is the end of a JSON string that ends in `sig=`.
        rf"({_KEY}{_IS}{_QUOTE})(?![\s,:}}\]]){_IN_QUOTES}+",  # sig="…"
        rf"((?:{_KEY}|{_HEADER})(?P<q>{_QUOTE})\s*:\s*b?(?P=q)){_IN_QUOTES}+",  # "sig": "…"
        rf"([(\[]\s*b?(?P<r>{_QUOTE})[^\"'\\]*(?:{_KEY}|{_HEADER})(?P=r),\s*b?(?P=r)){_IN_QUOTES}+",  # ('sig', '…')
        rf"({_HEADER}\s*[:=]\s*){_IN_LINE}+",  # Authorization: …
        r"(bearer\s+)[A-Za-z0-9._~+/-]{16,}=*",
        r"(:(?:\\*/){2})[^\s/@\"'?#\\<>]+(?=@)",  # https://user:password@…
    )
    return re.compile("|".join(forms), re.IGNORECASE | re.ASCII)


_HINTS = ("sig", "token", "pass", "pwd", "secret", "key", "cookie", "auth", "bearer", "@")


def _may_hold_credential(text: str) -> bool:
    """Return False for text that cannot match. Takes milliseconds per megabyte, whereas the pattern takes a second."""
    folded = text.lower()
    return any(hint in folded for hint in _HINTS)


def _marked(match: re.Match[str]) -> str:
    return f"{match[match.lastindex or 0]}{MARK}"


class Secrets:
    """Registered secrets, such as the user's SAS token."""

    def __init__(self) -> None:
        self._known: tuple[str, ...] = ()

    def add(self, secret: str) -> None:
        """Register this text, and each value in it whose name is that of a credential, such as the `sig` of a token.

        Surrounding spaces, quotes, `?` and `&`, which people may paste with it, are removed.
        """
        found = {text for text in _plain_forms(secret.strip(" \t\r\n'\"?&")) if len(text) >= SHORTEST}
        # The longest first, to replace the whole token rather than the signature inside it.
        self._known = tuple(sorted(found.union(self._known), key=lambda text: (-len(text), text)))

    def redact(self, text: str) -> str:
        """Return the text with `MARK` in place of every registered secret and every value that looks like one."""
        letters_too = bool(_ENCODED_LETTER.search(text))
        for secret in self._known:
            if letters_too or _anchor(secret) in text:
                text = _every_spelling(secret, letters_too=letters_too).sub(MARK, text)
        return _credential().sub(_marked, text) if _may_hold_credential(text) else text


_ENCODED_LETTER = re.compile(r"%(?:25)*(?:3[0-9]|[46][1-9A-F]|[57][0-9A])", re.IGNORECASE)
"""A percent-encoded letter or digit, which is unnecessary, and therefore rare."""


@cache
def _anchor(secret: str) -> str:
    """Return the longest run of letters and digits, which every spelling without encoded letters contains."""
    runs: list[str] = re.findall(r"[A-Za-z0-9]*", secret)
    return max(runs, key=len)


@cache
def _every_spelling(secret: str, *, letters_too: bool) -> re.Pattern[str]:
    """Compile a pattern of every spelling of a secret; `_spelled` describes `letters_too`.

    Each secret has its own pattern, because a registry issues new tokens all the time. Compiling one pattern for 500
    secrets took 1.2 s (measured).
    """
    return re.compile("".join(map(partial(_spelled, letters_too=letters_too), _parts(secret))))


def _plain_forms(secret: str) -> Iterator[str]:
    plain = _unquoted(secret)
    yield plain
    for text in (secret, plain):
        for match in re.finditer(rf"{_KEY}{_IS}((?:{_IN_VALUE})+)", text, re.IGNORECASE):
            yield _unquoted(match[1])


def _unquoted(text: str) -> str:
    while (plain := unquote(text, errors="surrogateescape")) != text:
        text = plain
    return text


def _parts(text: str) -> list[str]:
    return re.findall(r"\\+|[^\\]", text)


_NAMED = {"&": "|&amp;", "<": "|&lt;", ">": "|&gt;", '"': "|&quot;", "'": "|&apos;", "+": "| |%20", " ": r"|\+"}


def _spelled(part: str, *, letters_too: bool = False) -> str:
    """Return a pattern of every spelling of a character (or a run of backslashes) of a secret.

    With `letters_too` the pattern includes percent-encoded letters and digits, which are unnecessary but valid.
    """
    if part.isascii() and part.isalnum() and letters_too:
        return f"(?:{part}|(?i:{_percent(ord(part), letters_too=True)}))"
    if part.isascii() and part.isalnum():
        return part
    code = ord(part[0])
    encoded = "".join(_percent(byte, letters_too=letters_too) for byte in part[0].encode(errors="surrogatepass"))
    if 0xDC80 <= code <= 0xDCFF:  # the surrogate by which `_unquoted` represents a byte that is not UTF-8
        encoded += f"|{_percent(code & 0xFF, letters_too=letters_too)}"
    utf16 = part[0].encode("utf-16-be", errors="surrogatepass").hex()
    escaped = "".join(rf"\\+u{utf16[at : at + 4]}" for at in range(0, len(utf16), 4))
    entity = f"&\\#(?:x0*{code:x}|0*{code});"
    if part[0] == "\\":
        return rf"(?i:\\|{encoded}|{entity})+"
    return rf"(?i:\\*{re.escape(part)}|{encoded}|{escaped}|\\+x{code:02x}|{entity}{_NAMED.get(part, '')})"


def _percent(byte: int, *, letters_too: bool) -> str:
    digits = f"{byte:02X}"
    if letters_too:
        digits = "".join(f"(?:{digit}|%(?:25)*(?:{ord(digit):X}|{ord(digit.lower()):X}))" for digit in digits)
    return f"%(?:25)*{digits}"


_secrets = Secrets()


def register(secret: str) -> None:
    """Make `redact` replace this text everywhere, for the lifetime of the process."""
    _secrets.add(secret)


def redact(text: str) -> str:
    """Return the text with `MARK` in place of every registered secret and every value that looks like one.

    Call it on all text just before it leaves the process. It never raises and is idempotent.
    """
    return _secrets.redact(text)
