#!/bin/sh
# Run nginx as a site cache for model packs: write its settings from the environment, start it, and load token and
# certificate again when their files change. Needs nginx 1.20 or newer with the slice module, and a POSIX shell.
#
#   CACHE_ORIGIN       container URL, as in MODELS_URL: https://ACCOUNT.blob.core.windows.net/models
#   CACHE_TOKEN_FILE   file with the SAS token of the container (sp=rl); empty: the origin needs none
#   CACHE_DIRECTORY    directory of the slices, on a file system of its own if possible; default /var/cache/models
#   CACHE_SIZE         maximum size of all slices; default 50g
#   CACHE_MIN_FREE     free space on that file system, below which old slices are removed, too; default 2g
#   CACHE_INACTIVE     remove slices that were not read for this time; default 60d
#   CACHE_SLICE        size of a slice; smaller ones cost more requests and fetch less for small upgrades; default 1m
#   CACHE_LISTEN       address and port; default 8080, or 8443 with a certificate
#   CACHE_CERTIFICATE  certificate (chain) of this server, for TLS; empty: http
#   CACHE_KEY          its private key
#   CACHE_ORIGIN_CA    authorities to trust for the origin; default those of the system
#   CACHE_POLL         seconds between two looks at the files of token and certificate; default 10
#   CACHE_RUN          directory for nginx's settings, in memory: they contain the token; default /run/models-cache
set -eu
umask 077

origin=${CACHE_ORIGIN:-} token_file=${CACHE_TOKEN_FILE:-}
certificate=${CACHE_CERTIFICATE:-} key=${CACHE_KEY:-}
directory=${CACHE_DIRECTORY:-/var/cache/models} run=${CACHE_RUN:-/run/models-cache}
authorities=${CACHE_ORIGIN_CA:-/etc/ssl/certs/ca-certificates.crt}
poll=${CACHE_POLL:-10} reload_every=360  # polls: an hour, after which nginx resolves the origin's name again

say() {
    echo "models-cache: $1" >&2
}

# Print a path as a word of nginx's configuration.
quoted() {
    printf '"%s"' "$(printf %s "$1" | sed 's/["\\]/\\&/g')"
}

# Print the token, which may be pasted with the URL before it. Other characters than those of a query could change nginx's
# configuration.
token() {
    [ -n "$token_file" ] || return 0
    text=$(tr -d ' \t\r\n"' <"$token_file") || return 1
    text=${text##*\?}
    case $text in
        *[!A-Za-z0-9%=\&._~:,+/-]*) text= ;;
        *sig=*) [ ${#text} -lt 2000 ] || text= ;;
        *) text= ;;
    esac
    [ -n "$text" ] || { say "$token_file contains no SAS token; write the token into it as you received it" && return 1; }
    printf %s "$text"
}

write_settings() {
    sas=$(token) || return 1
    scheme=${origin%%://*} rest=${origin#*://}
    host=${rest%%/*} path=${rest#*/}
    [ "$path" != "$rest" ] || path=
    path=$(printf %s "${path%/}" | sed 's/[^A-Za-z0-9/_-]/\\&/g')
    port=$([ "$scheme" = https ] && echo 443 || echo 80)
    case ${host##*]} in *:*) address=$host ;; *) address=$host:$port ;; esac # an IPv6 address is in brackets
    cat >"$run/paths.conf" <<END
proxy_cache_path $(quoted "$directory") levels=1:2 keys_zone=packs:32m max_size=${CACHE_SIZE:-50g} min_free=${CACHE_MIN_FREE:-2g}
                 inactive=${CACHE_INACTIVE:-60d} use_temp_path=off;
slice ${CACHE_SLICE:-1m};
client_body_temp_path $(quoted "$run/body");
proxy_temp_path $(quoted "$run/proxy");
fastcgi_temp_path $(quoted "$run/fastcgi");
uwsgi_temp_path $(quoted "$run/uwsgi");
scgi_temp_path $(quoted "$run/scgi");
END
    cat >"$run/origin.conf" <<END
upstream origin {
    server $address;
    keepalive 64;
}
map "" \$origin { default $scheme://origin; }
map "" \$origin_host { default "$host"; }
map "" \$origin_token { default "$sas"; }
proxy_ssl_name ${address%:*};
proxy_ssl_trusted_certificate $(quoted "$authorities");
END
    if [ -n "$certificate" ]; then
        cat >"$run/listen.conf" <<END
listen ${CACHE_LISTEN:-8443} ssl;
ssl_certificate $(quoted "$certificate");
ssl_certificate_key $(quoted "$key");
END
    else
        echo "listen ${CACHE_LISTEN:-8080};" >"$run/listen.conf"
    fi
    # nginx serves one container: everything else is 404
    echo "if (\$uri !~ \"^/(healthz\$|$path(/|\$))\") { return 404; }" >"$run/container.conf"
}

# Remove query strings: nginx repeats the origin's address with the token in each error about it.
without_queries() {
    while IFS= read -r line; do
        case $line in *\?*) line="${line%%\?*}?..." ;; esac
        printf '%s\n' "$line"
    done
}

files() {
    cat ${token_file:+"$token_file"} ${certificate:+"$certificate" "$key"} /dev/null 2>/dev/null | cksum
}

# Reload after a change of a file, and every hour. A new file that is not usable changes nothing.
watch_files() {
    loaded=$(files) polls=0
    while sleep $poll; do
        now=$(files) polls=$((polls + 1))
        [ "$now" != "$loaded" ] || [ $polls -ge $reload_every ] || continue
        [ "$now" = "$loaded" ] || say "token or certificate has changed"
        if write_settings; then kill -HUP "$1"; fi
        loaded=$now polls=0
    done
}

case $origin in
    *[!][A-Za-z0-9:/._~+,=-]*) valid= ;;
    https://?*/?* | http://?*/?*) valid=yes ;;
    *) valid= ;;
esac
if [ -z "$valid" ]; then
    say "CACHE_ORIGIN is not a container URL such as https://ACCOUNT.blob.core.windows.net/models; a token belongs into CACHE_TOKEN_FILE"
    exit 2
fi
if [ -n "$certificate" ] && [ -z "$key" ]; then
    say "CACHE_KEY is not set; set it to the private key of CACHE_CERTIFICATE"
    exit 2
fi
mkdir -p "$run"
cp "$(dirname "$0")/nginx.conf" "$run/nginx.conf"
write_settings || exit 2
rm -f "$run/errors"
mkfifo "$run/errors"
without_queries <"$run/errors" >&2 &
nginx -e stderr -p "$run" -c "$run/nginx.conf" -g "daemon off; pid $(quoted "$run/nginx.pid");" 2>"$run/errors" &
nginx=$!
watch_files $nginx &
watching=$!
trap 'kill -QUIT $nginx' TERM INT
status=0
wait $nginx || status=$?
# A signal ends `wait`, too; nginx then finishes the responses that it has begun.
while kill -0 $nginx 2>/dev/null; do wait $nginx || status=$?; done
kill $watching 2>/dev/null || :
exit "$status"
