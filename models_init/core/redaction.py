"""Takes secrets out of text.

Two nets, because either alone has holes: exact secrets that were registered, however their special characters are
written (percent-encoded, escaped for JSON or XML, several times over); then whatever looks like a credential by its
name. Text that was JSON before is JSON after: a replacement never reaches past the string it stands in.

Limits: a registered secret is found whole, not a part of it; one shorter than `SHORTEST` is not looked for.
"""

from __future__ import annotations

import re
from functools import cache, partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MARK = "[redacted]"
"""What stands where a secret stood."""

SHORTEST = 8
"""Characters of an exact secret, at least: a shorter one would blank out ordinary words."""

_KEY = r"(?:sig|signature|token|password|passwd|pwd|secret|(?:account|shared[_-]?access|access|api|private)[_-]?key)"
_HEADER = r"(?:authorization|cookie|x-registry-auth)"
_IS = r"(?:=|%(?:25)*3D|\\+u003d)"
_QUOTE = r"\\*[\"']"
# No word boundary before a name: `\nsig=`, `%3Fsig=` and `SAS_TOKEN=` must all be found. A backslash is taken only with
# what it escapes, and a quote never, so that the string around it stays whole.
_IN_VALUE = r"(?:(?!%(?:25)*26)[^\s&\"'<>\\]|\\+(?!u0026|[nrtbf])[^\s&\"'<>\\]|&\#x?[0-9a-f]+;)"
_IN_QUERY = r"(?:[^\s?\"'<>\\]|\\+(?![nrtbf])[^\s?\"'<>\\])"
_IN_LINE = r"(?:[^\r\n\"'\\]|\\+(?![nr])[^\r\n\"'\\])"
_IN_QUOTES = r"(?:[^\"'\\]|\\+[^\"'\\])"


@cache
def _credential() -> re.Pattern[str]:
    """Compile what a credential looks like; each group is what to keep, and the rest of the match goes."""
    forms = (
        rf"(\?){_IN_QUERY}*?{_KEY}{_IS}{_IN_QUERY}*",  # a query string with a secret in it, wholly
        rf"({_KEY}{_IS}){_IN_VALUE}+",  # sig=…, sig%3D…
        # Not before , : } ] or space: there, the quote ends the JSON string that ends in `sig=`.
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
    """Tell a megabyte of ordinary text in milliseconds, where the pattern takes a second."""
    folded = text.lower()
    return any(hint in folded for hint in _HINTS)


def _marked(match: re.Match[str]) -> str:
    return f"{match[match.lastindex or 0]}{MARK}"


class Secrets:
    """Exact secrets, such as the SAS token that the user gave."""

    def __init__(self) -> None:
        self._known: frozenset[str] = frozenset()
        self._patterns: dict[bool, re.Pattern[str]] = {}

    def add(self, secret: str) -> None:
        """Look for this text from now on, and for each value in it that has a secret's name (the `sig` of a token).

        Spaces, quotes, `?` and `&` around it, as people paste it, are not part of it.
        """
        self._known |= {text for text in _plain_forms(secret.strip(" \t\r\n'\"?&")) if len(text) >= SHORTEST}
        self._patterns.clear()

    def redact(self, text: str) -> str:
        """Return the text with `MARK` in place of every registered secret, and of whatever looks like one."""
        if self._known:
            text = self._pattern(letters_too="%" in text).sub(MARK, text)
        return _credential().sub(_marked, text) if _may_hold_credential(text) else text

    def _pattern(self, *, letters_too: bool) -> re.Pattern[str]:
        """Compile every way to write the secrets; letters and digits in percent-encoding where the text has any."""
        if letters_too not in self._patterns:
            spelled = partial(_spelled, letters_too=letters_too)
            # The longest first: the whole token rather than the signature inside it.
            ordered = sorted(self._known, key=lambda text: (-len(text), text))
            self._patterns[letters_too] = re.compile("|".join("".join(map(spelled, _parts(text))) for text in ordered))
        return self._patterns[letters_too]


def _plain_forms(secret: str) -> Iterator[str]:
    plain = _unquoted(secret)
    yield plain
    for text in (secret, plain):
        for match in re.finditer(rf"{_KEY}{_IS}((?:{_IN_VALUE})+)", text, re.IGNORECASE):
            yield _unquoted(match[1])


def _unquoted(text: str) -> str:
    from urllib.parse import unquote  # noqa: PLC0415 - a start without a token need not pay for it

    while (plain := unquote(text, errors="surrogateescape")) != text:
        text = plain
    return text


def _parts(text: str) -> list[str]:
    return re.findall(r"\\+|[^\\]", text)


_NAMED = {"&": "|&amp;", "<": "|&lt;", ">": "|&gt;", '"': "|&quot;", "'": "|&apos;", "+": "| |%20", " ": r"|\+"}


def _spelled(part: str, *, letters_too: bool = False) -> str:
    """Return a pattern of every way to write a character (or a run of backslashes) of a secret.

    `letters_too`: also those in which letters and digits are percent-encoded, which nothing needs and anything may do.
    """
    if part.isascii() and part.isalnum() and letters_too:
        return f"(?:{part}|(?i:{_percent(ord(part), letters_too=True)}))"
    if part.isascii() and part.isalnum():
        return part
    code = ord(part[0])
    encoded = "".join(_percent(byte, letters_too=letters_too) for byte in part[0].encode(errors="surrogatepass"))
    if 0xDC80 <= code <= 0xDCFF:  # what `_unquoted` makes of a byte that is no UTF-8
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
    """Have `redact` replace this text wherever it stands; for the whole process, and for good."""
    _secrets.add(secret)


def redact(text: str) -> str:
    """Return the text with `MARK` in place of every registered secret, and of whatever looks like one.

    For the last hop of everything that leaves the process as text. Never raises; doing it twice changes nothing.
    """
    return _secrets.redact(text)
