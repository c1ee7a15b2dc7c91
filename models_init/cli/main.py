"""Run the action of a command line and return its exit code."""

from __future__ import annotations

import os
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

from models_init.cli import arguments, metrics
from models_init.cli.licenses import require_licenses
from models_init.cli.misspelled import misspelled_variables
from models_init.cli.settings import Settings, read
from models_init.cli.up_to_date import nothing_to_do, nothing_to_stage
from models_init.core.errors import UsageError
from models_init.core.redaction import register
from models_init.output import console, failure, run_log
from models_init.runtime.collector import collector_paused
from models_init.runtime.signals import StoppedError, ignore_signals, raise_on_signals

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from models_init.cli.arguments import Command
    from models_init.cli.result import Result

_LOGGED = ("install", "stage", "repair", "prune", "rollback", "activate")  # actions that change the volume
_MEASURED = (*_LOGGED, "check", "verify")  # actions that write metrics
_NOTHING_TO_DO = {"install": nothing_to_do, "stage": nothing_to_stage}
_LENIENT = ("check", "support")  # actions that report invalid settings in their result


def main(argv: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run one action; return one of the exit codes that `--help` lists."""
    raise_on_signals()
    for variable in ("MODELS_SAS_TOKEN", "MODELS_REGISTRY_PASSWORD"):
        register(environment.get(variable, ""))
    output: _Output | None = None
    try:
        command = arguments.parse(argv, environment)
        if not command.program:  # it inherits the umask
            os.umask(0o022)  # file modes must not depend on the shell's umask
        settings = read(command.values, with_packs=_names_packs(command))
        output = _Output(settings, as_json=command.as_json)
        if settings.metrics_file and command.action in _MEASURED and not command.dry_run:
            metrics.start(settings, command.action)
        output.warn_of_misspelled_variables(environment)
        _require_valid(settings, command)
        if settings.keep_logs and command.action in _LOGGED and not command.dry_run:
            run_log.start(settings.directory, command.action)
        return output.result(_act(command, settings))
    except StoppedError as stopped:
        ignore_signals()
        return (output or _early_output(argv, environment)).stopped(stopped)
    except Exception as error:  # noqa: BLE001 - the outermost level: any unexpected error is reported as a bug
        ignore_signals()
        return (output or _early_output(argv, environment)).failed(failure.expected(error))


class _Output(NamedTuple):
    """The form of the output: the settings of the log, and `as_json` for the flag `--json`."""

    settings: Settings
    as_json: bool

    def note(self, event: str, facts: dict[str, object]) -> None:
        """Log one event."""
        console.note(event, facts, log_format=self.settings.log_format, level=self.settings.log_level)

    def warn_of_misspelled_variables(self, environment: Mapping[str, str]) -> None:
        """Log a warning for each variable whose name is similar to that of a setting."""
        for variable, setting in misspelled_variables(environment):
            self.note(
                "unknown_variable", {"level": "warning", "variable": variable, "text": f"did you mean {setting}?"}
            )

    def result(self, result: Result) -> int:
        """Write the result; it is an object for programs if the log is JSON, unless it is a document of its own."""
        as_json = self.as_json or (self.settings.log_format == "json" and not result.is_document)
        if as_json and (refused := result.content.get("rolled_back_from")):  # the text already reports the rollback
            self.note("rolled_back", {"stays": result.content["release"], "not": refused, "text": result.text})
        for text in result.warnings:
            self.note("license", {"level": "warning", "text": text})
        content = result.content | ({"exit_code": result.exit_code} if result.exit_code else {})
        if not result.is_written:
            console.result(content if as_json else result.text, as_json=as_json)
        ignore_signals()  # a second result must not follow
        self._write_metrics(result.exit_code, result.content)
        run_log.end("ended", {"exit_code": result.exit_code, "result": result.content})
        return result.exit_code

    def failed(self, error: BaseException) -> int:
        """Report an error."""
        self._write_metrics(failure.exit_code_of(error), {})
        failure.log_to_volume(error)
        failure.write_termination_log(error, self.settings.termination_log)
        self._failure_object(failure.failure_content(error))
        return console.fault(error, log_format=self.settings.log_format, level=self.settings.log_level)

    def stopped(self, stopped: StoppedError) -> int:
        """Report that a signal has ended the run."""
        remedy = "run again to continue; verified data is kept"
        self._write_metrics(stopped.exit_code, {})
        run_log.end("stopped", {"signal": str(stopped), "exit_code": stopped.exit_code})
        self._failure_object({"exit_code": stopped.exit_code, "error": f"stopped by {stopped}", "remedy": remedy})
        self.note("stopped", {"signal": str(stopped), "text": remedy})
        return stopped.exit_code

    def _write_metrics(self, exit_code: int, content: Mapping[str, object]) -> None:
        """Write the metrics of the run; a failure to do so is a warning."""
        if reason := metrics.end(exit_code, content):
            text = (
                f"MODELS_METRICS_FILE={self.settings.metrics_file} cannot be written: {reason}; "
                f"let user {os.geteuid()} write to its directory"
            )
            self.note("metrics_not_written", {"level": "warning", "text": text})

    def _failure_object(self, content: dict[str, object]) -> None:
        if self.as_json or self.settings.log_format == "json":
            with suppress(UsageError):  # stdout cannot be written; stderr and the exit code report the failure
                console.result(content, as_json=True)


def _early_output(argv: Sequence[str], environment: Mapping[str, str]) -> _Output:
    """Return the form of the output for an invalid command line, from the environment and `--json`."""
    return _Output(read(environment, with_packs=False), as_json="--json" in argv)


def _require_valid(settings: Settings, command: Command) -> None:
    """Raise `UsageError` for the faults of the settings, which `--check` and `--support` include in their result."""
    if settings.faults and command.action not in _LENIENT:
        raise UsageError(*settings.faults)


def _names_packs(command: Command) -> bool:
    """Return True if the environment must name packs; for a prune, only if it names a language."""
    if command.action == "prune":
        return any(command.values.get(variable) for variable in ("REALTIME_LANGUAGES", "REALTIME_LANGUAGE"))
    if command.action == "hold":
        return not command.release
    return command.action in {"install", "stage", "wait", "plan", "check", "support", "render_overlay"}


class _Action(Protocol):
    """The interface of a module in `commands`."""

    def run(self, command: Command, settings: Settings) -> Result:
        """Run the action and return its result."""


def _act(command: Command, settings: Settings) -> Result:
    """Run the module of the action. It is imported only here, because a run with nothing to do needs no such module."""
    if check := _NOTHING_TO_DO.get(command.action):
        require_licenses(settings)
        if done := check(settings):
            return done
    run_log.event("running", {"packs": list(map(str, settings.packs))})
    with collector_paused():
        action = cast("_Action", import_module(f"models_init.cli.commands.{command.action}"))
    return action.run(command, settings)
