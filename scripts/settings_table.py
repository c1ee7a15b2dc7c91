"""Print the table of settings for docs/operations.md, write it there, or check it.

python scripts/settings_table.py [--write | --check]     scripts/settings-table calls it
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from models_init.cli.settings import SETTINGS, Setting

_PAGE = Path(__file__).parents[1] / "docs/operations.md"
_BEGIN = "<!-- settings: written by scripts/settings-table --write -->\n"
_END = "<!-- /settings -->\n"


def main() -> int:
    """Return 1 if `--check` finds an outdated table in the page."""
    parser = argparse.ArgumentParser(description="Print the table of settings.")
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--write", action="store_true", help="write it into docs/operations.md")
    group.add_argument("--check", action="store_true", help="fail if docs/operations.md has another")
    options = parser.parse_args()
    page = _PAGE.read_text()
    fresh = _with_table(page)
    if options.write:
        _PAGE.write_text(fresh)
    elif not options.check:
        print(_table(), end="")
    elif page != fresh:
        print("the settings have changed: run scripts/settings-table --write", file=sys.stderr)
        return 1
    return 0


def _with_table(page: str) -> str:
    before, begin, rest = page.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise SystemExit(f"{_PAGE} lacks the line {_BEGIN if not begin else _END}")
    return f"{before}{begin}{_table()}{end}{after}"


def _table() -> str:
    return "| variable | flag | default | meaning |\n| --- | --- | --- | --- |\n" + "".join(map(_row, SETTINGS))


def _row(setting: Setting) -> str:
    flag = f"`{setting.flag}`" if setting.flag else "none: `ps` would show it"
    default = f"`{setting.default}`" if setting.default else "not set"
    return f"| `{setting.variable}` | {flag} | {default} | {setting.help} |\n"


if __name__ == "__main__":
    sys.exit(main())
