"""The settings: how environment variables become values, and how every invalid one is reported."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from models_init.cli.settings import SETTINGS, Settings, load
from models_init.core.errors import UsageError
from models_init.sources.open_source import local_directory
from tests.tokens import leaks, token

_GOOD = {
    "REALTIME_LANGUAGES": "nl-nl",
    "REALTIME_LANGUAGE_VERSION": "2026.04",
    "REALTIME_COMMON_VERSION": "2026.03",
}
_NO_LANGUAGE = "which is not a language code; write it like nl-nl, several like nl-nl,en-us"


def settings(**variables: str) -> Settings:
    return load({**_GOOD, **variables}, with_packs=True)


def packs(**variables: str) -> list[str]:
    return [str(ref) for ref in settings(**variables).packs]


def faults(**variables: str) -> tuple[str, ...]:
    """Return what is told of an environment that is wrong."""
    with pytest.raises(UsageError) as wrong:
        settings(**variables)
    assert str(wrong.value) == "; ".join(wrong.value.faults)
    assert all(fault.isprintable() for fault in wrong.value.faults)
    return wrong.value.faults


# -- which packs


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
def test_the_environment_names_packs(variables: dict[str, str], expected: list[str]) -> None:
    """Languages, each with its version or the common one of all, the pack common, and a whisper variant if wanted."""
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
            [f"REALTIME_LANGUAGES=Dutch has 'Dutch', {_NO_LANGUAGE}"],
        ),
        (
            {"REALTIME_LANGUAGES": "", "REALTIME_LANGUAGE": "nl_NL"},
            [f"REALTIME_LANGUAGE=nl_NL has 'nl_NL', {_NO_LANGUAGE}"],
        ),
        (
            {"REALTIME_LANGUAGES": "nl-nl;en-us"},
            [f"REALTIME_LANGUAGES=nl-nl;en-us has 'nl-nl;en-us', {_NO_LANGUAGE}"],
        ),
        (
            {"REALTIME_LANGUAGES": "nl-nl@"},
            ["REALTIME_LANGUAGES=nl-nl@ '' is no version (letters, digits, '.', '_', '+', '-')"],
        ),
        (
            {"REALTIME_LANGUAGES": "nl-nl@../x"},
            ["REALTIME_LANGUAGES=nl-nl@../x '../x' is no version (letters, digits, '.', '_', '+', '-')"],
        ),
        (
            {"REALTIME_LANGUAGES": "nl-nl,nl-nl@2026.07"},
            ["REALTIME_LANGUAGES names nl-nl twice, as 2026.04 and as 2026.07; keep one"],
        ),
        (
            {"REALTIME_LANGUAGE_VERSION": "2026 04"},
            [
                (
                    "REALTIME_LANGUAGE_VERSION=2026 04 cannot be used: "
                    "'2026 04' is no version (letters, digits, '.', '_', '+', '-')"
                )
            ],
        ),
        (
            {"REALTIME_COMMON_VERSION": "../../etc"},
            [
                (
                    "REALTIME_COMMON_VERSION=../../etc cannot be used: "
                    "'../../etc' is no version (letters, digits, '.', '_', '+', '-')"
                )
            ],
        ),
        (
            {"WHISPER_VARIANT": "Large"},
            [
                (
                    "WHISPER_VARIANT=Large cannot be used: "
                    "'whisper-Large' is no pack name (lower-case letters, digits, '.', '_', '-')"
                )
            ],
        ),
    ],
)
def test_packs_that_are_not_named_are_told(variables: dict[str, str], expected: list[str]) -> None:
    """What is missing or malformed is one line each: the variable, what is wrong, what to do."""
    assert list(faults(**variables)) == expected


def test_all_faults_are_told_together() -> None:
    """Several faults are one error with a line for each, none of them twice."""
    told = faults(
        REALTIME_LANGUAGES="", REALTIME_LANGUAGE_VERSION="", REALTIME_COMMON_VERSION="", MODELS_URL="models",
        MODELS_CONNECTIONS="0", MODELS_LOG_FORMAT="xml",
    )  # fmt: skip
    assert [fault.partition(" ")[0].partition("=")[0] for fault in told] == [
        "MODELS_URL", "MODELS_CONNECTIONS", "MODELS_LOG_FORMAT",
        "REALTIME_LANGUAGE_VERSION", "REALTIME_LANGUAGES", "REALTIME_COMMON_VERSION",
    ]  # fmt: skip


def test_actions_that_need_no_packs_want_none_named() -> None:
    """Without packs nothing of the environment is required, and what is malformed is told nevertheless."""
    assert load({}, with_packs=False).packs == ()
    with pytest.raises(UsageError, match="REALTIME_LANGUAGE_VERSION"):
        load({"REALTIME_LANGUAGE_VERSION": "a b"}, with_packs=False)


# -- the other settings


def test_the_defaults_are_those_of_the_product() -> None:
    """With nothing but the packs named, everything else is as documented."""
    found = settings()
    assert (found.url, found.prefix, found.directory) == (
        "https://scriptixmodels.blob.core.windows.net/models", "realtime/", Path("/models"),
    )  # fmt: skip
    assert (found.connections, found.memory, found.ca_file) == (16, 48 << 20, "")
    assert (found.max_rate, found.token_seconds, found.total_seconds) == (0, 60.0, 0.0)
    assert (found.idle_seconds, found.retry_seconds, found.lock_seconds) == (30.0, 300.0, 3600.0)
    assert (found.log_format, found.log_level, found.token, found.token_file) == ("text", "info", "", "")


def test_empty_is_unset() -> None:
    """A variable that is empty or blank, as in a compose file, counts as not set."""
    blank = {setting.variable: " " for setting in SETTINGS}
    found, default = load(blank, with_packs=False), load({}, with_packs=False)
    assert found == default


@pytest.mark.parametrize(
    ("variable", "text", "attribute", "value"),
    [
        ("MODELS_URL", "https://acc.blob.core.windows.net/c", "url", "https://acc.blob.core.windows.net/c"),
        ("MODELS_URL", "http://127.0.0.1:10000/acc/c", "url", "http://127.0.0.1:10000/acc/c"),
        ("MODELS_URL", "http://localhost/c", "url", "http://localhost/c"),
        ("MODELS_URL", "http://[::1]:80/c", "url", "http://[::1]:80/c"),
        ("MODELS_URL", "file:///mnt/packs", "url", "file:///mnt/packs"),
        ("MODELS_URL", "file://localhost/mnt/packs", "url", "file://localhost/mnt/packs"),
        ("MODELS_URL", "/mnt/my packs", "url", "file:///mnt/my%20packs"),
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
def test_values_are_parsed(variable: str, text: str, attribute: str, value: object) -> None:
    """Text becomes a value once: sizes in bytes, times in seconds, directories with or without slashes."""
    assert getattr(settings(**{variable: text}), attribute) == value


@pytest.mark.parametrize(
    ("variable", "text", "words"),
    [
        ("MODELS_URL", "models", "is not a container URL such as"),
        ("MODELS_URL", "./models", "is not a container URL such as"),
        ("MODELS_URL", "https://acc.blob.core.windows.net", "is not a container URL such as"),
        ("MODELS_URL", "https://acc.blob.core.windows.net/", "is not a container URL such as"),
        ("MODELS_URL", "https:///models", "is not a container URL such as"),
        ("MODELS_URL", "ftp://host/models", "is not a container URL such as"),
        ("MODELS_URL", "file:packs", "is not a container URL such as"),
        ("MODELS_URL", "file://packs/2026", "is not a container URL such as"),
        ("MODELS_URL", "https://host:99999/models", "Port"),
        ("MODELS_URL", "https://host:port/models", "Port"),
        ("MODELS_URL", "https://[::1/models", "Invalid IPv6 URL"),
        ("MODELS_URL", "https://host/my models", "is not a container URL such as"),
        ("MODELS_URL", "https://host/c#frag", "must not hold a token"),
        ("MODELS_URL", "http://host/models", "would send the token unencrypted"),
        ("MODELS_URL", "http://127.0.0.1.evil.example/models", "would send the token unencrypted"),
        ("MODELS_URL", "http://localhost.evil.example/models", "would send the token unencrypted"),
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
def test_what_is_malformed_is_told(variable: str, text: str, words: str) -> None:
    """A bad value is one line that begins with the variable and the value, and says what is expected."""
    (fault,) = faults(**{variable: text})
    assert fault.startswith(f"{variable}={text} ")
    assert words in fault


def test_http_to_other_machines_can_be_allowed() -> None:
    """MODELS_ALLOW_HTTP=yes lets a token go over a network that is trusted."""
    for yes in ("yes", "1", "TRUE", "on"):
        assert settings(MODELS_URL="http://host/models", MODELS_ALLOW_HTTP=yes).url == "http://host/models"
    for no in ("no", "0", "False", "off"):
        assert faults(MODELS_URL="http://host/models", MODELS_ALLOW_HTTP=no)


def test_a_file_url_names_a_directory() -> None:
    """Percent-encoding in a file URL is taken back; other URLs name no directory."""
    assert local_directory("file:///mnt/my%20packs") == Path("/mnt/my packs")
    assert local_directory(settings(MODELS_URL="/mnt/één #1").url) == Path("/mnt/één #1")
    assert local_directory("https://host/models") is None


# -- the token


@pytest.mark.parametrize("url", ["https://host/c?{}", "https://host/c?x=1&{}", "https://user:{}@host/c", "?{}"])
def test_a_token_in_the_url_is_refused_and_not_shown(url: str) -> None:
    """Who puts the token into MODELS_URL is told where it belongs, without it."""
    (fault,) = faults(MODELS_URL=url.format(token().replace("&", "%26") if "@" in url else token()))
    assert "MODELS_URL=" in fault
    assert not leaks(fault)


def test_a_token_elsewhere_is_not_shown() -> None:
    """A token in a variable that wants something else is told as wrong, without it."""
    free = {"MODELS_SAS_TOKEN", "MODELS_SAS_TOKEN_FILE", "MODELS_DIR", "MODELS_CA_FILE", "MODELS_PREFIX"}
    free |= {"MODELS_PUBLIC_KEY_FILE"}
    for variable in {setting.variable for setting in SETTINGS} - free - {"MODELS_TERMINATION_LOG"}:
        assert not leaks("; ".join(faults(**{variable: token()})))


def test_the_token_is_read_from_its_file_each_time(tmp_path: Path) -> None:
    """MODELS_SAS_TOKEN_FILE wins, is stripped, and is read anew at each call."""
    path = tmp_path / "token"
    found = settings(MODELS_SAS_TOKEN="other", MODELS_SAS_TOKEN_FILE=str(path))
    for text in ("first", "second\n"):
        path.write_text(text)
        assert found.read_token() == text.strip()


def test_a_token_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """A token file that is missing, a directory, or no text is a `UsageError` that names the variable and the file."""
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for path in (tmp_path / "none", tmp_path, tmp_path / "binary"):
        with pytest.raises(UsageError, match=f"MODELS_SAS_TOKEN_FILE={path} cannot be read"):
            settings(MODELS_SAS_TOKEN_FILE=str(path)).read_token()


def test_a_token_that_is_not_set_is_told_when_it_is_needed() -> None:
    """Without a token settings are good, and reading it names both variables."""
    with pytest.raises(UsageError, match=r"MODELS_SAS_TOKEN is not set.*MODELS_SAS_TOKEN_FILE"):
        settings().read_token()


def test_settings_have_no_repr_that_leaks() -> None:
    """Neither `repr` nor `str` of settings holds the token, or the value of any other setting."""
    found = settings(MODELS_SAS_TOKEN=token())
    assert found.read_token() == token()
    assert not leaks(f"{found!r} {found} {found.read_token!r}")
    assert repr(found) == f"Settings(packs={found.packs!r}, faults=())"


def test_settings_cannot_be_changed() -> None:
    """An assignment to a field raises."""
    with pytest.raises(ValidationError, match="frozen"):
        settings().connections = 1


def test_an_error_of_the_model_does_not_hold_the_value() -> None:
    """Even the model's own error, which no user sees, leaves the invalid text out."""
    with pytest.raises(ValidationError, match="MODELS_MEMORY") as wrong:
        Settings.model_validate({"MODELS_MEMORY": token()})
    assert not leaks(str(wrong.value))


