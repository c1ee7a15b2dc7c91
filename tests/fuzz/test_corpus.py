"""What the fuzzers have found to be worth keeping, and what has ever broken a promise, keeps all of them now."""

from __future__ import annotations

import importlib
import random
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

_CORPUS = Path(__file__).parent / "corpus"
_NAMES = ("manifest", "chunk", "archive")
_FILES, _BYTES = 200, 500 << 10  # of all corpora together: nobody wants to clone more


class Target(Protocol):
    """A fuzzer's module."""

    LARGEST: int

    def check(self, data: bytes) -> None:
        """Read it."""

    def mutate(self, data: bytes, seed: int) -> bytes | None:
        """Change it."""


def target(name: str) -> Target:
    return cast("Target", importlib.import_module(f"tests.fuzz.fuzz_{name}"))


def corpus(name: str) -> Iterator[Path]:
    yield from sorted((_CORPUS / name).iterdir())


@pytest.mark.parametrize("name", _NAMES)
def test_what_was_found_breaks_no_promise(name: str) -> None:
    """Every input of the corpus is read, or refused in one line."""
    for path in corpus(name):
        try:
            target(name).check(path.read_bytes())
        except Exception as error:
            raise AssertionError(f"{path}: {error!r}") from error


@pytest.mark.parametrize("name", _NAMES)
def test_what_is_near_it_breaks_none_either(name: str) -> None:
    """The same for changes of every input as the fuzzer makes them: a glimpse of it, without the fuzzer."""
    chance = random.Random(name)
    inputs = [path.read_bytes() for path in corpus(name)]
    made = [target(name).mutate(data, chance.getrandbits(32)) for data in inputs for _ in range(20)]
    for data in filter(None, made):
        target(name).check(data)
    assert sum(data is not None for data in made) > 10 * len(inputs) / 2


def test_the_corpora_are_small() -> None:
    """A few hundred kilobytes, each input within what the fuzzers make themselves."""
    files = [path for name in _NAMES for path in corpus(name)]
    assert len(files) <= _FILES
    assert sum(path.stat().st_size for path in files) <= _BYTES
    assert all(path.stat().st_size <= target(name).LARGEST for name in _NAMES for path in corpus(name))
