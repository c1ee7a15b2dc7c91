"""Any environment, token, record or history file is accepted or rejected in one line."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from models_init.cli.settings import SETTINGS, Settings, load
from models_init.core.errors import NoSuchReleaseError, UsageError
from models_init.core.pack_ref import PackRef
from models_init.formats.release import Release, parse, release_of
from models_init.sources.azure.sas import SasToken
from models_init.volume.activation import Switch
from models_init.volume.layout import Volume
from tests.manifests import digest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_VARIABLES = [setting.variable for setting in SETTINGS]
_WORDS_OF_PYDANTIC = ("pydantic", "Input should", "Value error", "validation error")
_NAMED = {"REALTIME_LANGUAGES": "nl-nl", "REALTIME_LANGUAGE_VERSION": "1", "REALTIME_COMMON_VERSION": "1"}

# -- settings

_PIECES = st.sampled_from(
    [
        *("nl-nl", "nl-nl@2", "en-us", ",", "@", "..", "/", "1", "9" * 400, "1e400", "nan", "inf", "-1", "0", "٣", "½"),
        *("MiB", "KB", "https://", "http://", "file://", "host", "[::1", "]", ":", ":99999", "?sig=x", "#", "user:pw@"),
        *("%", "%2e", "\\", " ", "\t", "\n", "\x1b[2J", "\u202e", "\udcff", "yes", "json", "debug", "é", "~", "RWQ"),
    ]
)
_TEXTS = st.lists(_PIECES, max_size=6).map("".join) | st.text(st.characters(exclude_characters="\0"), max_size=40)


@given(variables=st.dictionaries(st.sampled_from(_VARIABLES), _TEXTS, max_size=4), with_packs=st.booleans())
@settings(max_examples=400)
@example(variables={"MODELS_MEMORY": "9" * 400}, with_packs=False)
@example(variables={"MODELS_MEMORY": "9" * 9000}, with_packs=False)
@example(variables={"MODELS_CONNECTIONS": "9" * 9000}, with_packs=False)
@example(variables={"MODELS_URL": "https://[::1"}, with_packs=False)
@example(variables={"MODELS_URL": "https://host:99999/x"}, with_packs=False)
def test_any_environment_gives_settings_or_errors(variables: Mapping[str, str], with_packs: bool) -> None:  # noqa: FBT001 # drawn by hypothesis
    """Any variables give valid settings, or an error for each invalid one."""
    try:
        found = load({**_NAMED, **variables}, with_packs=with_packs)
    except UsageError as error:
        _are_faults(error)
    else:
        _can_be_used(found)


def _are_faults(error: UsageError) -> None:
    assert error.faults
    assert all(fault.strip() for fault in error.faults)
    assert len(set(error.faults)) == len(error.faults)
    assert all(fault.startswith(tuple(_VARIABLES)) for fault in error.faults)
    assert not any(words in fault for fault in error.faults for words in _WORDS_OF_PYDANTIC)


def _can_be_used(found: Settings) -> None:
    assert 1 <= found.connections <= 64
    assert found.memory >= 8 << 20
    assert found.url.startswith(("https://", "http://", "file:///"))
    for ref in found.packs:
        assert PackRef.make(*ref) == ref


# -- tokens

_DATES = st.sampled_from(
    [
        *("2026-11-22", "2026-11-22T12:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "soon", "0"),
        *("2026-11-22T12:00:00+99:99", "٢٠٢٦-11-22", "2026-W01", "-1", "2026-11-22T24:00:00"),
    ]
)  # fmt: skip
_FIELDS = st.sampled_from(["se", "st", "sp", "sr", "ss", "srt", "sig", "spr", "sip", "sv", "", "&", "%", "é"])
_QUERIES = st.lists(st.tuples(_FIELDS, _DATES | st.text(max_size=20)), max_size=8).map(
    lambda fields: "&".join(f"{name}={value}" for name, value in fields)
)


@given(_QUERIES | st.text(max_size=60))
@settings(max_examples=400)
@example("se=0001-01-01T00:00:00%2B14:00")
@example("st=9999-12-31T23:59:59-14:00")
def test_any_text_is_a_token_or_has_a_flaw(text: str) -> None:
    """Any text is checked in one line, and a text without a signature is never accepted."""
    sas = SasToken.make(text)
    flaw = sas.flaw()
    assert flaw or sas.field("sig")
    for now in (datetime(2026, 11, 22, tzinfo=UTC), datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)):
        assert "\n" not in sas.time_flaw(now)


# -- records of releases

_REFS = st.builds(
    PackRef.make,
    st.from_regex(r"[a-z0-9][a-z0-9._-]{0,10}", fullmatch=True),
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,10}", fullmatch=True),
)
_RELEASES = st.builds(
    lambda packs, created, source: release_of(packs, created, source, "models_init 1"),
    st.dictionaries(_REFS, st.integers(0, 9).map(digest), max_size=4).filter(
        lambda packs: len({ref.name for ref in packs}) == len(packs)
    ),
    st.text(max_size=20),
    st.text(max_size=20),
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)


@given(_RELEASES)
def test_any_release_survives_the_round_trip(release: Release) -> None:
    """Encoding and parsing preserves every release."""
    assert parse(release.encode()) == release


@given(_RELEASES, st.sampled_from(["schema", "release", "packs", "created", "source", "program"]), _JSON)
def test_any_value_in_a_record_gives_a_release_or_an_error(release: Release, field: str, value: object) -> None:
    """A record with any field replaced is refused, or describes the release whose id it has."""
    document = json.dumps({**json.loads(release.encode()), field: value}).encode()
    with suppress(ValueError):
        found = parse(document)
        assert found.id == json.loads(document)["release"]
        assert all(PackRef.make(*pack.ref) for pack in found.packs)


@given(st.binary(max_size=200))
@example(b"[" * 100_000)
@example(b'{"packs":' * 100_000)
@example(b'{"packs": {}, "created": ' + b"9" * 10_000 + b"}")
def test_arbitrary_bytes_are_not_a_release(document: bytes) -> None:
    """Arbitrary bytes raise `ValueError`."""
    with pytest.raises(ValueError):  # noqa: PT011 - the message is not used
        parse(document)


# -- history and rollback files

_NAMES = st.sampled_from(["back-to", "current", "..", "../..", "\0", "\n", " ", "{id}", "2026-11-22T10:00:00+00:00"])
_HISTORIES = st.lists(_NAMES, max_size=12).map(" ".join) | st.text(max_size=60)


@given(_HISTORIES, st.binary(max_size=60), _RELEASES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_damaged_history_causes_no_error(tmp_path: Path, history: str, mark: bytes, release: Release) -> None:
    """With damaged or forged files, a rollback finds an existing release or none, and no other error occurs."""
    volume = Volume(tmp_path)
    directory = volume.release_path(release.id)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "release.json").write_bytes(release.encode())
    (tmp_path / "releases/.history").write_text(history.replace("{id}", release.id), errors="surrogatepass")
    (tmp_path / "releases/.rolled-back.json").write_bytes(mark)
    switch = Switch(volume)
    assert switch.rolled_back_from() is None
    assert {found.id for found in switch.in_order()} <= set(volume.release_names())
    with suppress(NoSuchReleaseError):
        assert switch.previous().id in volume.release_names()
    switch.clear_rollback([PackRef("nl-nl", "1")])