def test_paths_and_token_need_not_be_utf8() -> None:
    """A variable with bytes that are not UTF-8, as file names can have, is taken as it is."""
    text = os.fsdecode(b"/mnt/\xff")
    found = settings(MODELS_DIR=text, MODELS_CA_FILE=text, MODELS_SAS_TOKEN_FILE=text, MODELS_SAS_TOKEN=text)
    assert (found.directory, found.ca_file, found.token_file, found.token) == (Path(text), text, text, text)


def test_every_setting_has_a_flag_unless_it_is_secret() -> None:
    """Only the token itself has no flag: it would show in the list of processes."""
    assert [setting.variable for setting in SETTINGS if not setting.flag] == ["MODELS_SAS_TOKEN"]
    assert len({setting.flag for setting in SETTINGS}) == len(SETTINGS)


def test_every_field_is_declared() -> None:
    """Each field but the two that are computed has a variable, a flag, a valid default and a help text of its own."""
    assert len(SETTINGS) == len(Settings.model_fields) - len({"packs", "faults"})
    assert (
        len({setting.variable for setting in SETTINGS}) == len({setting.help for setting in SETTINGS}) == len(SETTINGS)
    )
    defaults = {setting.variable: setting.default for setting in SETTINGS}
    assert load(defaults, with_packs=False) == load({}, with_packs=False)
