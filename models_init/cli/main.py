"""Run the action of a command line and return its exit code."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

from models_init.cli import arguments
from models_init.cli.licenses import require_licenses
from models_init.cli.settings import Settings, load, read
from models_init.cli.up_to_date import nothing_to_do
from models_init.core.redaction import register
from models_init.core.signals import StoppedError, raise_on_signals
from models_init.output import console

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from models_init.cli.arguments import Command
    from models_init.cli.result import Result


def main(argv: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run one action; return one of the exit codes that `--help` lists."""
    raise_on_signals()
    os.umask(0o022)  # file modes must not depend on the shell's umask
    for variable in ("MODELS_SAS_TOKEN", "MODELS_REGISTRY_PASSWORD"):
        register(environment.get(variable, ""))
    facts: dict[str, object]
    log_format, level = environment.get("MODELS_LOG_FORMAT", "text"), environment.get("MODELS_LOG_LEVEL", "info")
    termination_log = environment.get("MODELS_TERMINATION_LOG", "")
    try:
        command = arguments.parse(argv, environment)
        settings = (read if command.action == "check" else load)(command.values, with_packs=_names_packs(command))
        log_format, level, termination_log = settings.log_format, settings.log_level, settings.termination_log
        result = _act(command, settings)
        if command.as_json and (refused := result.content.get("rolled_back_from")):  # the text says so itself
            facts = {"stays": result.content["release"], "not": refused, "text": result.text}
            console.note("rolled_back", facts, log_format=log_format, level=level)
        for text in result.warnings:
            console.note("license", {"level": "warning", "text": text}, log_format=log_format, level=level)
        console.result(result.content if command.as_json else result.text, as_json=command.as_json)
        return result.exit_code
    except StoppedError as stopped:
        facts = {"signal": str(stopped), "text": "what was verified is kept; run again to go on"}
        console.note("stopped", facts, log_format=log_format, level=level)
        return stopped.exit_code
    except Exception as error:  # noqa: BLE001 - the outermost level: any unexpected error is reported as a bug
        console.write_termination_log(error, termination_log)
        return console.fault(error, log_format=log_format, level=level)


def _names_packs(command: Command) -> bool:
    """Return True if the environment must name packs; optional for pruning."""
    if command.action == "prune":
        return any(command.values.get(variable) for variable in ("REALTIME_LANGUAGES", "REALTIME_LANGUAGE"))
    return command.action in {"install", "plan", "check", "render_overlay"}


class _Action(Protocol):
    """The interface of a module in `commands`."""

    def run(self, command: Command, settings: Settings) -> Result:
        """Run the action and return its result."""


def _act(command: Command, settings: Settings) -> Result:
    """Run the module of the action; it is imported only here because a run with nothing to do needs none."""
    if command.action == "install":
        require_licenses(settings)
        if done := nothing_to_do(settings):
            return done
    action = cast("_Action", import_module(f"models_init.cli.commands.{command.action}"))
    return action.run(command, settings)
