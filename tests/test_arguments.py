"""The command line: help, mistakes, log levels, manual page and shell completions."""

from __future__ import annotations

import subprocess
import sys

import pytest

from models_init.cli.arguments import FORMATS, build_parser, parse
from models_init.cli.commands.generate import run as generate
from models_init.cli.settings import SETTINGS, load
from models_init.core.errors import UsageError
from tests import services


def generated(form: str) -> str:
    return generate(parse(["--generate", form], {}), load({}, with_packs=False)).text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["help"], "unknown argument 'help'; did you mean --help?"),
        (["version"], "unknown argument 'version'; did you mean --version?"),
        (["status"], "unknown argument 'status'; did you mean --status?"),
        (["install"], "unknown argument 'install'; run models-init without an action to install"),
        (["--rolback"], "unknown argument '--rolback'; did you mean --rollback?"),
        (["--langauges=nl-nl"], "unknown argument '--langauges=nl-nl'; did you mean --languages?"),
        (["--xyzzy"], "unknown argument '--xyzzy'; see --help"),
        (["--plan", "nl\u2011nl"], r"unknown argument 'nl\u2011nl'; see --help"),
        (
            ["--wait", "soon"],
            "argument --wait: 'soon' is not a whole number of seconds from 0 to 604800; see --help",
        ),
        (["--wait", "-1"], "argument --wait: '-1' is not a whole number of seconds from 0 to 604800; see --help"),
        (["--rollback", ""], "argument --rollback: the name is empty; see --help"),
        (["--hold", "", "--", "asr-server"], "argument --hold: the name is empty; see --help"),
        (["--activate="], "argument --activate: the name is empty; see --help"),
        (["--receipt", ""], "argument --receipt: the name is empty; see --help"),
        (["--stage", "--wait"], "argument --wait: not allowed with argument --stage; see --help"),
        (["--keep", "3"], "--keep and --dry-run belong to --prune; see --help"),
        (["--status", "--dry-run"], "--keep and --dry-run belong to --prune; see --help"),
    ],
)
def test_mistake_is_reported_with_a_suggestion(arguments: list[str], message: str) -> None:
    """The message names the argument, and the one that was probably meant."""
    with pytest.raises(UsageError) as raised:
        parse(arguments, {})
    assert str(raised.value) == message


def test_program_of_hold_keeps_its_own_flags() -> None:
    """Everything after `--` belongs to the program."""
    assert parse(["--hold", "current", "--", "asr-server", "--port", "1"], {}).program == ("asr-server", "--port", "1")


@pytest.mark.parametrize(
    ("arguments", "action", "release", "program"),
    [
        (["--hold"], "hold", "", ()),
        (["--hold", "--", "asr-server"], "hold", "", ("asr-server",)),
        (["--hold", "current"], "hold", "current", ()),
        (["--wait"], "wait", "7200", ()),
        (["--wait", "0"], "wait", "0", ()),
        (["--stage"], "stage", "", ()),
    ],
)
def test_optional_value_of_an_action(arguments: list[str], action: str, release: str, program: tuple[str, ...]) -> None:
    command = parse(arguments, {})
    assert (command.action, command.release, command.program) == (action, release, program)


@pytest.mark.parametrize(
    ("arguments", "level"),
    [
        ([], "error"),
        (["-q"], "warning"),
        (["--quiet"], "warning"),
        (["-v"], "debug"),
        (["-q", "--verbose"], "debug"),
        (["-q", "--log-level", "info"], "info"),
    ],
)
def test_quiet_and_verbose_set_the_log_level(arguments: list[str], level: str) -> None:
    """The last flag takes precedence, and any flag over the environment."""
    values = parse(arguments, {"MODELS_LOG_LEVEL": "error"}).values
    assert values["MODELS_LOG_LEVEL"] == level


def test_help_fits_in_80_columns() -> None:
    """The help begins with a short usage, and has an example, the exit codes, all settings and a link to the docs."""
    text = build_parser().format_help()
    assert [line for line in text.splitlines() if len(line) > 79] == []
    assert text.startswith("usage: models-init [ACTION] [--json] [-q | -v] [SETTING ...]\n\n")
    for part in ("example:", "exit codes:", "docs/operations.md", *(setting.variable for setting in SETTINGS)):
        assert part in text


@pytest.mark.parametrize("form", FORMATS)
def test_generated_text_has_every_flag(form: str) -> None:
    """The manual page and the completions are generated from the declarations of the parser."""
    text = generated(form)
    flags = [flag for action in build_parser()._actions for flag in action.option_strings]  # noqa: SLF001 - of argparse
    written = {"man": r"\-\-{}", "fish": "-l {} "}.get(form, "--{}")
    missing = [flag for flag in flags if flag[:2] == "--" and written.format(_roff(form, flag[2:])) not in text]
    assert missing == []


def _roff(form: str, text: str) -> str:
    return text.replace("-", r"\-") if form == "man" else text


@pytest.mark.parametrize(
    ("form", "command"),
    [
        ("man", ["groff", "-man", "-Tascii", "-ww", "-z"]),
        ("bash", ["bash", "-n"]),
        ("zsh", ["zsh", "-n"]),
        ("fish", ["fish", "-n"]),
    ],
)
def test_generated_text_is_valid(form: str, command: list[str]) -> None:
    """Each shell accepts its completion, and groff formats the manual page without a warning."""
    services.require_tool(command[0])
    done = subprocess.run(command, input=generated(form), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("flag", ["wait", "hold", "rollback"])
def test_completions_do_not_require_an_optional_value(flag: str) -> None:
    assert f"-l {flag} -d" in generated("fish")
    (line,) = (line for line in generated("zsh").splitlines() if f"'--{flag}[" in line)
    assert "]::" in line


def test_bash_completes_a_flag() -> None:
    """`models-init --rol<TAB>` completes to the action."""
    script = f"{generated('bash')}\nCOMP_WORDS=(models-init --rol); COMP_CWORD=1; _models_init; echo ${{COMPREPLY[@]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "--rollback\n"


def test_generated_text_is_printed_as_it_is() -> None:
    """The log format JSON does not change a generated file."""
    command = [sys.executable, "-m", "models_init", "--generate", "bash", "--log-format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"{generated('bash')}\n"
