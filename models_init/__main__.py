"""`python -m models_init`, and the console script `models-init`."""

from __future__ import annotations

import os
import sys

from models_init.runtime.collector import collector_paused
from models_init.runtime.signals import exit_on_signals
from models_init.runtime.utf8_mode import require_utf8

exit_on_signals()  # during the imports
with collector_paused():
    from models_init.cli.main import main as run


def main() -> int:
    """Run with this process's arguments and environment; return the exit code."""
    require_utf8()
    return run(sys.argv[1:], os.environ)


if __name__ == "__main__":
    sys.exit(main())
