"""External documents are parsed strictly, and errors are described in one line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from models_init.formats import bundle_index, receipt, release
from models_init.formats.bundle_index import BundledPack, Contents, Member
from models_init.formats.documents import flaw, load
from tests.manifests import digest

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(
    ("document", "why"),
    [
        (b"{", "it is not JSON: "),
        (b"\xff", "it is not UTF-8: "),
        ("{}".encode("utf-16"), "it is not UTF-8: "),
        (b"[" * 100_000, "it is nested too deeply"),
        (b"[" * 2_000_000, "too many values for its size"),
        (b"[NaN]", "a number that is not finite"),
        (b"[-Infinity]", "a number that is not finite"),
        (b"9" * 5000, "more than 4300 digits"),
    ],
    ids=lambda value: repr(value[:20]),
)
def test_text_that_is_not_json_is_described(document: bytes, why: str) -> None:
    """The message says what the text is instead."""
    with pytest.raises(ValueError, match=why) as caught:
        load(document)
    assert flaw(caught.value).isprintable()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"release": 1}, "`release` is not text"),
        ({"packs": {"common": {"version": "1", "manifest": "../../x"}}}, "`packs.common.manifest` does not match"),
        ({"packs": {"a\nb": {"version": 1, "manifest": digest(1)}}}, r"`packs\.a\\nb\.version` is not text"),
        ({"packs": []}, "`packs` is not an object"),
        ({"source": None}, "`source` is not text"),
    ],
)
def test_record_of_a_release_is_parsed_strictly(change: dict[str, object], why: str) -> None:
    """No value is converted; the message names the field without its value."""
    content = {"release": "0" * 12, "packs": {}, "created": "", "source": "", "program": ""} | change
    _complains(release.parse, content, why)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ([], "it is not an object"),
        ({"schema": 2}, "it has schema 2, and this version of models_init reads 1"),
        ({"schema": True, "release": "", "packs": []}, "`schema` is not a whole number"),
        ({"schema": 1, "release": ""}, "`packs` is missing"),
        ({"schema": 1, "release": "", "packs": [{"pack": "a", "version": "1", "manifest": "x"}]}, r"`packs\[0\].manif"),
    ],
)
def test_receipt_is_parsed_strictly(content: object, why: str) -> None:
    """The message names an unsupported schema."""
    _complains(receipt.parse, content, why)


def test_pack_may_have_the_name_of_a_field() -> None:
    """A pack with the name `offset` is not mistaken for a member of a bundle."""
    packs = {"offset": BundledPack("1", digest(1), "pack.tar.zst", 1), "path": BundledPack("1", digest(2), "x", 1)}
    member = Member("a", 512, 5, digest(3))
    contents = Contents(bundle_index.SCHEMA, "x", {"offset": "1", "name": "a"}, packs, 1 << 20, (member,))
    assert bundle_index.decode(bundle_index.encode(contents)) == contents


def _complains(parse: Callable[[bytes], object], content: object, why: str) -> None:
    with pytest.raises(ValueError, match=why) as caught:
        parse(json.dumps(content).encode())
    assert str(caught.value).isprintable()
    assert "pydantic" not in str(caught.value)
