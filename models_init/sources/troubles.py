"""What goes wrong on the way to a server and back, in our words: foreign errors may hold what is not to be shown."""

from __future__ import annotations

import os
import socket
import ssl
from typing import TYPE_CHECKING

from models_init.errors import ModelsInitError, SourceError, UnavailableError
from models_init.sources.message import NotHttpError

if TYPE_CHECKING:
    from models_init.sources.peer import Peer


def unreached(error: Exception, peer: Peer) -> ModelsInitError:
    """What kept us from connecting."""
    host = peer.origin.name
    match error:
        case ssl.SSLCertVerificationError():
            return SourceError(
                f"the certificate of {host} is not trusted: {error.verify_message}; "
                "name your CA's file in MODELS_CA_FILE"
            )
        case ssl.SSLError():
            return SourceError(f"{host} does not speak TLS as it should; check MODELS_URL and the proxy")
        case TimeoutError() | ConnectionResetError() | ConnectionAbortedError() | EOFError() | NotHttpError():
            return told(error, f"{host} (through a proxy)" if peer.proxy else host)
        case _ if peer.proxy:
            return UnavailableError(f"the proxy cannot be reached; check {peer.origin.scheme.upper()}_PROXY")
        case socket.gaierror() | UnicodeError():
            return UnavailableError(f"the name of {host} cannot be resolved; check MODELS_URL, DNS and the proxy")
        case _:
            number = getattr(error, "errno", None)
            why = os.strerror(number) if number else "no connection"
            return UnavailableError(f"{host} cannot be reached: {why}; check the network")


def told(error: Exception, host: str) -> UnavailableError:
    """What went wrong once there was a connection; another try may help."""
    match error:
        case TimeoutError():
            return UnavailableError(f"{host} did not answer in time; check the network")
        case NotHttpError():
            return UnavailableError(f"{host} answered with something that is not HTTP; check MODELS_URL and the proxy")
        case _:
            return UnavailableError(f"{host} broke off the connection; check the network")
