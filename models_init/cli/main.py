"""From the command line to an exit code."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

from models_init.cli import actions, arguments
from models_init.cli.settings import Settings, load, read
from models_init.core.redaction import register
from models_init.core.signals import StoppedError, raise_on_signals, run
from models_init.output import console

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from models_init.cli.actions import Result
    from models_init.cli.arguments import Command
    from models_init.core.events import Watcher


_PLAIN = {"status": actions.status, "render_overlay": actions.render_overlay}
"""Actions that need nothing but the settings."""

_WITH_SETTINGS = {"plan": actions.plan, "check": actions.check}
"""Those that need an event loop and somebody who watches, too."""

_OF_A_RELEASE = {"verify": actions.verify, "repair": actions.repair}
"""Actions that need a release and a source."""


def main(argv: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run one action; return the exit code that `--help` lists."""
    raise_on_signals()
    os.umask(0o022)  # modes are what we say, not what the shell says
    register(environment.get("MODELS_SAS_TOKEN", ""))
    facts: dict[str, object]
    log_format, level = environment.get("MODELS_LOG_FORMAT", "text"), environment.get("MODELS_LOG_LEVEL", "info")
    termination_log = environment.get("MODELS_TERMINATION_LOG", "")
    try:
        command = arguments.parse(argv, environment)
        settings = (read if command.action == "check" else load)(command.values, with_packs=_names_packs(command))
        log_format, level, termination_log = settings.log_format, settings.log_level, settings.termination_log
        result = _act(command, settings)
        if command.as_json and (refused := result.content.get("rolled_back_from")):  # else the result says it loudly
            facts = {"stays": result.content["release"], "not": refused, "text": result.text}
            console.note("rolled_back", facts, log_format=log_format, level=level)
        console.result(result.content if command.as_json else result.text, as_json=command.as_json)
        return result.exit_code
    except StoppedError as stopped:
        facts = {"signal": str(stopped), "text": "what was verified is kept; run again to go on"}
        console.note("stopped", facts, log_format=log_format, level=level)
        return stopped.exit_code
    except Exception as error:  # noqa: BLE001 - the last hop: whatever is no expected fault is told as a bug
        console.leave(error, termination_log)
        return console.fault(error, log_format=log_format, level=level)


def _names_packs(command: Command) -> bool:
    """Tell whether the environment has to name packs; for pruning it may."""
    if command.action == "prune":
        return any(command.values.get(variable) for variable in ("REALTIME_LANGUAGES", "REALTIME_LANGUAGE"))
    return command.action in {"install", "plan", "check", "render_overlay"}


def _act(command: Command, settings: Settings) -> Result:
    if plain := _PLAIN.get(command.action):
        return plain(settings)
    match command.action:
        case "rollback" | "activate":
            return actions.choose(settings, command.release, back=command.action == "rollback")
        case "hold":
            return actions.hold(settings, command.release, command.program)
        case "receipt":
            return actions.receipt(settings, command.release)
        case "plan" | "check":
            return _watched(_WITH_SETTINGS[command.action], settings)
        case "verify" | "repair":
            return _watched(partial(_OF_A_RELEASE[command.action], name=command.release), settings)
        case "prune":
            return _watched(partial(actions.prune, keep=command.keep, dry_run=command.dry_run), settings)
        case _:
            return actions.nothing_to_do(settings) or _watched(actions.install, settings)


def _watched(action: Callable[[Settings, Watcher], Coroutine[object, object, Result]], settings: Settings) -> Result:
    """Run an action on an event loop, with a bar or log lines on stderr."""
    with console.watching(log_format=settings.log_format, level=settings.log_level) as watcher:
        return run(action(settings, watcher))
