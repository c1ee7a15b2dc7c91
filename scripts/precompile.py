"""Compile every module that the program can import, including Python's own, to the directory of `-X pycache_prefix`.

Public Python images contain no compiled modules, and the root of an init container is read-only. Without this, each
start would compile them, which takes half a second with nothing to do and two seconds with work. The files contain no
time and are never compared with their source, so the same sources give the same bytes.
"""

from __future__ import annotations

import ast
import collections
import py_compile
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import TYPE_CHECKING

import models_init

if TYPE_CHECKING:
    from collections.abc import Iterator

_LAZY = ("concurrent.futures.thread", "encodings.ascii", "encodings.idna", "encodings.latin_1", "encodings.utf_16_be")
"""Modules that Python imports only when they are needed."""


def main() -> None:
    """Compile the program, its dependencies, and the modules of the standard library that they import."""
    for name in (*_LAZY, *sorted(_named())):
        with suppress(ImportError):  # a name in a module rather than a module
            import_module(name)
    imported = {file for module in list(sys.modules.values()) if (file := getattr(module, "__file__", None))}
    imported |= {str(path) for path in Path(sys.prefix).rglob("*.py")}
    imported.add(collections.__file__.replace("__init__", "abc"))  # its `__file__` is that of another module
    for source in sorted(source for source in imported if source.endswith(".py") and source != __file__):
        py_compile.compile(source, doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)


def _named() -> Iterator[str]:
    """Yield the name of every module of the package and of all their imports, including those inside functions."""
    for module in walk_packages(models_init.__path__, "models_init."):
        yield module.name
        source = getattr(import_module(module.name), "__file__", None)
        if source and not module.name.endswith("__main__"):
            yield from _imports(ast.parse(Path(source).read_bytes()))


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


if __name__ == "__main__":
    main()
