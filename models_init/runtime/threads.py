"""Start optional threads, which the system may refuse."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def start_thread(run: Callable[[], None], name: str) -> threading.Thread | None:
    """Start a daemon thread for something optional; return None if the system refuses it."""
    thread = threading.Thread(target=run, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError:
        return None
    return thread


def is_refused_thread(error: BaseException) -> bool:
    """Return True for the error that Python raises when the system refuses a thread."""
    return isinstance(error, RuntimeError) and "can't start new thread" in str(error)
