"""Run the fuzzers on their corpora: inputs worth keeping, and every input that once failed."""

from __future__ import annotations

import importlib
import random
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

_CORPUS = Path(__file__).parent / "corpus"
_NAMES = ("manifest", "chunk", "archive", "layer")
_FILES, _BYTES = 200, 500 << 10  # of all corpora together, so that a clone stays small


class Target(Protocol):
    """The interface of a fuzzer's module."""

    LARGEST: int

    def check(self, data: bytes) -> None:
        """Fail if the reader breaks one of its guarantees."""

    def mutate(self, data: bytes, seed: int) -> bytes | None:
        """Return a changed input, or None."""


def target(name: str) -> Target:
    return cast("Target", importlib.import_module(f"tests.fuzz.fuzz_{name}"))


def corpus(name: str) -> Iterator[Path]:
    yield from sorted((_CORPUS / name).iterdir())


@pytest.mark.parametrize("name", _NAMES)
def test_corpus_breaks_no_guarantee(name: str) -> None:
    """Every input of the corpus is read, or rejected in one line."""
    for path in corpus(name):
        try:
            target(name).check(path.read_bytes())
        except Exception as error:
            raise AssertionError(f"{path}: {error!r}") from error


@pytest.mark.parametrize("name", _NAMES)
def test_mutations_of_corpus_break_no_guarantee(name: str) -> None:
    """Run the mutations of the fuzzer on every input, without the fuzzer."""
    chance = random.Random(name)
    inputs = [path.read_bytes() for path in corpus(name)]
    made = [target(name).mutate(data, chance.getrandbits(32)) for data in inputs for _ in range(20)]
    for data in filter(None, made):
        target(name).check(data)
    assert sum(data is not None for data in made) > 10 * len(inputs) / 2


def test_corpora_are_small() -> None:
    """The corpora have a few hundred kilobytes, and each input is at most as large as those of the fuzzers."""
    files = [path for name in _NAMES for path in corpus(name)]
    assert len(files) <= _FILES
    assert sum(path.stat().st_size for path in files) <= _BYTES
    assert all(path.stat().st_size <= target(name).LARGEST for name in _NAMES for path in corpus(name))
