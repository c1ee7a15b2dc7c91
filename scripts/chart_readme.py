"""Print the table of the Helm chart's values for its README.md, write it there, or check it.

python scripts/chart_readme.py [--write | --check]     scripts/chart-readme calls it

Every value of values.yaml has a comment that begins with `# --`. If a mapping has such a comment, it is one value;
otherwise the table lists the values in it.
"""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHART = Path(__file__).parents[1] / "deploy/helm/realtime-asr"
_BEGIN = "<!-- values: written by scripts/chart-readme --write -->\n"
_END = "<!-- /values -->\n"
_KEY = re.compile(r"(?P<indent> *)(?P<name>[\w-]+):(?: +(?P<default>.+))?")


@dataclass
class Value:
    """A key of values.yaml: its path, its default as written, its comment, and the lines of the block below it."""

    path: str
    default: str
    comment: str
    block: list[str] = field(default_factory=list)

    def row(self) -> str:
        """Return the row of the table."""
        default = self.default or f"{{{', '.join(self.block)}}}"
        return f"| `{self.path}` | `{default}` | {self.comment} |\n".replace("||", "\\|\\|")


def values(text: str) -> Iterator[Value]:
    """Yield the values with a comment, in order. Raises `SystemExit` for a value without one."""
    parents: list[str] = []
    comment: list[str] = []
    documented: Value | None = None
    depth = 0
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("#"):
            comment = _extended(comment, stripped.removeprefix("#").strip())
            continue
        key = _KEY.fullmatch(line)
        if not key:
            comment = []
            continue
        level = len(key["indent"]) // 2
        if documented and level > depth:
            documented.block.append(stripped)
            continue
        if documented:
            yield documented
        parents = [*parents[:level], key["name"]]
        path = ".".join(parents)
        documented = Value(path, key["default"] or "", " ".join(comment)) if comment else None
        if not comment and key["default"]:
            raise SystemExit(f"values.yaml: {path} has no comment that begins with `# --`")
        depth, comment = level, []
    if documented:
        yield documented


def _extended(comment: list[str], text: str) -> list[str]:
    """Return the comment with one more line; lines before `--` are not part of it."""
    if text.startswith("-- "):
        return [text.removeprefix("-- ")]
    return [*comment, text] if comment else []


def _with_table(page: str) -> str:
    before, begin, rest = page.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise SystemExit(f"README.md lacks the line {_BEGIN if not begin else _END}")
    return f"{before}{begin}{_table()}{end}{after}"


def _table() -> str:
    rows = (value.row() for value in values((_CHART / "values.yaml").read_text()))
    return "| value | default | meaning |\n| --- | --- | --- |\n" + "".join(rows)


def main() -> int:
    """Return 1 if `--check` finds an outdated table in the README."""
    parser = argparse.ArgumentParser(description="Print the table of the chart's values.")
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--write", action="store_true", help="write it into the chart's README.md")
    group.add_argument("--check", action="store_true", help="fail if the README.md has another")
    options = parser.parse_args()
    readme = _CHART / "README.md"
    page = readme.read_text()
    fresh = _with_table(page)
    if options.write:
        readme.write_text(fresh)
    elif not options.check:
        print(_table(), end="")
    elif page != fresh:
        print("the chart's values have changed: run scripts/chart-readme --write", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
