"""Generate the compose overlay for several languages: one engine for each, behind one nginx."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from models_init.core.pack_ref import PackRef

_SHARED = ("common", "whisper-")
_PORT = 8890


def languages(packs: Iterable[PackRef]) -> list[str]:
    """Return the names of the language packs: all packs except the shared ones."""
    return [pack.name for pack in packs if not pack.name.startswith(_SHARED)]


def overlay(languages: Sequence[str]) -> str:
    """Return the overlay for `docker compose`, to be applied on top of docker-compose.realtime.bucket.yml.

    It includes nginx's configuration, so it is a single file. The same languages always give the same overlay.
    """
    gateway = configuration(languages)
    return _OVERLAY.format(
        languages=",".join(languages),
        engines="\n".join(_ENGINE.format(language=language) for language in languages),
        names=", ".join(f"asr-server-{language}" for language in languages),
        digest=sha256(gateway.encode()).hexdigest()[:12],
        configuration=_indented(gateway.replace("$", "$$"), 6),
    )


def configuration(languages: Sequence[str]) -> str:
    """Return nginx's configuration, which routes ws://HOST:8890/LANGUAGE and all paths below it to that engine."""
    return _CONFIGURATION.format(
        port=_PORT,
        routes="".join(_ROUTE.format(language=language, port=_PORT) for language in languages),
        known=" ".join(f"/{language}" for language in languages),
    )


def _indented(text: str, by: int) -> str:
    return "".join(f"{' ' * by}{line}" if line.strip() else line for line in text.splitlines(keepends=True))


_OVERLAY = """\
# Made by `models-init --render-overlay` for {languages}; make it anew when REALTIME_LANGUAGES changes.
# It goes on top of docker-compose.realtime.bucket.yml, in the same directory.

services:
{engines}
  # The gateway: whoever asks ws://asr-server:8890/LANGUAGE is led to that language's engine.
  asr-server:
    image: ${{REALTIME_GATEWAY_IMAGE:-docker.io/library/nginx:1.28-alpine}}
    depends_on: [{names}]
    entrypoint: [nginx, -e, stderr, -c, /gateway.conf]
    labels:
      models-init.gateway: "{digest}"  # compose does not see that only a configuration has changed
    environment: !reset {{}}
    volumes: !reset []
    configs:
      - source: gateway
        target: /gateway.conf
    user: "10001:10001"
    tmpfs: [/tmp]
    cap_drop: [ALL]  # but not read_only: compose could not put the configuration there
    mem_limit: 128m

configs:
  gateway:
    content: |
{configuration}"""

_ENGINE = """\
  asr-server-{language}:
    extends:
      file: docker-compose.realtime.bucket.yml
      service: asr-server
    environment:
      REALTIME_LANGUAGE: {language}
"""

_CONFIGURATION = """\
daemon off;
pid /tmp/nginx.pid;
error_log stderr warn;
worker_processes 2;

events {{
    worker_connections 4096;
}}

http {{
    client_body_temp_path /tmp/body;
    proxy_temp_path /tmp/proxy;
    fastcgi_temp_path /tmp/fastcgi;
    uwsgi_temp_path /tmp/uwsgi;
    scgi_temp_path /tmp/scgi;

    # Without the query, which may hold a session's token.
    map $request_uri $asked {{
        ~^(?<path>[^?]*) $path;
    }}
    log_format plain '$remote_addr "$request_method $asked" $status $request_time';
    access_log /dev/stdout plain;
    server_tokens off;

    # Docker's own. An engine that was made anew has another address.
    resolver 127.0.0.11 valid=5s ipv6=off;

    map $http_upgrade $connection_header {{
        default upgrade;
        ''      close;
    }}
    proxy_http_version 1.1;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection $connection_header;
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_buffering off;
    proxy_connect_timeout 5s;
    proxy_read_timeout 1h;
    proxy_send_timeout 1h;

    server {{
        listen {port};
{routes}
        location / {{
            default_type text/plain;
            return 404 "no such language; there are: {known}\\n";
        }}
    }}
}}
"""

_ROUTE = """
        location ~ ^/{language}(/|$) {{
            set $engine asr-server-{language};
            rewrite ^/{language}/?(.*)$ /$1 break;
            proxy_pass http://$engine:{port};
        }}
"""
