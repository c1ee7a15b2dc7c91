"""Print every message of the package by exit code, write the lists into docs/troubleshooting.md, or check them.

python scripts/troubleshooting.py [--write | --check]     scripts/troubleshooting calls it

The code is parsed, not run. A text is part of a list for one of these reasons:

- It is the text of an error of models_init/core/errors.py or of a subclass: in the list of its exit code.
- It is the name of a log event: in the list of log events.
- It is a text of the license checks, a failure or a warning: in the list of exit code 23.
- It is any other text of at least two words that is not a docstring or help: a reason inserted into a message, a
  finding of `--check` or a result. Therefore no message is missing, however it reaches the user.

`<name>` stands for a value that the program inserts, `[text]` for text that is not always present.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_ROOT = Path(__file__).parents[1]
_PACKAGE = _ROOT / "models_init"
_PAGE = _ROOT / "docs/troubleshooting.md"
_BEGIN = re.compile(r"<!-- messages (\S+): written by scripts/troubleshooting --write -->\n")
_END = "<!-- /messages -->\n"

_PROSE = re.compile(r"[A-Za-z']+,? [A-Za-z']*[a-z]{2,}")
_PLACEHOLDER = re.compile(r"<[^<>]*>")

_HELP_CALLS = {
    "Field",
    "_PackParser",
    "_Parser",
    "_add_file",
    "_add_release",
    "_add_switch",
    "_setting",
    "add_argument_group",
    "add_parser",
    "compile",
}
_HELP_KEYWORDS = {"description", "epilog", "help", "metavar", "title", "usage", "version"}
_RESULT_MODULES = re.compile(r"output/|cli/(commands/|result|up_to_date)|publish/cli/")
_CHECK_MODULES = re.compile(r"install/(check_report|preflight|volume_checks)")
_LICENSE_MODULES = re.compile(r"install/license_checks|formats/license")

_NAMES = {"geteuid": "user id", "strerror": "reason"}
"""Placeholders for expressions whose names mean nothing to a reader."""


@dataclass(frozen=True, order=True)
class Message:
    """A text with placeholders, the list that it belongs to, and the module that contains it."""

    group: str
    module: str
    text: str


class Module:
    """One module of the package, as a syntax tree."""

    def __init__(self, path: Path) -> None:
        self.name = path.relative_to(_PACKAGE).with_suffix("").as_posix()
        self.tree = ast.parse(path.read_text())
        self.parents = {child: node for node in ast.walk(self.tree) for child in ast.iter_child_nodes(node)}

    @cached_property
    def constants(self) -> dict[str, ast.expr]:
        """The module's variables and their values."""
        return dict(_assigned(self.tree.body))

    def function_of(self, node: ast.AST) -> ast.AST:
        """Return the function that contains the node, or the whole module."""
        while not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Module):
            node = self.parents[node]
        return node

    def locals_of(self, node: ast.AST) -> dict[str, ast.expr]:
        """Return the variables of the node's function that have one value only."""
        function = self.function_of(node)
        if isinstance(function, ast.Module):
            return {}
        values = defaultdict(list)
        for name, value in _assigned(ast.walk(function)):
            values[name].append(value)
        return {name: found[0] for name, found in values.items() if len(found) == 1}

    def returned_by(self, name: str) -> list[ast.expr]:
        """Return the texts that the module's functions of this name return."""
        return [
            node.value
            for node in ast.walk(self.tree)
            if isinstance(node, ast.Return) and isinstance(node.value, ast.JoinedStr | ast.Constant | ast.BinOp)
            if getattr(self.function_of(node), "name", "") == name
        ]


def _assigned(nodes: Iterable[ast.AST]) -> Iterator[tuple[str, ast.expr]]:
    for node in nodes:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            yield node.targets[0].id, node.value
        elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and isinstance(node.target, ast.Name) and node.value:
            yield node.target.id, node.value


