"""Releases: the id depends on the packs alone, and a changed record is rejected."""

from __future__ import annotations

import json
from typing import Any

import pytest

from models_init.core.pack_ref import PackRef
from models_init.formats.release import Release, parse, release_of

_COMMON, _DUTCH = PackRef("common", "2026.04"), PackRef("nl-nl", "2026.04")
_DIGESTS = {_DUTCH: "sha256:" + "b" * 64, _COMMON: "sha256:" + "a" * 64}


def release(digests: dict[PackRef, str] | None = None, *, created: str = "2026-11-22T10:00:00+00:00") -> Release:
    return release_of(digests or _DIGESTS, created=created, source="file:///packs", program="models_init 1")


def test_encoded_record_is_parsed_back() -> None:
    assert parse(release().encode()) == release()


def test_id_depends_on_packs_only() -> None:
    same = release_of(dict(reversed(_DIGESTS.items())), created="later", source="elsewhere", program="other")
    assert same.id == release().id
    assert len(release().id) == 12
    assert release({**_DIGESTS, _DUTCH: "sha256:" + "c" * 64}).id != release().id
    assert release({_COMMON: _DIGESTS[_COMMON], PackRef("nl-nl", "2026.07"): _DIGESTS[_DUTCH]}).id != release().id
    assert release({_COMMON: _DIGESTS[_COMMON]}).id != release().id


def test_release_holds_exactly_its_packs() -> None:
    assert release().holds([_DUTCH, _COMMON])
    assert not release().holds([_DUTCH])
    assert not release().holds([_DUTCH, _COMMON, PackRef("en-us", "1")])
    assert not release().holds([_COMMON, PackRef("nl-nl", "2026.07")])


def test_text_names_id_and_packs() -> None:
    assert str(release()) == f"{release().id} (common 2026.04, nl-nl 2026.04)"
    assert list(release().versions.items()) == [("common", "2026.04"), ("nl-nl", "2026.04")]


@pytest.mark.parametrize(
    "document",
    [b"", b"{", b"null", b"[]", b"1", b'"text"', b"{}", b'{"packs": {}}', b'{"packs": []}', b"\xff", b"[" * 100_000],
    ids=lambda document: repr(document[:20]),
)
def test_invalid_record_is_rejected(document: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the message is not used
        parse(document)


@pytest.mark.parametrize(
    "change",
    [
        {"release": "0" * 12},
        {"packs": {"common": {"version": "2026.04", "manifest": "sha256:" + "a" * 64}}},
        {"packs": {"../../etc": {"version": "1", "manifest": "x"}}},
        {"packs": {"common": {"version": "../..", "manifest": "x"}}},
        {"packs": {"common": {"version": 1, "manifest": "x"}}},
        {"packs": {"common": {"version": "1"}}},
        {"packs": {"common": "2026.04"}},
        {"created": ...},
    ],
    ids=repr,
)
def test_changed_record_is_rejected(change: dict[str, Any]) -> None:
    content = {**json.loads(release().encode()), **change}
    document = json.dumps({key: value for key, value in content.items() if value is not ...}).encode()
    with pytest.raises(ValueError, match=r"release|is no (pack name|version)"):
        parse(document)
