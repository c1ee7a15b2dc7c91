"""Draw the packages as layers, in the order of the import contract in pyproject.toml, into docs/plots/architecture.svg.

python scripts/architecture.py [--check]     scripts/architecture calls it

Each layer shows the first paragraph of the package's docstring and its modules. Needs the standard library only.
"""

from __future__ import annotations

import argparse
import ast
import sys
import textwrap
import tomllib
from dataclasses import dataclass
from html import escape
from pathlib import Path

_ROOT = Path(__file__).parents[1]
_PACKAGE = "models_init"
_DIAGRAM = _ROOT / "docs/plots/architecture.svg"

_WIDTH, _MARGIN, _GAP = 960, 16, 8  # pixels, as all lengths below
_ARROW = 40  # width of the column with the arrow
_TEXT_X = 150  # where the text of a layer begins, from the left edge of its box
_LINE, _PADDING = 18, 10
_TEXT_LENGTH = 95  # characters that fit into a line of 13 pixels, also in a wide font such as DejaVu Sans

_STYLE = """
    svg { --back: #ffffff; --box: #eef3fa; --vendor: #f6efe2; --edge: #8aa0bd; --text: #1c2733; --faint: #52606d; }
    @media (prefers-color-scheme: dark) {
      svg { --back: #0d1117; --box: #1a2635; --vendor: #332a1a; --edge: #5b728f; --text: #e6edf3; --faint: #a3b1bf; }
    }
    .back { fill: var(--back); }
    .box { fill: var(--box); stroke: var(--edge); }
    .vendor { fill: var(--vendor); }
    .arrow { stroke: var(--edge); stroke-width: 2; fill: none; }
    .head { fill: var(--edge); }
    text { font: 13px system-ui, "Segoe UI", Helvetica, Arial, sans-serif; fill: var(--text); }
    .name { font: bold 15px ui-monospace, Menlo, Consolas, monospace; }
    .modules { font-size: 12px; fill: var(--faint); }
"""


@dataclass(frozen=True)
class Layer:
    """A package or module at the top level: its name, the first paragraph of its docstring, its modules."""

    name: str
    summary: list[str]
    modules: list[str]

    @property
    def height(self) -> int:
        """The height of its box in pixels."""
        return _LINE * (len(self.summary) + len(self.modules)) + 2 * _PADDING


def main() -> int:
    """Return 1 if `--check` finds the diagram stale."""
    parser = argparse.ArgumentParser(description="Draw the packages and their import order.")
    parser.add_argument("--check", action="store_true", help="fail if docs/plots/architecture.svg is stale")
    options = parser.parse_args()
    fresh = _drawn([_layer(name) for name in _layer_names()])
    if not options.check:
        _DIAGRAM.write_text(fresh)
    elif not _DIAGRAM.exists() or _DIAGRAM.read_text() != fresh:
        print(
            "packages, their docstrings or the import contract have changed: run scripts/architecture", file=sys.stderr
        )
        return 1
    return 0


def _layer_names() -> list[str]:
    """Return the layers of the contract for the whole program, top to bottom."""
    contracts = tomllib.loads((_ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    for contract in contracts:
        if contract["type"] == "layers" and contract["containers"] == [_PACKAGE]:
            return [name.strip() for layer in contract["layers"] for name in layer.split("|")]
    raise SystemExit(f"pyproject.toml has no contract of type layers for {_PACKAGE}")


def _layer(name: str) -> Layer:
    path = _ROOT / _PACKAGE / name
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    docstring = (ast.get_docstring(ast.parse(source.read_text())) or "").replace("`", "")
    modules = ", ".join(_modules(path)) if path.is_dir() else ""
    return Layer(
        name,
        textwrap.wrap(docstring.partition("\n\n")[0], _TEXT_LENGTH),
        textwrap.wrap(modules, _TEXT_LENGTH + 5),
    )


def _modules(package: Path) -> list[str]:
    """Return the names of modules and subpackages; the latter end with a slash."""
    modules = [path.stem for path in package.glob("*.py") if path.stem != "__init__"]
    subpackages = [f"{path.parent.name}/" for path in package.glob("*/__init__.py")]
    return sorted(modules) + sorted(subpackages)


def _drawn(layers: list[Layer]) -> str:
    height = 2 * _MARGIN + sum(layer.height for layer in layers) + _GAP * (len(layers) - 1)
    boxes, top = [], _MARGIN
    for layer in layers:
        boxes.append(_box(layer, top))
        top += layer.height + _GAP
    return "".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">\n',
            "  <!-- written by scripts/architecture -->\n",
            "  <title>Packages of models_init: each may import the ones below it, and no others</title>\n",
            f"  <style>{_STYLE}  </style>\n",
            f'  <rect class="back" width="{_WIDTH}" height="{height}"/>\n',
            *_arrow(height),
            *boxes,
            "</svg>\n",
        ]
    )


def _arrow(height: int) -> list[str]:
    """Return an arrow from top to bottom, left of the boxes: the direction of imports."""
    x, end = _MARGIN + _ARROW // 2, height - _MARGIN
    turned = f"translate({x - 8} {height // 2}) rotate(-90)"
    return [
        f'  <path class="arrow" d="M{x} {_MARGIN} V{end - 10}"/>\n',
        f'  <path class="head" d="M{x - 6} {end - 10} h12 l-6 10 z"/>\n',
        f'  <text transform="{turned}" text-anchor="middle">may import</text>\n',
    ]


def _box(layer: Layer, top: int) -> str:
    left = _MARGIN + _ARROW
    kind = "box vendor" if layer.name == "publish" else "box"
    width, baseline = _WIDTH - _MARGIN - left, top + _PADDING + 13
    lines = [
        f'  <rect class="{kind}" x="{left}" y="{top}" width="{width}" height="{layer.height}" rx="5"/>',
        f'  <text class="name" x="{left + 14}" y="{baseline}">{escape(layer.name)}</text>',
    ]
    for number, text in enumerate([*layer.summary, *layer.modules]):
        style = ' class="modules"' if number >= len(layer.summary) else ""
        lines.append(f'  <text{style} x="{left + _TEXT_X}" y="{baseline + number * _LINE}">{escape(text)}</text>')
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