class Reader:
    """Collects the messages of all modules."""

    def __init__(self, modules: Iterable[Module]) -> None:
        self._modules = sorted(modules, key=lambda module: module.name)
        self._codes = _exit_codes(self._modules)
        self._constants = {
            name: value
            for module in self._modules
            for name, value in module.constants.items()
            if isinstance(value, ast.Constant)
        }

    def messages(self) -> Iterator[Message]:
        """Yield the messages of all modules."""
        for module in self._modules:
            used: set[ast.AST] = set()
            yield from self._errors(module, used)
            yield from _events(module)
            yield from self._others(module, used)

    def _errors(self, module: Module, used: set[ast.AST]) -> Iterator[Message]:
        """Yield the texts of error classes, and add the nodes that they consist of to `used`."""
        for call in ast.walk(module.tree):
            if not isinstance(call, ast.Call) or not (codes := self._codes_of(module, call)):
                continue
            for text in self._texts(call, module, used):
                yield from (Message(code, module.name, text) for code in codes if _is_prose(text))

    def _texts(self, call: ast.Call, module: Module, used: set[ast.AST]) -> list[str]:
        """Return the text of an error; several if a function of the same module returns it."""
        if len(call.args) == 1 and isinstance(call.args[0], ast.Call):
            returned = module.returned_by(_name(call.args[0].func))
            if texts := [self._text(value, module, used) for value in returned]:
                return texts
        return ["; ".join(self._text(argument, module, used) for argument in call.args)]

    def _codes_of(self, module: Module, call: ast.Call) -> set[str]:
        """Return the exit codes of the error classes that the call may create; empty for other calls."""
        target: ast.expr = call.func
        if isinstance(target, ast.Name) and target.id not in self._codes:
            target = module.locals_of(call).get(target.id, target)
        if isinstance(target, ast.Call):
            return set()
        names = {node.id for node in ast.walk(target) if isinstance(node, ast.Name)}
        return {self._codes[name] for name in names if name in self._codes}

    def _others(self, module: Module, used: set[ast.AST]) -> Iterator[Message]:
        """Yield all other texts of at least two words that are not docstrings or help."""
        group = "results" if _RESULT_MODULES.match(module.name) else "reasons"
        group = "check" if _CHECK_MODULES.match(module.name) else group
        group = "23" if _LICENSE_MODULES.match(module.name) else group
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Constant | ast.JoinedStr) and node not in used and not _is_help(module, node):
                text = self._text(node, module, used)
                if _is_prose(text):
                    yield Message(group, module.name, text)

    def _text(self, node: ast.expr, module: Module, used: set[ast.AST]) -> str:
        """Return the message text of an expression, with placeholders."""
        used.add(node)
        match node:
            case ast.Constant(value=str(text)):
                return text
            case ast.JoinedStr(values=values):
                return "".join(self._text(value, module, used) for value in values)
            case ast.FormattedValue(value=value):
                return self._text(value, module, used)
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return self._text(left, module, used) + self._text(right, module, used)
            case ast.IfExp(body=body, orelse=other):
                return _either(self._text(body, module, used), self._text(other, module, used))
            case ast.Name(id=name):
                return self._variable(node, name, module, used)
            case ast.Call(func=ast.Attribute(attr="rstrip" | "strip" | "format", value=value)):
                return self._text(value, module, used)
        return _placeholder(node)

    def _variable(self, node: ast.expr, name: str, module: Module, used: set[ast.AST]) -> str:
        """Return the text of a variable whose value is known from the code, or a placeholder."""
        value = module.locals_of(node).get(name) or module.constants.get(name) or self._constants.get(name)
        if isinstance(value, ast.Constant | ast.JoinedStr):
            return self._text(value, module, used) or _placeholder(node)
        return _placeholder(node)


def _exit_codes(modules: Iterable[Module]) -> dict[str, str]:
    """Return the exit code of each error class by name."""
    classes = {node.name: node for module in modules for node in module.tree.body if isinstance(node, ast.ClassDef)}
    codes: dict[str, str] = {}
    for _ in classes:  # there are at most this many levels of inheritance
        for name, node in classes.items():
            own = dict(_assigned(node.body)).get("exit_code")
            inherited = [codes[base.id] for base in node.bases if isinstance(base, ast.Name) and base.id in codes]
            if isinstance(own, ast.Constant):
                codes[name] = str(own.value)
            elif inherited:
                codes.setdefault(name, inherited[0])
    return codes


