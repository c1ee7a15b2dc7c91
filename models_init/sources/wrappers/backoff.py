"""Compute the wait before a retry: random, so that many runs do not return at the same moment.

Without a `Retry-After` the wait is exponential with full jitter
(https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/). With a `Retry-After`, the jitter is added
to its full value: a service that sends the same value to a thousand clients would otherwise get all their retries at
once.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST_DOUBLINGS = 32  # far beyond any `longest`
_SHORTEST = 0.5  # seconds; jitter is not shortened further, so that the last attempts are not too close together
_FIRST_SPREAD, _LATER_SPREAD = 1.0, 0.5
"""Jitter as a multiple of `Retry-After`. Many clients often get their first refusal in the same second, so that their
retries have to be spread widely. They get later refusals at different times (simulated with `scripts/simulate-fleet`).
"""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Random waits. Their maximum is `first` seconds, multiplied by `factor` with each failure, up to `longest`."""

    first: float
    longest: float
    factor: float = 2.0
    uniform: Callable[[float, float], float] = random.uniform

    def wait(self, failures: int, retry_after: float = 0.0, left: float = math.inf, *, is_first: bool = False) -> float:
        """Return the seconds to wait after this many failures in a row; `is_first` for the first wait of a run.

        The jitter is shortened so that the wait ends within `left` seconds, after which the request is given up.
        """
        window = min(self.longest, self.first * self.factor ** min(failures - 1, _MOST_DOUBLINGS))
        if retry_after > 0:
            window = max(window, retry_after * (_FIRST_SPREAD if is_first else _LATER_SPREAD))
        return retry_after + self.uniform(0.0, min(window, max(left - retry_after, _SHORTEST)))
