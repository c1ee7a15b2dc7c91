"""The lists of messages in docs/troubleshooting.md, which scripts/troubleshooting generates from the code."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from models_init.core import errors

if TYPE_CHECKING:
    from types import ModuleType

_ROOT = Path(__file__).parents[1]


@pytest.fixture
def generator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module behind the script, for a package in `tmp_path` that has the error classes and nothing else."""
    spec = importlib.util.spec_from_file_location("troubleshooting", _ROOT / "scripts/troubleshooting.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "troubleshooting", module)  # dataclasses look up their module there
    spec.loader.exec_module(module)
    (tmp_path / "errors.py").write_text((_ROOT / "models_init/core/errors.py").read_text())
    monkeypatch.setattr(module, "_PACKAGE", tmp_path)
    return module


def _texts(generator: ModuleType, directory: Path, source: str) -> set[tuple[str, str]]:
    """Return list and text of each message in a module with this source."""
    (directory / "example.py").write_text(source)
    modules = map(generator.Module, directory.glob("*.py"))
    return {(message.group, message.text) for message in generator.Reader(modules).messages()}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('raise NotFoundError(f"no pack {ref.name}")', ("21", "no pack <name>")),
        ('def f(e):\n    return NoSpaceError(f"{e.strerror}: " + "make room") ', ("41", "<reason>: make room")),
        ('class Own(AccessError):\n    pass\n\nraise Own("the token expired")', ("22", "the token expired")),
        ('_WHY = "it is empty"\nraise ManifestError(f"bad: {_WHY}")', ("10", "bad: it is empty")),
        (
            'def f(a):\n    why = f"{a} failed"\n    raise VolumeError(f"{why}; run again")',
            ("40", "<a> failed; run again"),
        ),
        ('def f(a):\n    error = SourceError if a else AccessError\n    raise error("not now")', ("20", "not now")),
        ('def f(a):\n    error = SourceError if a else AccessError\n    raise error("not now")', ("22", "not now")),
        ('raise UsageError("gone" + (" and more" if n else ""))', ("2", "gone[ and more]")),
        ("raise SourceError(f\"{'one' if n else 'both'} lost\")", ("20", "(one or both) lost")),
        ('raise DamagedError(why())\ndef why():\n    return f"it differs at {place}"', ("45", "it differs at <place>")),
        ('raise ValueError("is not a size")', ("reasons", "is not a size")),
        ('TABLE = {"A": "is missing there"}', ("reasons", "is missing there")),
        ('observer.event("waiting", level="warning", holder=1)', ("events", "warning waiting holder=…")),
    ],
)
def test_message_is_listed_by_exit_code(
    generator: ModuleType, tmp_path: Path, source: str, expected: tuple[str, str]
) -> None:
    assert expected in _texts(generator, tmp_path, source)


@pytest.mark.parametrize("source", ['"""Not a message."""', 'parser.add_argument("--a", help="not a message")'])
def test_docstring_and_help_are_not_listed(generator: ModuleType, tmp_path: Path, source: str) -> None:
    (tmp_path / "errors.py").unlink()
    assert not _texts(generator, tmp_path, source)


def test_page_has_a_list_for_every_error_class() -> None:
    page = (_ROOT / "docs/troubleshooting.md").read_text()
    listed = set(re.findall(r"<!-- messages (\d+):", page))
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    codes = {str(each.exit_code) for each in classes if issubclass(each, errors.ModelsInitError)}
    assert listed == codes - {str(errors.EXIT_BUG)}
