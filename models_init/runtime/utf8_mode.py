"""Make Python encode file names as UTF-8 in every locale."""

from __future__ import annotations

import os
import sys


def require_utf8() -> None:
    """Restart the interpreter in UTF-8 mode if it would use another encoding for file names.

    Packs name files in UTF-8. In a locale with another encoding, such as Latin-1, Python would translate the names of
    files: `build` would publish wrong names, and an install could not write names outside that encoding. The process
    keeps its id. Call this function first in the program; it returns at once in a UTF-8 locale and in the C locale.
    """
    if sys.getfilesystemencoding() != "utf-8" and not sys.flags.utf8_mode:
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])  # noqa: S606 - the same program
