"""`python -m models_init.publish`, and the console script `models-pack`."""

from __future__ import annotations

import sys

from models_init.publish.cli.main import main as run
from models_init.runtime.utf8_mode import require_utf8


def main() -> int:
    """Run with this process's arguments; return the exit code."""
    require_utf8()
    return run()


if __name__ == "__main__":
    sys.exit(main())
