"""`python -m models_init.publish`, and the console script `models-pack`."""

from __future__ import annotations

import sys

from models_init.publish.cli.main import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
