"""Make thread pools with as many threads as the system allows."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from time import sleep

from models_init.runtime.thread_limits import no_threads
from models_init.runtime.threads import is_refused_thread

_ATTEMPTS, _PAUSE = 3, 0.01  # seconds: a thread that has ended counts for the limit until the kernel has removed it


def thread_pool(most: int, name: str = "") -> ThreadPoolExecutor:
    """Return a pool with all its threads started: `most`, or as many as the system allows.

    Raises `UsageError`: not even one can be started.
    """
    return _started_pool(most, name)[0]


def startable(most: int) -> int:
    """Return how many threads can be started now, at most `most`. Raises `UsageError` if there are none."""
    pool, count = _started_pool(most)
    pool.shutdown()
    return count


def _started_pool(most: int, name: str = "") -> tuple[ThreadPoolExecutor, int]:
    for count in (*range(most, 1, -1), *[1] * _ATTEMPTS):
        pool = ThreadPoolExecutor(count, thread_name_prefix=name)
        if _start_all(pool, count):
            return pool, count
        pool.shutdown()
        sleep(_PAUSE)
    raise no_threads()


def _start_all(pool: ThreadPoolExecutor, count: int) -> bool:
    """Start all threads of a pool, which starts one for each call that finds no idle thread."""
    proceed = threading.Event()
    try:
        for _ in range(count):
            pool.submit(proceed.wait)
    except RuntimeError as error:
        if not is_refused_thread(error):
            raise
        return False
    finally:
        proceed.set()
    return True
