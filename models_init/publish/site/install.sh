#!/bin/sh
# Installs speech models and services from an offline bundle: loads the images, writes the compose files into a
# directory, starts the services. It pulls nothing, needs no network, and can be run again.
set -eu

usage() {
    cat <<'TEXT'
usage: sh install.sh [--bundle FILE] [--dir DIR] [--no-images] [--no-up] [--models DIR]

  --bundle FILE   the bundle, or its first part [the only *.tar or *.tar.001 next to install.sh]
  --dir DIR       directory of the compose files, where compose runs [./realtime]
  --no-images     do not load the container images
  --no-up         do not start the services
  --models DIR    without docker: only install the packs into DIR with the program models-init
  --help          print this text

DIR/.env.onprem belongs to the site: it is used if it exists, and never replaced.
exit codes: 0 done; 1 a step failed, which the message names; 2 usage, or a requirement is missing
TEXT
}

say() { printf 'install: %s\n' "$*"; }
fail() { printf 'install: error: %s\n' "$*" >&2; exit "${code:-1}"; }
missing() { code=2 fail "$@"; }

bundle='' dir=./realtime images=yes up=yes models=''
while [ $# -gt 0 ]; do
    case $1 in
        --bundle | --dir | --models) [ $# -ge 2 ] || missing "$1 needs a value; see --help" ;;
    esac
    case $1 in
        --bundle) bundle=$2; shift ;;
        --dir) dir=$2; shift ;;
        --models) models=$2; shift ;;
        --no-images) images=no ;;
        --no-up) up=no ;;
        --help) usage; exit 0 ;;
        *) missing "$1 is not an option; see --help" ;;
    esac
    shift
done

# -- which bundle

here=$(cd "$(dirname "$0")" && pwd)
if [ -z "$bundle" ]; then
    for found in "$here"/*.tar "$here"/*.tar.001; do
        [ -f "$found" ] || continue
        [ -z "$bundle" ] || missing "there are several bundles in $here; name one with --bundle"
        bundle=$found
    done
    [ -n "$bundle" ] || missing "no bundle found in $here; name it with --bundle"
fi
if [ ! -f "$bundle" ] && [ -f "$bundle.001" ]; then bundle=$bundle.001; fi
[ -f "$bundle" ] || missing "$bundle does not exist; mount the medium, or name the bundle with --bundle"
[ -r "$bundle" ] || missing "$bundle cannot be read; give $(id -un) read permission"
directory=$(cd "$(dirname "$bundle")" && pwd)
name=$(basename "$bundle")
case $name in
    *.[0-9][0-9][0-9]) name=${name%.*} parts=yes ;;
    *) parts=no ;;
esac

# Check the required tools before anything is changed.
command -v tar >/dev/null || missing "tar is not installed; install it"
if tar --help 2>&1 | grep -q -- --occurrence; then once=--occurrence=1; else once=''; fi

# member NAME: write the member's bytes to standard output. The search ends as soon as the member is found.
member() {
    if [ "$parts" = yes ]; then
        cat "$directory/$name".[0-9][0-9][0-9] | tar -xOf - $once "$1"
    else
        tar -xOf "$directory/$name" $once "$1"
    fi
}

first=$bundle  # the table of contents and the site's files begin in the first part
listed=$(tar -xOf "$first" $once bundle.json 2>/dev/null) || true
case $listed in
    '{"length":"'*) ;;
    *) missing "$bundle is not a bundle, or its beginning is damaged" ;;
esac
# The table has one line for each member: {"name":"images/x.tar",...
members=$(printf '%s\n' "$listed" | sed -n 's/^{"name":"\([^"]*\)".*/\1/p')

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
member site/site.env >"$work/site.env" 2>/dev/null && [ -s "$work/site.env" ] || fail "$bundle has no readable site.env; copy the bundle again"

if [ -n "$models" ]; then
    command -v models-init >/dev/null || missing "--models needs the program models-init on PATH"
    say "installing the packs into $models"
    set -a
    . "$work/site.env"
    set +a
    unset COMPOSE_FILE MODELS_BUNDLE
    MODELS_URL=$directory/$name MODELS_DIR=$models MODELS_SAS_TOKEN='' exec models-init
fi

command -v docker >/dev/null || missing "docker is not installed; install it, or use --models with the program models-init"
docker version >/dev/null 2>&1 || missing "docker does not respond; start it, or run this as a user with access to it"
compose_files=$(sed -n 's/^COMPOSE_FILE=//p' "$work/site.env")
if [ "$up" = yes ]; then
    [ -n "$compose_files" ] || missing "the bundle has no compose files; use --no-up to load only the images"
    docker compose version >/dev/null 2>&1 || missing "docker compose v2 is not installed; install the plugin, or use --no-up"
fi

# -- images

if [ "$images" = yes ]; then
    printf '%s\n' "$members" | grep '^images/' >"$work/images" || true
    while IFS= read -r image; do
        say "loading $image"
        member "$image" 2>"$work/tar" | docker load >"$work/load" 2>&1 || {
            cat "$work/tar" "$work/load" >&2
            fail "docker could not load $image; if the bundle is damaged, get another copy of it"
        }
        cat "$work/load"
    done <"$work/images"
fi

# -- files

if [ -n "$compose_files" ]; then
    mkdir -p "$dir" || fail "$dir cannot be created; choose another --dir"
    dir=$(cd "$dir" && pwd)
    printf '%s\n' "$members" | grep '^site/' >"$work/files" || true
    while IFS= read -r file; do
        place=$dir/${file#site/}
        if [ "${file#site/}" = .env.onprem ] && [ -e "$place" ]; then
            say "keeping $place"
            continue
        fi
        say "writing $place"
        mkdir -p "$(dirname "$place")"
        member "$file" >"$work/file" 2>"$work/tar" || { cat "$work/tar" >&2; fail "$file cannot be read from the bundle; get another copy of it"; }
        cat "$work/file" >"$place" || fail "$place cannot be written; check its permissions and the free space"
    done <"$work/files"
fi

# -- services

if [ "$up" = no ]; then
    say "done; no service was started"
    exit 0
fi
cd "$dir"
set --
old_ifs=$IFS IFS=:
for file in $compose_files; do set -- "$@" -f "$file"; done
IFS=$old_ifs
set -- "$@" --env-file site.env
if [ -f .env.onprem ]; then set -- "$@" --env-file .env.onprem; fi
MODELS_BUNDLE=$name MODELS_BUNDLE_DIRECTORY=$directory
export MODELS_BUNDLE MODELS_BUNDLE_DIRECTORY
unset COMPOSE_FILE
say "starting the services: docker compose $* up --detach --pull never"
docker compose "$@" up --detach --pull never || {
    docker compose "$@" logs --no-log-prefix --tail 5 realtime-models-init >&2 || true
    fail "the services did not start; see the messages above, then run this again"
}
say "done: the services are running"
