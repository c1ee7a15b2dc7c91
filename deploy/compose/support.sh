#!/bin/sh
# Write one archive for the vendor's support: what models-init --support collects, and what only the host knows.
#
#   ./support.sh [FILE]      in the directory of the compose files; needs docker only. COMPOSE_FILE and COMPOSE_ENV_FILES
#                            name the files, as for every other command of docs/deploy-compose.md.
#
# All output of docker goes through the program in the image, which removes secrets; nothing else is written to the disk.
set -eu

service=$(docker compose config --services 2>/dev/null | grep -xE -m 1 'realtime-models-init|asr-models-init' || echo realtime-models-init)
file=${1:-models-init-support.tar.gz}

section() {
    printf '\n==> %s <==\n' "$1"
    shift
    "$@" 2>&1 || printf 'this command failed: %s\n' "$*"
}

host_texts() {
    section versions.txt docker version
    section compose-version.txt docker compose version
    section compose-ps.txt docker compose ps --all
    section compose-config.json docker compose config --format json
    for name in $(docker compose config --services 2>/dev/null); do
        section "logs-$name.txt" docker compose logs --no-color --no-log-prefix --timestamps --tail 200 "$name"
    done
}

image=$(docker compose images --quiet "$service" 2>/dev/null | head -n 1 || true)
umask 077
if ! host_texts | docker compose run --rm --no-deps -T -e MODELS_INIT_IMAGE="$image" "$service" --support - --with-stdin >"$file"; then
    rm -f "$file"
    echo "support.sh: the service $service cannot be run: see the line before; nothing was written" >&2
    exit 1
fi
printf '%s: %s bytes; contains no secrets\n' "$file" "$(wc -c <"$file")"
