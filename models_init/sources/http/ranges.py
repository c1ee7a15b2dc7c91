"""Check that a response contains exactly the requested range."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from models_init.core.errors import SourceError, UnavailableError

if TYPE_CHECKING:
    from models_init.sources.http.response import Response

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)\Z")


def check_range(response: Response, key: str, start: int, stop: int) -> None:
    """Raise an error unless the response has the bytes `start` to `stop` (exclusive) of the object `key`.

    Raises `SourceError`: the object is too short. Raises `UnavailableError`: the response is for another request.
    """
    if response.status != 206:
        raise UnavailableError(
            f"{response.host} answered {response.status} instead of 206; if this persists, a proxy changes requests, "
            "or the server does not support ranges"
        )
    found = _CONTENT_RANGE.match(response.header("Content-Range"))
    if not found or (int(found[1]), int(found[2])) != (start, stop - 1):
        if found and int(found[3]) < stop:
            raise SourceError(
                f"{key} has {found[3]} bytes, but bytes {start} to {stop} were requested; the publisher must upload it "
                "again"
            )
        raise UnavailableError(
            f"{response.host} answered with another range of {key} than {start}-{stop - 1}; check the proxy"
        )
    if response.length not in (None, stop - start):
        raise UnavailableError(
            f"{response.host} announced {response.length} bytes instead of {stop - start}; check the proxy"
        )
