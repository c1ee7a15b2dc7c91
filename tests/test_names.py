"""Names that differ only in case or in their Unicode normal form."""

from __future__ import annotations

import unicodedata

import pytest

from models_init.core.names import colliding_names

_COMPOSED = "caf\u00e9.txt"
_DECOMPOSED = unicodedata.normalize("NFD", _COMPOSED)


@pytest.mark.parametrize(
    ("one", "other", "ignored"),
    [
        ("README", "readme", {"case"}),
        ("am/Final.mdl", "am/final.mdl", {"case"}),
        (_COMPOSED, _DECOMPOSED, {"form"}),
        (_COMPOSED.upper(), _DECOMPOSED, {"case", "form"}),
        ("stra\u00dfe", "STRASSE", {"case"}),
    ],
)
def test_colliding_names_are_found_if_their_difference_is_ignored(one: str, other: str, ignored: set[str]) -> None:
    found = colliding_names(["x", one, other], case="case" in ignored, form="form" in ignored)
    assert [set(pair) for pair in found] == [{one, other}]
    for less in ignored:
        rest = {"case", "form"} - {less}
        assert list(colliding_names([one, other], case="case" in rest, form="form" in rest)) == []
    assert list(colliding_names([one, other], case=False, form=False)) == []


def test_colliding_directories_are_reported_without_their_content() -> None:
    paths = ["AM", "AM/x", "AM/y", "am", "am/x", "am/z", "am/z/deep"]
    assert list(colliding_names(paths)) == [("AM", "am")]


def test_every_name_of_a_larger_collision_is_reported() -> None:
    assert list(colliding_names(["aa", "AA", "Aa", "b"])) == [("AA", "Aa"), ("AA", "aa")]


def test_equal_and_different_names_do_not_collide() -> None:
    assert list(colliding_names(["a", "a", "b", "a/b", "b/a", "\u00e9", "e"])) == []
