"""`--generate`: print the manual page or a shell completion, generated from the declarations of the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models_init import __version__
from models_init.cli.arguments import build_parser
from models_init.cli.result import Result

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from models_init.cli.arguments import Command
    from models_init.cli.settings import Settings


def run(command: Command, _settings: Settings) -> Result:
    """Print the manual page or a completion."""
    parser = build_parser()
    options = [action for action in parser._actions if action.option_strings]  # noqa: SLF001 - no public list
    text = {"man": _man_page, "bash": _bash, "zsh": _zsh, "fish": _fish}[command.release](parser, options)
    return Result({"format": command.release, "text": text}, text, is_document=True)


def _man_page(parser: argparse.ArgumentParser, options: list[argparse.Action]) -> str:
    """Return a page in the format of man(7)."""
    lines = [
        f'.TH MODELS-INIT 1 "" "models-init {__version__}"',
        ".SH NAME",
        r"models-init \- install versioned speech model packs on a volume",
        ".SH SYNOPSIS",
        _roff(parser.usage or ""),
        ".SH DESCRIPTION",
        _roff(parser.description or ""),
        ".SH OPTIONS",
    ]
    for option in options:
        lines += [
            ".TP",
            rf"\fB{_roff(', '.join(option.option_strings))}\fR {_roff(_value(option))}",
            _roff(_help(option)),
        ]
    return "\n".join([*lines, ".SH EXAMPLE, EXIT CODES, DOCUMENTATION", ".nf", _roff(parser.epilog or ""), ".fi"])


def _bash(_parser: argparse.ArgumentParser, options: list[argparse.Action]) -> str:
    flags = " ".join(flag for option in options for flag in option.option_strings)
    return f"""\
_models_init() {{
    case "${{COMP_WORDS[COMP_CWORD]}}" in
        -*) mapfile -t COMPREPLY < <(compgen -W "{flags}" -- "${{COMP_WORDS[COMP_CWORD]}}") ;;
        *) mapfile -t COMPREPLY < <(compgen -f -- "${{COMP_WORDS[COMP_CWORD]}}") ;;
    esac
}}
complete -o filenames -F _models_init models-init"""


def _zsh(_parser: argparse.ArgumentParser, options: list[argparse.Action]) -> str:
    lines = []
    for option in options:
        separator = "::" if _is_optional(option) else ":"
        argument = f"{separator}{option.metavar or 'value'}:_files" if _value(option) else ""
        lines += [f"    '{flag}[{_zsh_text(_help(option))}]{argument}'" for flag in option.option_strings]
    return "\n".join(["#compdef models-init", "_arguments \\", " \\\n".join(lines)])


def _fish(_parser: argparse.ArgumentParser, options: list[argparse.Action]) -> str:
    return "\n".join(_fish_lines(options))


def _fish_lines(options: list[argparse.Action]) -> Iterator[str]:
    for option in options:
        flags = " ".join(f"-l {flag[2:]}" if flag[:2] == "--" else f"-s {flag[1:]}" for flag in option.option_strings)
        text = _help(option).replace("\\", r"\\").replace("'", r"\'")
        required = " -r" if _value(option) and not _is_optional(option) else ""
        yield f"complete -c models-init {flags}{required} -d '{text}'"


def _is_optional(option: argparse.Action) -> bool:
    """Return True if the value of the option is optional."""
    return option.nargs == "?"


def _value(option: argparse.Action) -> str:
    """Return the placeholder of an option's value, or an empty string."""
    if option.nargs == 0:
        return ""
    return f"[{option.metavar}]" if _is_optional(option) else str(option.metavar)


def _help(option: argparse.Action) -> str:
    return (option.help or "").replace("%%", "%")


def _zsh_text(text: str) -> str:
    return text.replace("[", "(").replace("]", ")").replace("'", "").replace(":", r"\:")


def _roff(text: str) -> str:
    """Escape text for roff: backslashes and hyphens, and lines that begin with a control character."""
    escaped = text.rstrip().replace("\\", r"\e").replace("-", r"\-")
    return "\n".join(rf"\&{line}" if line[:1] in {".", "'"} else line for line in escaped.split("\n"))
