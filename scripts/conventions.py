"""Check names and docstrings of the package, the tests and the scripts; print a line for each violation.

- No public class name occurs in two modules of the package, or in two of the tests.
- No docstring begins with a clause such as "What is here": it says what something is or does.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOT = Path(__file__).parents[1]
_CLAUSE = re.compile(r"(What|Whether|Where|When|Who|Whoever|Whatever|Which)\b")

Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def nodes(directory: str) -> Iterator[tuple[str, Documented]]:
    """Yield each module, class and function below the directory with its place."""
    for path in sorted((_ROOT / directory).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, Documented):
                yield f"{path.relative_to(_ROOT)}:{getattr(node, 'lineno', 1)}", node


def repeated_names(directory: str) -> Iterator[str]:
    """Yield a line for each public class name that occurs twice."""
    places = defaultdict(list)
    for place, node in nodes(directory):
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            places[node.name].append(place)
    yield from (f"{' and '.join(found)}: both name a class {name}" for name, found in places.items() if len(found) > 1)


def clauses(directory: str) -> Iterator[str]:
    """Yield a line for each docstring that begins with a clause."""
    for place, node in nodes(directory):
        text = ast.get_docstring(node) or ""
        if _CLAUSE.match(text):
            yield f"{place}: say what it is or does: {text.splitlines()[0]}"


def main() -> int:
    """Return 1 if there is a violation."""
    faults = [*repeated_names("models_init"), *repeated_names("tests")]
    for directory in ("models_init", "tests", "scripts"):
        faults += clauses(directory)
    print("\n".join(faults), file=sys.stderr)
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