def _events(module: Module) -> Iterator[Message]:
    """Yield the log events: name, level and facts."""
    for call in ast.walk(module.tree):
        match call:
            case ast.Call(func=ast.Attribute(attr="event" | "note"), args=[ast.Constant(value=str(name)), *others]):
                facts = _facts(call, others)
                level = facts.pop("level", None)
                shown = str(level.value) if isinstance(level, ast.Constant) else "info"
                yield Message("events", module.name, " ".join([shown, name, *(f"{fact}=…" for fact in facts)]))


def _facts(call: ast.Call, others: list[ast.expr]) -> dict[str, ast.expr]:
    """Return the facts of an event: the keywords, or the dictionary that follows the name."""
    for other in others:
        if isinstance(other, ast.Dict):
            pairs = zip(other.keys, other.values, strict=True)
            return {str(key.value): value for key, value in pairs if isinstance(key, ast.Constant)}
    return {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}


def _is_help(module: Module, node: ast.AST) -> bool:
    """Return True for a docstring, the help of an option, or a part of another text."""
    parent = module.parents[node]
    while not isinstance(parent, ast.stmt):
        if isinstance(parent, ast.JoinedStr):
            return True
        if isinstance(parent, ast.keyword) and parent.arg in _HELP_KEYWORDS:
            return True
        if isinstance(parent, ast.Call) and _name(parent.func) in _HELP_CALLS:
            return True
        parent = module.parents[parent]
    return (isinstance(parent, ast.Expr) and parent.value is node) or (
        isinstance(parent, ast.Assign) and _name(parent.targets[0]) == "HELP"
    )


def _is_prose(text: str) -> bool:
    if "\n" in text:  # a template of a file or the epilog of the help
        return False
    return bool(_PROSE.search(_PLACEHOLDER.sub("", text))) or ("<" in text and "; " in text)


def _either(one: str, other: str) -> str:
    if one and other:
        return f"({one} or {other})"
    return f"[{one or other}]"


def _placeholder(node: ast.expr) -> str:
    name = _name(node).strip("_")
    return f"<{_NAMES.get(name, name.replace('_', ' '))}>"


def _name(node: ast.expr) -> str:
    """Return the most descriptive name in an expression."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Call(args=[first, *_]):
            return _name(first)
        case ast.BinOp(left=first) | ast.BoolOp(values=[first, *_]) | ast.IfExp(body=first):
            return _name(first)
        case ast.Call(func=inner) | ast.Subscript(value=inner) | ast.Await(value=inner) | ast.Starred(value=inner):
            return _name(inner)
    return "value"


def _tables(messages: Iterable[Message]) -> dict[str, str]:
    """Return the table of each group, in the order of the modules' names."""
    rows = defaultdict(list)
    for message in sorted(set(messages)):
        text = " ".join(message.text.split()).replace("|", "\\|").replace("`", "'")
        rows[message.group].append(f"| `{text}` | {message.module} |\n")
    return {group: f"| text | module |\n| --- | --- |\n{''.join(found)}" for group, found in rows.items()}


def _filled(page: str, tables: Mapping[str, str]) -> str:
    """Return the page with fresh lists; each list must have a section in the page, and each section a list."""
    head, *sections = _BEGIN.split(page)
    groups = sections[::2]
    if lost := {*tables} ^ {*groups}:
        raise SystemExit(
            f"{_PAGE} and the code differ in the lists {', '.join(sorted(lost))}: add or remove the section"
        )
    parts = [head]
    for group, section in zip(groups, sections[1::2], strict=True):
        after = section.partition(_END)[2]
        parts.append(
            f"<!-- messages {group}: written by scripts/troubleshooting --write -->\n{tables[group]}{_END}{after}"
        )
    return "".join(parts)


def main() -> int:
    """Return 1 if `--check` finds outdated lists in the page."""
    parser = argparse.ArgumentParser(description="Print every message of the package by exit code.")
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--write", action="store_true", help="write the lists into docs/troubleshooting.md")
    group.add_argument("--check", action="store_true", help="fail if docs/troubleshooting.md has other lists")
    options = parser.parse_args()
    tables = _tables(Reader(map(Module, _PACKAGE.rglob("*.py"))).messages())
    if not options.write and not options.check:
        for name, text in tables.items():
            print(f"{name}\n\n{text}")
        return 0
    page = _PAGE.read_text()
    fresh = _filled(page, tables)
    if options.write:
        _PAGE.write_text(fresh)
    elif page != fresh:
        print("the messages have changed: run scripts/troubleshooting --write", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
