"""Run one fuzzer: `python -m tests.fuzz NAME [options of libFuzzer] CORPUS...`; `scripts/fuzz` sets it up."""

from __future__ import annotations

import shlex
import sys
from importlib import import_module

import atheris  # type: ignore[import-untyped,import-not-found,unused-ignore] # scripts/fuzz installs it in its own environment

_OWN = 0.7  # share of mutations that preserve the format


def main() -> None:
    """Instrument the readers, then fuzz until libFuzzer ends."""
    name, *arguments = sys.argv[1:]
    with atheris.instrument_imports(include=["models_init"]):
        target = import_module(f"tests.fuzz.fuzz_{name}")

    def mutated(data: bytes, largest: int, seed: int) -> bytes:
        own = target.mutate(data, seed) if seed % 100 < 100 * _OWN else None
        return bytes(atheris.Mutate(data, largest)) if own is None or len(own) > largest else own

    restart = shlex.join([sys.executable, "-m", "tests.fuzz", name])  # for merging, libFuzzer starts itself again
    command = [restart, f"-max_len={target.LARGEST}", *arguments]
    atheris.Setup(command, lambda data: target.check(bytes(data)), custom_mutator=mutated)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
