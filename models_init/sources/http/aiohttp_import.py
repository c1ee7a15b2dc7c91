"""Import aiohttp without loading the system's certificates, which it would load twice.

aiohttp creates two TLS contexts while it is imported, which takes 0.06 of 0.6 CPU seconds before the first request.
This program passes its own TLS context to each connection, with the certificates of `MODELS_CA_FILE` or the system's.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_DEFAULT_FILE = "SSL_CERT_FILE"
"""The variable from which OpenSSL takes the file of the default certificates."""


@contextmanager
def _no_default_certificates() -> Iterator[None]:
    before = os.environ.get(_DEFAULT_FILE)
    os.environ[_DEFAULT_FILE] = os.devnull
    try:
        yield
    finally:
        del os.environ[_DEFAULT_FILE]
        if before is not None:
            os.environ[_DEFAULT_FILE] = before


with _no_default_certificates():
    import aiohttp

__all__ = ["aiohttp"]
