"""`--support`: write an archive that describes the site, for the vendor's support. Contains no secrets."""

from __future__ import annotations

import asyncio
import io
import os
import sys
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, NoReturn

from models_init.cli.commands.check import check
from models_init.cli.result import Result
from models_init.cli.support import bundle, host_input, machine_facts, site_facts
from models_init.cli.support.collector import Collector
from models_init.core.errors import EXIT_OK, ModelsInitError, UsageError
from models_init.core.events import NullObserver
from models_init.core.units import count, human_size
from models_init.output import console, render
from models_init.output.terminal import terminal_of
from models_init.runtime.threads import start_thread
from models_init.volume import run_logs
from models_init.volume.layout import Volume

if TYPE_CHECKING:
    from collections.abc import Callable

    from models_init.cli.arguments import Command
    from models_init.cli.settings import Settings

_CHECK_SECONDS = 2.0  # of the three seconds for all members
_SECRETS_SECONDS = 1.0  # to read files with secrets, which may be on a disk that does not answer


def run(command: Command, settings: Settings) -> Result:
    """Write the archive to a file, or to stdout for `-`. Raises `UsageError`."""
    collector = Collector()
    if thread := start_thread(partial(_register_secrets, settings), "secrets"):
        thread.join(_SECRETS_SECONDS)
    _collect(collector, command, settings)
    data = bundle.pack(collector.members, collector.failures)
    file = command.release
    if file == "-":
        _write_to_stdout(data)
    else:
        _write_file(file, data)
    missed = f", {len(collector.failures)} not collected" if collector.failures else ""
    text = f"{file}: {human_size(len(data))}, {count(len(collector.members), 'member')}{missed}; contains no secrets"
    content = {"file": file, "bytes": len(data), "not_collected": collector.failures}
    if file == "-":
        text = ""
    if collector.unfinished:
        _exit_now(Result(content, text), as_json=command.as_json or settings.log_format == "json")
    return Result(content, text, is_written=file == "-")


def _collect(collector: Collector, command: Command, settings: Settings) -> None:
    """Collect all members; those that may take long come last."""
    root, values = settings.directory, command.values
    add = collector.add
    add(
        "settings.json",
        "effective settings, with defaults marked, and what is wrong with them",
        lambda: site_facts.effective_settings(settings, values),
    )
    add("program.json", "versions of program, image, Python and libraries", lambda: machine_facts.program(values))
    add("limits.json", "memory, processes, open files: limits and use", machine_facts.limits)
    add(
        "network.json",
        "proxies without passwords, name servers, certificate authorities",
        lambda: machine_facts.network(values, settings.ca_file),
    )
    add("clock.json", "this machine's clock; check.json has its difference to the source's", machine_facts.clock)
    add(
        "licenses.json",
        "licensee, languages, expiry, SHA-256 of the engine license, and findings",
        lambda: site_facts.licenses(settings),
    )
    add("volume.json", "file system, mount options, space, inodes, lock, directories", lambda: site_facts.volume(root))
    add("releases.json", "records of all releases, history, rollback", lambda: site_facts.releases(root))
    add("manifests.json", "size and SHA-256 of each manifest", lambda: site_facts.manifests(root))
    for path in run_logs.recent(root):
        read = partial(path.read_text, errors="replace")
        add(f"logs/{path.name}", "events of a run, one JSON object per line", read)
    if command.with_stdin:
        _add_host_texts(collector)
    add("status.json", "the result of --status --json", lambda: render.status(Volume(root))[0])
    add("check.json", "the result of --check --json", _checked(settings))


def _add_host_texts(collector: Collector) -> None:
    description = "collected on the host by support.sh"
    if sys.stdin is None:  # Python sets it to None if the descriptor is closed at the start
        collector.fail("host/stdin", description, "standard input is closed")
        return
    try:
        for name, text in host_input.sections(sys.stdin.buffer):
            collector.add(f"host/{name}", description, partial(str, text))
    except OSError as error:
        collector.fail("host/stdin", description, f"standard input cannot be read: {error.strerror}")


def _checked(settings: Settings) -> Callable[[], object]:
    def run_check() -> object:
        async def limited() -> object:
            result = await check(settings, NullObserver(), _CHECK_SECONDS)
            return result.content

        return asyncio.run(limited())

    return run_check


def _register_secrets(settings: Settings) -> None:
    """Register the content of secret files for redaction."""
    for read in (settings.read_token, settings.read_registry_password):
        with suppress(ModelsInitError):
            read()


def _write_file(file: str, data: bytes) -> None:
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with io.FileIO(descriptor, "w") as output:
            output.write(data)
    except OSError as error:
        raise UsageError(
            f"--support {file} cannot be written: {error.strerror}; name a file in another directory, "
            "or - for standard output"
        ) from error


def _write_to_stdout(data: bytes) -> None:
    if terminal_of(sys.stdout):
        raise UsageError("--support - would write an archive to the terminal; redirect it, or name a file")
    console.archive(data)


def _exit_now(result: Result, *, as_json: bool) -> NoReturn:
    """Print the result and end the process, without waiting for threads that a disk or a network blocks."""
    if result.text:
        console.result(result.content if as_json else result.text, as_json=as_json)
    os._exit(EXIT_OK)
