"""Parse the texts of settings. Each function raises `ValueError`; its message is appended to `VARIABLE=text`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from models_init.core.pack_ref import PackRef
from models_init.core.text_encoding import escaped
from models_init.core.units import parse_size
from models_init.formats.minisign import PublicKey, public_keys

if TYPE_CHECKING:
    from collections.abc import Callable

_LANGUAGE = re.compile(r"[a-z]{2,3}(-[a-z0-9]{2,8})*\Z")
_YES, _NO = {"1", "yes", "true", "on"}, {"0", "no", "false", "off"}

_QUOTES = "[\"'\u2018\u2019\u201c\u201d]"
_LITERAL_MISTAKES = (
    (
        rf"{_QUOTES}|.*{_QUOTES}\Z",
        "begins or ends with a quote, which env files do not remove; write the value without quotes",
    ),
    (r".*\s#", "contains a comment, which env files do not remove; put the comment on a line of its own"),
    (r".*\\", "contains a backslash, which env files do not remove; write the value without it"),
)
"""Patterns of values that a shell would have changed; `docker run --env-file` and Kubernetes pass them on unchanged."""


def check_literal(text: str) -> None:
    """Reject quotes, comments and backslashes, which are shell syntax and not part of the value."""
    for pattern, mistake in _LITERAL_MISTAKES:
        if re.match(pattern, text, re.DOTALL):
            raise ValueError(mistake)


def languages(text: str) -> tuple[tuple[str, str], ...]:
    """Return pairs of language and version; the version is empty where the text names none."""
    return tuple(_language(part.strip()) for part in text.split(",") if part.strip())


def _language(text: str) -> tuple[str, str]:
    name, at, version = text.partition("@")
    if not _LANGUAGE.match(name):
        raise ValueError(f": '{escaped(name)}' is not a language code; use lower case with a hyphen, e.g. nl-nl,en-us")
    if at:
        _check_pack(PackRef(name, version))
    return name, version


def version(text: str) -> str:
    """Return the version of a pack."""
    if text:
        _check_pack(PackRef("any", text))
    return text


def variant(text: str) -> str:
    """Return the variant of a whisper pack."""
    if text:
        _check_pack(PackRef(f"whisper-{text}", "1"))
    return text


def _check_pack(pack: PackRef) -> None:
    try:
        PackRef.make(*pack)
    except ValueError as error:
        raise ValueError(f": {error}") from None


def directory(text: str) -> Path:
    """Return an absolute path. A relative one would depend on the directory in which the program is started."""
    return Path(file_path(text))


def file_path(text: str) -> str:
    """Return an absolute path as text, or an empty text."""
    if text and not text.startswith("/"):
        raise ValueError("is not an absolute path; write it with all directories, beginning with /")
    return text


def metrics_file(text: str) -> str:
    """Return the absolute path of a .prom file as text, or an empty text."""
    if text and not text.endswith(".prom"):
        raise ValueError(
            "is not the path of a .prom file, and node_exporter reads no other; let the name end with .prom"
        )
    return file_path(text)


def image_path(text: str) -> str:
    """Return an absolute path in an image, in which `{pack}` may stand for the name of a pack, or an empty text."""
    path = file_path(text)
    if ".." in path.split("/"):
        raise ValueError("leads upwards; write it without ..")
    if re.search(r"[{}]", path.replace("{pack}", "")):
        raise ValueError("contains a placeholder other than {pack}, the name of the pack")
    return f"/{path.strip('/')}" if path else ""


def prefix(text: str) -> str:
    """Return a prefix that is empty or ends with a slash."""
    text = text.strip("/")
    return f"{text}/" if text else ""


def minisign_keys(text: str) -> tuple[PublicKey, ...]:
    """Return the public keys in a text; none for an empty one."""
    return public_keys(text) if text else ()


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """Return a parser for a whole number from `low` to `high`."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,18}", text) or not low <= int(text) <= high:
            raise ValueError(f"is not a whole number from {low} to {high}")
        return int(text)

    return parse


def seconds(text: str) -> float:
    """Return a number of seconds above 0."""
    try:
        number = float(text) if text.isascii() else -1.0
    except ValueError:
        number = -1.0
    if not 0 < number < 10**7:
        raise ValueError("is not a number of seconds above 0")
    return number


def seconds_or_none(text: str) -> float:
    """Return a number of seconds above 0, or 0 for an empty text."""
    return seconds(text) if text else 0.0


def memory_size(text: str) -> int:
    """Return a number of bytes, at least 8 MiB."""
    memory = parse_size(text)
    if memory < 8 << 20:
        raise ValueError("is too little: at least 8MiB")
    return memory


def rate(text: str) -> int:
    """Return a number of bytes per second, at least 10,000, or 0 for an empty text."""
    number = parse_size(re.sub(r"/s\Z", "", text)) if text else 0
    if text and number < 10**4:
        raise ValueError("is too little: at least 10KB")
    return number


def choice(*choices: str) -> Callable[[str], str]:
    """Return a parser that accepts these words in any case."""

    def parse(text: str) -> str:
        if text.lower() not in choices:
            raise ValueError(f"is not one of {', '.join(choices)}")
        return text.lower()

    return parse


def yes_no(text: str) -> bool:
    """Return True for a word that means yes."""
    if text.lower() not in _YES | _NO:
        raise ValueError("is neither yes nor no")
    return text.lower() in _YES
