"""The settings: parsing of environment variables, and the error for every invalid one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from models_init.cli.settings import SETTINGS, Settings, load
from models_init.core.errors import UsageError
from models_init.core.text_encoding import escaped
from models_init.sources.open_source import local_directory
from tests.tokens import leaks, token

_GOOD = {
    "REALTIME_LANGUAGES": "nl-nl",
    "REALTIME_LANGUAGE_VERSION": "2026.04",
    "REALTIME_COMMON_VERSION": "2026.03",
}
_NO_LANGUAGE = "is not a language code; use lower case with a hyphen, e.g. nl-nl,en-us"


def settings(**variables: str) -> Settings:
    return load({**_GOOD, **variables}, with_packs=True)


def packs(**variables: str) -> list[str]:
    return [str(ref) for ref in settings(**variables).packs]


def faults(**variables: str) -> tuple[str, ...]:
    """Return the faults of an invalid environment."""
    with pytest.raises(UsageError) as wrong:
        settings(**variables)
    assert str(wrong.value) == "; ".join(wrong.value.faults)
    assert all(fault.isprintable() for fault in wrong.value.faults)
    return wrong.value.faults


# -- packs


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, ["common 2026.03", "nl-nl 2026.04"]),
        ({"REALTIME_LANGUAGES": "nl-nl,en-us"}, ["common 2026.03", "en-us 2026.04", "nl-nl 2026.04"]),
        ({"REALTIME_LANGUAGES": " nl-nl , en-us, "}, ["common 2026.03", "en-us 2026.04", "nl-nl 2026.04"]),
        ({"REALTIME_LANGUAGES": "nl-nl,nl-nl"}, ["common 2026.03", "nl-nl 2026.04"]),
        ({"REALTIME_LANGUAGES": "nl-nl@2026.07"}, ["common 2026.03", "nl-nl 2026.07"]),
        ({"REALTIME_LANGUAGES": "nl-nl@2026.07", "REALTIME_LANGUAGE_VERSION": ""}, ["common 2026.03", "nl-nl 2026.07"]),
        (
            {"REALTIME_LANGUAGES": "en-us@2026.07,nl-nl"},
            ["common 2026.03", "en-us 2026.07", "nl-nl 2026.04"],
        ),
        ({"REALTIME_LANGUAGE": "de-de"}, ["common 2026.03", "nl-nl 2026.04"]),
        ({"REALTIME_LANGUAGES": "", "REALTIME_LANGUAGE": "de-de"}, ["common 2026.03", "de-de 2026.04"]),
        ({"REALTIME_LANGUAGES": "zh-hant-tw"}, ["common 2026.03", "zh-hant-tw 2026.04"]),
        ({"REALTIME_LANGUAGES": "fy"}, ["common 2026.03", "fy 2026.04"]),
        ({"WHISPER_VARIANT": ""}, ["common 2026.03", "nl-nl 2026.04"]),
        (
            {"WHISPER_VARIANT": "large-v3-turbo"},
            ["common 2026.03", "nl-nl 2026.04", "whisper-large-v3-turbo 2026.03"],
        ),
        (
            {"WHISPER_VARIANT": "tiny.en", "WHISPER_VERSION": "v1"},
            ["common 2026.03", "nl-nl 2026.04", "whisper-tiny.en v1"],
        ),
        ({"WHISPER_VERSION": "v1"}, ["common 2026.03", "nl-nl 2026.04"]),
    ],
)
def test_packs_follow_from_languages_versions_and_variant(variables: dict[str, str], expected: list[str]) -> None:
    """Each language has its own version or the common one; `common` is always added, a whisper variant if it is set."""
    assert packs(**variables) == expected


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        (
            {"REALTIME_LANGUAGES": ""},
            ["REALTIME_LANGUAGES is not set; set it to the languages to install, e.g. nl-nl or nl-nl,en-us"],
        ),
        (
            {"REALTIME_LANGUAGES": " , "},
            ["REALTIME_LANGUAGES is not set; set it to the languages to install, e.g. nl-nl or nl-nl,en-us"],
        ),
        (
            {"REALTIME_LANGUAGE_VERSION": ""},
            ["REALTIME_LANGUAGE_VERSION is not set; set it to the version that your license names, e.g. 2026.04"],
        ),
        (
            {"REALTIME_LANGUAGE_VERSION": "  "},
            ["REALTIME_LANGUAGE_VERSION is not set; set it to the version that your license names, e.g. 2026.04"],
        ),
        (
            {"REALTIME_LANGUAGES": "nl-nl,en-us", "REALTIME_LANGUAGE_VERSION": ""},
            ["REALTIME_LANGUAGE_VERSION is not set; set it to the version that your license names, e.g. 2026.04"],
        ),
        (
            {"REALTIME_COMMON_VERSION": ""},
            ["REALTIME_COMMON_VERSION is not set; set it to the version that your license names, e.g. 2026.04"],
        ),
        (
            {"REALTIME_LANGUAGES": "Dutch"},
            [f"REALTIME_LANGUAGES=Dutch: 'Dutch' {_NO_LANGUAGE}"],
        ),
        (
            {"REALTIME_LANGUAGES": "", "REALTIME_LANGUAGE": "nl_NL"},
            [f"REALTIME_LANGUAGE=nl_NL: 'nl_NL' {_NO_LANGUAGE}"],
        ),
        (
            {"REALTIME_LANGUAGES": "nl-nl;en-us"},
            [f"REALTIME_LANGUAGES=nl-nl;en-us: 'nl-nl;en-us' {_NO_LANGUAGE}"],
        ),
        (
            {"REALTIME_LANGUAGES": "nl-nl@"},
            ["REALTIME_LANGUAGES=nl-nl@: '' is not a version (letters, digits, '.', '_', '+', '-')"],
        ),
        (
            {"REALTIME_LANGUAGES": "nl-nl@../x"},
            ["REALTIME_LANGUAGES=nl-nl@../x: '../x' is not a version (letters, digits, '.', '_', '+', '-')"],
        ),
        (
            {"REALTIME_LANGUAGES": "nl-nl,nl-nl@2026.07"},
            ["REALTIME_LANGUAGES names nl-nl twice, as 2026.04 and as 2026.07; keep one"],
        ),
        (
            {"REALTIME_LANGUAGE_VERSION": "2026 04"},
            [("REALTIME_LANGUAGE_VERSION=2026 04: '2026 04' is not a version (letters, digits, '.', '_', '+', '-')")],
        ),
        (
            {"REALTIME_COMMON_VERSION": "../../etc"},
            [("REALTIME_COMMON_VERSION=../../etc: '../../etc' is not a version (letters, digits, '.', '_', '+', '-')")],
        ),
        (
            {"WHISPER_VARIANT": "Large"},
            [("WHISPER_VARIANT=Large: 'whisper-Large' is not a pack name (lower-case letters, digits, '.', '_', '-')")],
        ),
    ],
)
def test_missing_or_invalid_pack_settings_are_reported(variables: dict[str, str], expected: list[str]) -> None:
    """Each fault is one line: the variable, the reason, the remedy."""
    assert list(faults(**variables)) == expected


def test_all_faults_are_reported_together() -> None:
    """Several faults are one error with one line for each."""
    found = faults(
        REALTIME_LANGUAGES="", REALTIME_LANGUAGE_VERSION="", REALTIME_COMMON_VERSION="", MODELS_URL="models",
        MODELS_CONNECTIONS="0", MODELS_LOG_FORMAT="xml",
    )  # fmt: skip
    assert [fault.partition(" ")[0].partition("=")[0] for fault in found] == [
        "MODELS_URL", "MODELS_CONNECTIONS", "MODELS_LOG_FORMAT",
        "REALTIME_LANGUAGE_VERSION", "REALTIME_LANGUAGES", "REALTIME_COMMON_VERSION",
    ]  # fmt: skip


def test_actions_without_packs_require_no_pack_settings() -> None:
    """Invalid values are still reported."""
    assert load({}, with_packs=False).packs == ()
    with pytest.raises(UsageError, match="REALTIME_LANGUAGE_VERSION"):
        load({"REALTIME_LANGUAGE_VERSION": "a b"}, with_packs=False)


# -- the other settings


def test_defaults_are_as_documented() -> None:
    found = settings()
    assert (found.url, found.prefix, found.directory) == (
        "https://scriptixmodels.blob.core.windows.net/models", "realtime/", Path("/models"),
    )  # fmt: skip
    assert (found.connections, found.memory, found.ca_file) == (16, 48 << 20, "")
    assert (found.max_rate, found.token_seconds, found.total_seconds) == (0, 60.0, 0.0)
    assert (found.idle_seconds, found.retry_seconds, found.lock_seconds) == (30.0, 300.0, 3600.0)
    assert (found.log_format, found.log_level, found.token, found.token_file) == ("text", "info", "", "")


def test_empty_value_counts_as_unset() -> None:
    """A variable that is empty or blank, as in a compose file, counts as not set."""
    blank = {setting.variable: " " for setting in SETTINGS}
    found, default = load(blank, with_packs=False), load({}, with_packs=False)
    assert found == default


@pytest.mark.parametrize(
    ("variable", "text", "attribute", "value"),
    [
        ("MODELS_URL", "https://acc.blob.core.windows.net/c", "url", "https://acc.blob.core.windows.net/c"),
        ("MODELS_URL", "https://acc.blob.core.windows.net/c?", "url", "https://acc.blob.core.windows.net/c"),
        ("MODELS_URL", "http://127.0.0.1:10000/acc/c", "url", "http://127.0.0.1:10000/acc/c"),
        ("MODELS_URL", "http://localhost/c", "url", "http://localhost/c"),
        ("MODELS_URL", "http://[::1]:80/c", "url", "http://[::1]:80/c"),
        ("MODELS_URL", "file:///mnt/packs", "url", "file:///mnt/packs"),
        ("MODELS_URL", "file://localhost/mnt/packs", "url", "file://localhost/mnt/packs"),
        ("MODELS_URL", "/mnt/my packs", "url", "file:///mnt/my%20packs"),
        ("MODELS_MIRRORS", "/mnt/packs", "mirrors", ("file:///mnt/packs",)),
        ("MODELS_MIRRORS", "http://a , oci://b/c/\nhttp://a", "mirrors", ("http://a", "oci://b/c")),
        ("MODELS_PREFIX", "/", "prefix", ""),
        ("MODELS_PREFIX", "a/b", "prefix", "a/b/"),
        ("MODELS_PREFIX", "/a/", "prefix", "a/"),
        ("MODELS_DIR", "/srv/models", "directory", Path("/srv/models")),
        ("MODELS_CONNECTIONS", "1", "connections", 1),
        ("MODELS_CONNECTIONS", "64", "connections", 64),
        ("MODELS_MEMORY", "8MiB", "memory", 8 << 20),
        ("MODELS_MEMORY", "64 mb", "memory", 64_000_000),
        ("MODELS_MEMORY", "0.5GiB", "memory", 1 << 29),
        ("MODELS_MEMORY", "10000000", "memory", 10_000_000),
        ("MODELS_IDLE_SECONDS", "0.5", "idle_seconds", 0.5),
        ("MODELS_RETRY_SECONDS", "3600", "retry_seconds", 3600.0),
        ("MODELS_MAX_RATE", "20MB", "max_rate", 20_000_000),
        ("MODELS_MAX_RATE", "1.5 MiB/s", "max_rate", 3 << 19),
        ("MODELS_TOKEN_SECONDS", "5", "token_seconds", 5.0),
        ("MODELS_TOTAL_SECONDS", "7200", "total_seconds", 7200.0),
        ("MODELS_LOG_FORMAT", "JSON", "log_format", "json"),
        ("MODELS_LOG_LEVEL", "Warning", "log_level", "warning"),
    ],
)
def test_valid_setting_is_parsed(variable: str, text: str, attribute: str, value: object) -> None:
    """Sizes become bytes, times become seconds, prefixes may have slashes at both ends."""
    assert getattr(settings(**{variable: text}), attribute) == value


@pytest.mark.parametrize(
    ("variable", "text", "words"),
    [
        ("MODELS_URL", "models", "is not a container URL such as"),
        ("MODELS_URL", "./models", "is not a container URL such as"),
        ("MODELS_URL", "https://acc.blob.core.windows.net", "names no container; add its name"),
        ("MODELS_URL", "https://acc.blob.core.windows.net/", "names no container; add its name"),
        ("MODELS_URL", "https:///models", "is not a container URL such as"),
        ("MODELS_URL", "ftp://host/models", "is not a container URL such as"),
        ("MODELS_URL", "file:packs", "is not a container URL such as"),
        ("MODELS_URL", "file://packs/2026", "is not a container URL such as"),
        ("MODELS_URL", "https://host:99999/models", "Port"),
        ("MODELS_URL", "https://host:port/models", "Port"),
        ("MODELS_URL", "https://[::1/models", "Invalid IPv6 URL"),
        ("MODELS_URL", "https://host/my models", "is not a container URL such as"),
        ("MODELS_URL", "https://host/c#frag", "must not hold a token"),
        ("MODELS_URL", "file:///media/disk#1", "has a ? or # that is not percent-encoded; give the path alone"),
        ("MODELS_URL", "file:///media/new?/packs", "has a ? or # that is not percent-encoded; give the path alone"),
        ("MODELS_URL", "http://host/models", "would send the token unencrypted"),
        ("MODELS_URL", "http://127.0.0.1.evil.example/models", "would send the token unencrypted"),
        ("MODELS_URL", "http://localhost.evil.example/models", "would send the token unencrypted"),
        ("MODELS_MIRRORS", "ftp://host/models", ": ftp://host/models is not a container URL such as"),
        ("MODELS_MIRRORS", "https://a.example/c oci://b.example/Models", ": oci://b.example/Models is not the address"),
        ("MODELS_MIRRORS", "file://packs/2026", ": file://packs/2026 is not a container URL such as"),
        ("MODELS_CONNECTIONS", "0", "is not a whole number from 1 to 64"),
        ("MODELS_CONNECTIONS", "65", "is not a whole number from 1 to 64"),
        ("MODELS_CONNECTIONS", "many", "is not a whole number from 1 to 64"),
        ("MODELS_CONNECTIONS", "4.5", "is not a whole number from 1 to 64"),
        ("MODELS_CONNECTIONS", "²", "is not a whole number from 1 to 64"),
        ("MODELS_MEMORY", "lots", "is not a size such as 64MiB"),
        ("MODELS_MEMORY", "-5MiB", "is not a size such as 64MiB"),
        ("MODELS_MEMORY", "64XB", "is not a size such as 64MiB"),
        ("MODELS_MEMORY", "4MiB", "is too little: at least 8MiB"),
        ("MODELS_IDLE_SECONDS", "0", "is not a number of seconds above 0"),
        ("MODELS_IDLE_SECONDS", "-1", "is not a number of seconds above 0"),
        ("MODELS_IDLE_SECONDS", "nan", "is not a number of seconds above 0"),
        ("MODELS_IDLE_SECONDS", "inf", "is not a number of seconds above 0"),
        ("MODELS_RETRY_SECONDS", "5 min", "is not a number of seconds above 0"),
        ("MODELS_TOTAL_SECONDS", "0", "is not a number of seconds above 0"),
        ("MODELS_MAX_RATE", "20Mbit", "is not a size such as 64MiB or 20MB"),
        ("MODELS_MAX_RATE", "1KB", "is too little: at least 10KB"),
        ("MODELS_LOCK_SECONDS", "x", "is not a number of seconds above 0"),
        ("MODELS_ALLOW_HTTP", "perhaps", "is neither yes nor no"),
        ("MODELS_LOG_FORMAT", "xml", "is not one of text, json"),
        ("MODELS_LOG_LEVEL", "trace", "is not one of debug, info, warning, error"),
    ],
)
def test_invalid_setting_is_reported(variable: str, text: str, words: str) -> None:
    """The fault is one line that begins with the variable and the value, and says what is expected."""
    (fault,) = faults(**{variable: text})
    assert fault.startswith((f"{variable}={escaped(text)} ", f"{variable}={escaped(text)}: "))
    assert words in fault


_SECRETS = {"MODELS_SAS_TOKEN", "MODELS_REGISTRY_PASSWORD"}
_QUOTE = "begins or ends with a quote, which env files do not remove; write the value without quotes"
_COMMENT = "contains a comment, which env files do not remove; put the comment on a line of its own"
_BACKSLASH = "contains a backslash, which env files do not remove; write the value without it"
_RELATIVE = "is not an absolute path; write it with all directories, beginning with /"


@pytest.mark.parametrize(
    ("variable", "text", "reason"),
    [
        ("MODELS_DIR", "./models", _RELATIVE),
        ("MODELS_DIR", "~/models", _RELATIVE),
        ("MODELS_DIR", "/srv/models # the volume", _COMMENT),
        ("MODELS_DIR", '"/srv/models"', _QUOTE),
        ("MODELS_DIR", "C:\\models", _BACKSLASH),
        ("MODELS_CA_FILE", "config/ca.pem", _RELATIVE),
        ("MODELS_SAS_TOKEN_FILE", "./token", _RELATIVE),
        ("MODELS_PUBLIC_KEY_FILE", "key.pub", _RELATIVE),
        ("MODELS_TERMINATION_LOG", "log", _RELATIVE),
        ("MODELS_URL", "https://acc.blob.core.windows.net/c # the vendor's", _COMMENT),
        ("MODELS_URL", "'https://acc.blob.core.windows.net/c'", _QUOTE),
        ("MODELS_PREFIX", "realtime/ # packs", _COMMENT),
        ("MODELS_CONNECTIONS", "'8'", _QUOTE),
        ("REALTIME_LANGUAGES", '"nl-nl"', _QUOTE),
        ("REALTIME_LANGUAGE_VERSION", "2026.04 # licensed", _COMMENT),
        ("REALTIME_COMMON_VERSION", "2026.04\\", _BACKSLASH),
        ("MODELS_LOG_FORMAT", "json'", _QUOTE),
    ],
)
def test_value_with_the_syntax_of_a_shell_is_rejected(variable: str, text: str, reason: str) -> None:
    """`docker run --env-file` and Kubernetes pass quotes and comments on, and an install would use a wrong value."""
    assert faults(**{variable: text}) == (f"{variable}={text} {reason}",)


def test_every_setting_but_secrets_rejects_quotes_and_comments() -> None:
    """Quotes around a token are removed, because the token is unambiguous; a password may contain quotes."""
    for variable in {setting.variable for setting in SETTINGS} - _SECRETS:
        assert faults(**{variable: '"x"'}) == (f'{variable}="x" {_QUOTE}',)
        assert faults(**{variable: "x # y"}) == (f"{variable}=x # y {_COMMENT}",)


@pytest.mark.parametrize(
    ("variable", "text", "shown"),
    [
        ("REALTIME_LANGUAGES", "nl\u2011nl", "nl\\u2011nl"),
        ("REALTIME_LANGUAGES", "n\u04cf-nl", "n\\u04cf-nl"),
        ("REALTIME_LANGUAGE_VERSION", "2026\u202404", "2026\\u202404"),
        ("WHISPER_VARIANT", "large\u2013v3", "large\\u2013v3"),
        ("MODELS_CONNECTIONS", "\uff18", "\\uff18"),
        ("MODELS_MEMORY", "\uff19MiB", "\\uff19MiB"),
        ("MODELS_IDLE_SECONDS", "\uff19", "\\uff19"),
        ("MODELS_URL", "https://acc.blob.core.windows.net/c\u200b", "https://acc.blob.core.windows.net/c\\u200b"),
        ("MODELS_DIR", "\u2215models", "\\u2215models"),
    ],
)
def test_lookalike_characters_are_shown_escaped(variable: str, text: str, shown: str) -> None:
    """Otherwise the message would show a value that looks right."""
    (fault,) = faults(**{variable: text})
    assert fault.startswith(f"{variable}={shown}")
    assert fault.isascii()


def test_http_to_other_machines_requires_permission() -> None:
    """MODELS_ALLOW_HTTP=yes allows sending a token unencrypted over a trusted network."""
    for yes in ("yes", "1", "TRUE", "on"):
        assert settings(MODELS_URL="http://host/models", MODELS_ALLOW_HTTP=yes).url == "http://host/models"
    for no in ("no", "0", "False", "off"):
        assert faults(MODELS_URL="http://host/models", MODELS_ALLOW_HTTP=no)


def test_anonymous_source_needs_neither_path_nor_token() -> None:
    """An anonymous source is a web server; a token in addition, or http to another machine, is reported."""
    for url in ("https://mirror.example", "https://mirror.example/models", "http://127.0.0.1:8080"):
        assert settings(MODELS_URL=url, MODELS_ANONYMOUS="yes").anonymous
    (contradiction,) = faults(MODELS_URL="https://mirror.example", MODELS_ANONYMOUS="yes", MODELS_SAS_TOKEN=token())
    assert contradiction == "MODELS_ANONYMOUS=yes contradicts the SAS token that is set; remove one of them"
    (risk,) = faults(MODELS_URL="http://mirror.example", MODELS_ANONYMOUS="yes")
    assert "would fetch packs unencrypted; use https, or set MODELS_ALLOW_HTTP=yes" in risk


def test_mirrors_may_use_http_and_must_not_repeat_the_origin() -> None:
    """Mirrors get no token, so an unencrypted network does not expose it."""
    assert settings(MODELS_MIRRORS="http://cache.example:8080").mirrors == ("http://cache.example:8080",)
    (repeated,) = faults(MODELS_URL="https://a.example/c", MODELS_MIRRORS="https://b.example https://a.example/c/")
    assert repeated.startswith("MODELS_MIRRORS names MODELS_URL, too")


@pytest.mark.parametrize("url", ["https://host/c?{}", "http://host?{}", "https://user:{}@host/c", "oci://host/c?{}"])
def test_token_in_mirror_is_rejected_and_not_shown(url: str) -> None:
    (fault,) = faults(MODELS_MIRRORS=url.format(token().replace("&", "%26") if "@" in url else token()))
    assert fault.endswith("must hold neither token nor password: mirrors are read without a token")
    assert not leaks(fault)


@pytest.mark.parametrize(
    ("url", "is_mentioned"),
    [("https://acc.blob.core.windows.net/models", False), ("https://mirror.example/models", True)],
)
def test_missing_token_suggests_anonymous_access_only_for_other_servers(
    url: str,
    is_mentioned: bool,  # noqa: FBT001 - a test's table
) -> None:
    """A container of a storage account practically always needs a token."""
    with pytest.raises(UsageError) as missing:
        settings(MODELS_URL=url).read_token()
    assert str(missing.value).startswith("MODELS_SAS_TOKEN is not set; put the SAS token there")
    assert ("MODELS_ANONYMOUS=yes" in str(missing.value)) == is_mentioned


def test_unreadable_files_are_reported_together_with_other_faults() -> None:
    """One run of the program reports everything that must be corrected."""
    files = {"MODELS_CA_FILE": "/nosuch/ca.pem", "MODELS_SAS_TOKEN_FILE": "/nosuch/token"}
    found = faults(MODELS_MEMORY="much", **files)
    assert [fault.partition("=")[0] for fault in found] == ["MODELS_MEMORY", *files]
    assert found[1].startswith("MODELS_CA_FILE=/nosuch/ca.pem cannot be read: No such file or directory; set it to")


def test_file_url_is_decoded_to_a_directory() -> None:
    """Other URLs have no directory."""
    assert local_directory("file:///mnt/my%20packs") == Path("/mnt/my packs")
    assert local_directory(settings(MODELS_URL="/mnt/één#1").url) == Path("/mnt/één#1")
    assert local_directory("https://host/models") is None


# -- the token


@pytest.mark.parametrize("url", ["https://host/c?{}", "https://host/c?x=1&{}", "https://user:{}@host/c", "?{}"])
def test_token_in_the_url_is_rejected_and_not_shown(url: str) -> None:
    """The fault says where the token belongs."""
    (fault,) = faults(MODELS_URL=url.format(token().replace("&", "%26") if "@" in url else token()))
    assert "MODELS_URL=" in fault
    assert not leaks(fault)


def test_token_in_another_setting_is_not_shown() -> None:
    """The fault of a setting that contains a token does not repeat it."""
    any_text = {"MODELS_PREFIX", "MODELS_REGISTRY_USERNAME", "REALTIME_LICENSE_FILE", "PLATFORM_LICENSE_FILE"}
    for variable in {setting.variable for setting in SETTINGS} - _SECRETS - any_text:
        assert not leaks("; ".join(faults(**{variable: token()})))


def test_token_file_is_read_at_each_call(tmp_path: Path) -> None:
    """MODELS_SAS_TOKEN_FILE takes precedence over MODELS_SAS_TOKEN."""
    path = tmp_path / "token"
    found = settings(MODELS_SAS_TOKEN="other", MODELS_SAS_TOKEN_FILE=str(path))
    for text in ("first", "second\n"):
        path.write_text(text)
        assert found.read_token() == text.strip()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_token_file_may_have_the_encoding_of_any_editor(tmp_path: Path, encoding: str) -> None:
    """Windows tools write UTF-16 or a byte order mark."""
    file = tmp_path / "token"
    file.write_bytes(f"{token()}\r\n".encode(encoding))
    assert settings(MODELS_SAS_TOKEN_FILE=str(file)).read_token() == token()
    file.unlink()  # otherwise the search of the session finds the token


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_public_key_file_may_have_a_byte_order_mark(tmp_path: Path, encoding: str) -> None:
    """The same rule applies to all text files that settings name."""
    key = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3"
    (tmp_path / "key.pub").write_bytes(f"untrusted comment: a key\r\n{key}\r\n".encode(encoding))
    found = settings(MODELS_PUBLIC_KEY_FILE=str(tmp_path / "key.pub"))
    assert found.read_public_keys() == settings(MODELS_PUBLIC_KEY=key).public_keys


def test_unreadable_token_file_is_reported(tmp_path: Path) -> None:
    """The file is missing, is a directory, or is not text; the fault names the variable and the file."""
    (tmp_path / "binary").write_bytes(b"\xff\xff")
    for path in (tmp_path / "none", tmp_path, tmp_path / "binary"):
        with pytest.raises(UsageError, match=f"MODELS_SAS_TOKEN_FILE={path} cannot be read"):
            settings(MODELS_SAS_TOKEN_FILE=str(path)).read_token()


def test_missing_token_is_reported_when_it_is_read() -> None:
    """Settings without a token are valid, because a start with nothing to do needs none."""
    with pytest.raises(UsageError, match=r"MODELS_SAS_TOKEN is not set.*MODELS_SAS_TOKEN_FILE"):
        settings().read_token()


def test_repr_of_settings_shows_no_value() -> None:
    """Neither `repr` nor `str` contains the token or another setting."""
    found = settings(MODELS_SAS_TOKEN=token())
    assert found.read_token() == token()
    assert not leaks(f"{found!r} {found} {found.read_token!r}")
    assert repr(found) == f"Settings(packs={found.packs!r}, faults=())"


def test_settings_are_immutable() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        settings().connections = 1


def test_validation_error_does_not_contain_the_value() -> None:
    """This error is never shown to users; it could appear in a traceback."""
    with pytest.raises(ValidationError, match="MODELS_MEMORY") as wrong:
        Settings.model_validate({"MODELS_MEMORY": token()})
    assert not leaks(str(wrong.value))


def test_paths_and_token_may_contain_other_bytes_than_utf8() -> None:
    """File names can contain such bytes."""
    text = os.fsdecode(b"/mnt/\xff")
    found = settings(MODELS_DIR=text, MODELS_CA_FILE=text, MODELS_SAS_TOKEN_FILE=text, MODELS_SAS_TOKEN=text)
    assert (found.directory, found.ca_file, found.token_file, found.token) == (Path(text), text, text, text)


def test_every_setting_but_secrets_has_a_flag() -> None:
    """A flag would show in the list of processes."""
    assert {setting.variable for setting in SETTINGS if not setting.flag} == _SECRETS
    assert len({setting.flag for setting in SETTINGS if setting.flag}) == len(SETTINGS) - len(_SECRETS)


def test_every_field_has_variable_flag_default_and_help() -> None:
    """The two computed fields are exceptions."""
    assert len(SETTINGS) == len(Settings.model_fields) - len({"packs", "faults"})
    assert (
        len({setting.variable for setting in SETTINGS}) == len({setting.help for setting in SETTINGS}) == len(SETTINGS)
    )
    defaults = {setting.variable: setting.default for setting in SETTINGS}
    assert load(defaults, with_packs=False) == load({}, with_packs=False)
