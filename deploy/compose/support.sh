#!/bin/sh
# Write one archive for the vendor's support: what models-init --support collects, and what only the host knows.
#
#   ./support.sh [FILE]      in the directory of the compose files; needs docker only. COMPOSE_FILE and COMPOSE_ENV_FILES
#                            name the files, as for every other command of docs/deploy-compose.md.
#
# All output of docker goes through the program in the image, which removes secrets; nothing else is written to the disk.
# If the image cannot be run, a text file is written instead, with less content and a simpler search for secrets.
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

# What helps to find out why the image does not run. Without the program, the configuration is left out: it has secrets.
texts_without_program() {
    printf '==> why.txt <==\n%s\n' "$1"
    section versions.txt docker version
    section info.txt docker info
    section space.txt docker system df
    section compose-version.txt docker compose version
    section compose-ps.txt docker compose ps --all
    section compose-images.txt docker compose config --images
    section images.txt docker images --digests
    for name in $(docker compose config --services 2>/dev/null); do
        section "logs-$name.txt" docker compose logs --no-color --no-log-prefix --timestamps --tail 200 "$name"
    done
}

# Remove signatures of tokens, passwords in URLs, headers of authorization, and values whose name is that of a secret.
without_secrets() {
    sed -E \
        -e 's/(sig(=|%3d))[^&"[:space:]]+/\1[redacted]/gI' \
        -e 's|://[^/@[:space:]]+@|://[redacted]@|g' \
        -e 's/((bearer|basic) )[A-Za-z0-9._~+\/=-]+/\1[redacted]/gI' \
        -e 's/([A-Za-z0-9_.-]*(token|password|passwd|secret|credential|api_?key|private_?key)[A-Za-z0-9_.-]*"? *[=:] *"?)[^",[:space:]]+/\1[redacted]/gI'
}

image=$(docker compose images --quiet "$service" 2>/dev/null | head -n 1 || true)
umask 077
if output=$({ host_texts | docker compose run --rm --no-deps -T -e MODELS_INIT_IMAGE="$image" "$service" --support - --with-stdin >"$file"; } 2>&1); then
    [ -z "$output" ] || printf '%s\n' "$output" >&2
    printf '%s: %s bytes; contains no secrets\n' "$file" "$(wc -c <"$file")"
    exit
fi
rm -f "$file"
text=${file%.tar.gz}.txt
texts_without_program "$output" | without_secrets >"$text"
printf '%s\n' "$output" | without_secrets >&2
printf '%s: %s bytes, without the program, because the service %s cannot be run: see the lines before; look for secrets in it before sending it\n' \
    "$text" "$(wc -c <"$text")" "$service"
