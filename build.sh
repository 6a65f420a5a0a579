#!/bin/bash
#
# Builds, tests and tries out the VOC webhook module.
#
#   ./build.sh [build]          Leaves build/ngx_http_voc_webhook_module.so and
#                               build/voc-journal for the nginx installed here.
#   ./build.sh run [--once]     Builds, starts a private Redis and an nginx with
#                               a self-signed certificate on
#                               https://127.0.0.1:8443/voc, posts the ten sample
#                               events, prints each as it comes off the list, and
#                               goes on serving until Ctrl-C.  --once ends after
#                               the ten, and fails if one of them is missing.
#   ./build.sh test [FILE ...]  Builds, runs the tests under prove: those named,
#                               or all of them.
#   ./build.sh bench [PART ...] Builds, measures what docs/performance.md tells,
#                               all of it (a quarter of an hour) or the parts
#                               named: pairs workers latency drain pending sync
#                               disk memory.  Leaves a report in build/bench/.
#   ./build.sh help             This text.
#
# Packages that are missing on Debian 12 or 13, or Ubuntu 22.04 or 24.04, are
# installed first, by root or with sudo; no service is started or enabled.
#
# Environment:
#   NGINX_SRC=DIR   build against this nginx source tree, configured or plain
#   CC=COMPILER     gcc (default) or clang
#   VOC_CFLAGS=...  added to every compiler call, such as -fsanitize=undefined;
#                   with the address sanitizer gcc warns where nothing is wrong:
#                   add -Wno-error=array-bounds
#   VOC_BUILD=DIR   where to build, instead of build/
#   VOC_BENCH_SECONDS=N, VOC_BENCH_ROUNDS=N
#                   of bench: how long a round is (2), how many there are (9)

set -eu
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin" LC_ALL=C

root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
invoked_in=$PWD
module=ngx_http_voc_webhook_module
core=$module/core
build=$(realpath -m "${VOC_BUILD:-$root/build}")
CC=${CC:-gcc}
VOC_CFLAGS=${VOC_CFLAGS:-}
NGINX_SRC=${NGINX_SRC:-}

say() { printf '%s\n' "build.sh: $*" >&2; }
die() { say "$*"; exit 1; }

# ---- packages ------------------------------------------------------------

packages_build="gcc make nginx libhiredis-dev libpcre2-dev libssl-dev
    liburing-dev zlib1g-dev redis-server openssl curl"
packages_test="libcmocka-dev clang valgrind wrk faketime perl
    libio-socket-ssl-perl libredis-perl"
packages_bench="wrk perl libredis-perl"
# What the module is compared with is unpacked under build/, not installed:
# it would start services, load modules, replace libraries.
packages_compared="libnginx-mod-http-ndk libnginx-mod-http-lua libluajit2-5.1-2
    lua-resty-core lua-resty-lrucache lua-cjson webdis libb64-0d
    golang-github-gomodule-redigo-dev"

installed() {
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        env "$@"
    else
        sudo env "$@"
    fi
}

# In a subshell, so that its trap sees the end of this function in every case.
install_packages() (
    policy=/usr/sbin/policy-rc.d
    services=()
    for service in nginx redis-server; do
        installed "$service" || services+=("$service")
    done

    if [ ! -e "$policy" ]; then
        trap 'as_root rm -f "$policy"' EXIT
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod 755 "$policy"
    fi

    as_root DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-remove \
        --no-install-recommends "$@" >&2

    for service in "${services[@]}"; do
        if installed "$service"; then
            as_root update-rc.d "$service" disable >&2 || true
        fi
    done
)

apt_updated=
update_once() {
    [ -n "$apt_updated" ] || as_root apt-get update -q >&2
    apt_updated=1
}

setup() {
    local package missing=()

    command -v dpkg-query >/dev/null || return 0
    for package in "$@"; do
        installed "$package" || missing+=("$package")
    done
    if [ ${#missing[@]} -gt 0 ]; then
        say "installing ${missing[*]}"
        update_once
        install_packages "${missing[@]}"
    fi
}

# What clang's sanitizers and libFuzzer link to came with clang itself up to
# Ubuntu 22.04; since then it is a package that clang only recommends.
setup_libfuzzer() {
    mkdir -p "$build"
    clang -fsanitize=fuzzer,address,undefined -x c -o "$build/probe" - \
        2>/dev/null <<< 'int LLVMFuzzerTestOneInput(void *data, long size)
            { return data == 0 && size > 0; }' || setup libclang-rt-dev
    rm -f "$build/probe"
}

# ---- nginx's sources -----------------------------------------------------

nginx_version() {
    nginx -v 2>&1 | sed -n 's,^nginx version: [^/]*/\([^ ]*\).*,\1,p'
}

headers_version() {
    sed -n 's/^#define NGINX_VERSION *"\(.*\)"/\1/p' "$1/src/core/nginx.h" \
        2>/dev/null || true
}

# Where there is no nginx-dev: the source package of the installed version,
# from the same archives, without a change to the machine's own apt lists.
fetch_source() {
    local version=$1 apt=$build/apt list
    local options=(-q -o APT::Sandbox::User=root
        -o "Dir::Etc::sourcelist=/dev/null"
        -o "Dir::Etc::sourceparts=$apt/parts"
        -o "Dir::State::lists=$apt/lists"
        -o "Dir::Cache=$apt/cache")

    rm -rf "$apt" "$build/source"
    mkdir -p "$apt/parts" "$apt/lists/partial" "$apt/cache/archives/partial" \
        "$build/source"
    for list in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ ! -f "$list" ] || sed -n 's/^deb\([[:space:]]\)/deb-src\1/p' "$list" \
            > "$apt/parts/$(basename "$list" .list).list"
    done
    for list in /etc/apt/sources.list.d/*.sources; do
        [ ! -f "$list" ] || sed 's/^Types:.*/Types: deb-src/' "$list" \
            > "$apt/parts/$(basename "$list")"
    done

    setup dpkg-dev
    apt-get "${options[@]}" update >&2 || true
    # An archive drops revisions that were superseded; nginx's own release in
    # them is what counts, and the caller checks that.
    (
        cd "$build/source"
        apt-get "${options[@]}" source "nginx=$version" >&2 \
            || apt-get "${options[@]}" source nginx >&2 \
            || tar -xzf nginx_*.orig.tar.gz
    )
    rm -rf "$apt"

    # nginx before 1.21.5 has the first PCRE.
    grep -q pcre2 "$nginx_src/auto/lib/pcre/conf" || setup libpcre3-dev
}

# Sets nginx_src to a tree with configure (or auto/configure) and the headers
# of the nginx installed here.
find_source() {
    local version package

    version=$(nginx_version)
    [ -n "$version" ] || die "cannot tell the version of nginx"

    if [ -z "${VOC_FETCH_SOURCE:-}" ]; then
        nginx_src=/usr/share/nginx/src
        [ "$(headers_version $nginx_src)" != "$version" ] || return 0
    fi

    nginx_src=$build/source/nginx-$version
    [ "$(headers_version "$nginx_src")" != "$version" ] || return 0

    if ! command -v dpkg-query >/dev/null || ! installed nginx; then
        die "no source of nginx $version here: set NGINX_SRC"
    fi

    if [ -z "${VOC_FETCH_SOURCE:-}" ]; then
        update_once
        if apt-get install -s -q --no-remove nginx-dev >/dev/null 2>&1; then
            install_packages nginx-dev
            nginx_src=/usr/share/nginx/src
            [ "$(headers_version $nginx_src)" != "$version" ] || return 0
            nginx_src=$build/source/nginx-$version
        fi
    fi

    package=$(dpkg-query -W -f='${source:Version}' nginx)
    say "fetching the source of nginx $package"
    fetch_source "$package"
    [ "$(headers_version "$nginx_src")" = "$version" ] \
        || die "the source package of nginx $package is not nginx $version"
}

# ---- build ---------------------------------------------------------------

# Reads recorded configure arguments, prints those that shape the binary
# interface, one a line: nothing of other modules, no link-time optimisation
# (gcc's and clang's do not mix).  $1: what relative paths are relative to.
binary_arguments() {
    xargs -n1 printf '%s\n' | while IFS= read -r argument; do
        case $argument in
        --add-module=* | --add-dynamic-module=* | *=dynamic | --builddir=* \
            | --with-cc=* | --with-http_xslt_module \
            | --with-http_image_filter_module | --with-*geoip_module \
            | --with-http_perl_module | --with-google_perftools_module) ;;
        --with-pcre=/* | --with-zlib=/* | --with-openssl=/*)
            printf '%s\n' "$argument" ;;
        --with-pcre=* | --with-zlib=* | --with-openssl=*)
            printf '%s\n' "${argument%%=*}=$1/${argument#*=}" ;;
        --with-cc-opt=* | --with-ld-opt=*)
            sed -E 's/(^|[ =])(-flto[^ ]*|-f(no-)?fat-lto-objects|-specs=[^ ]*)/\1/g' \
                <<< "$argument" ;;
        *) printf '%s\n' "$argument" ;;
        esac
    done
}

# Sets nginx_src and, as lines, nginx_arguments.
choose_nginx() {
    local recorded

    if [ -z "$NGINX_SRC" ]; then
        find_source
        nginx_src=$(cd "$nginx_src" && pwd)
        nginx_arguments=$(nginx -V 2>&1 \
            | sed -n 's/^configure arguments: *//p' \
            | binary_arguments "$nginx_src")
        return
    fi

    nginx_src=$(cd "$invoked_in" && cd "$NGINX_SRC" && pwd) \
        || die "NGINX_SRC: no such directory: $NGINX_SRC"
    [ -n "$(headers_version "$nginx_src")" ] \
        || die "NGINX_SRC: not an nginx source tree: $nginx_src"
    if [ -f "$nginx_src/objs/Makefile" ]; then
        recorded=$(sed -n 's/^#define NGX_CONFIGURE "\(.*\)"$/\1/p' \
            "$nginx_src/objs/ngx_auto_config.h" | sed 's/\\"/"/g')
        nginx_arguments=$(binary_arguments "$nginx_src" <<< "$recorded")
    else
        nginx_arguments=$(printf -- '--with-%s\n' compat threads \
            http_ssl_module http_v2_module http_realip_module)
    fi
}

# nginx configures and builds in a directory of ours, whose auto/ and src/ are
# links: nothing is written to its own tree.
build_module() {
    local tree=$build/nginx configure=auto/configure wanted arguments

    choose_nginx
    mkdir -p "$tree"
    ln -sfn "$nginx_src/auto" "$tree/auto"
    ln -sfn "$nginx_src/src" "$tree/src"
    ln -sfn "$root" "$tree/module"
    if [ ! -f "$nginx_src/auto/configure" ]; then
        ln -sfn "$nginx_src/configure" "$tree/configure"
        configure=configure
    fi

    wanted=$(printf '%s\n' "$nginx_src" "$(headers_version "$nginx_src")" \
        "$CC" "$VOC_CFLAGS" "$nginx_arguments" "$(cksum < config)" \
        $module/nginx/* $core/*)
    if [ "$wanted" != "$(cat "$tree/configured" 2>/dev/null)" ]; then
        say "configuring for nginx $(headers_version "$nginx_src"), $CC"
        rm -rf "$tree/configured" "$tree/objs"
        mapfile -t arguments < <([ -z "$nginx_arguments" ] \
            || printf '%s\n' "$nginx_arguments")
        (cd "$tree" && sh "$configure" "${arguments[@]}" --with-cc="$CC" \
            --builddir=objs --add-dynamic-module=module) \
            > "$tree/configure.log" 2>&1 \
            || { tail -n 20 "$tree/configure.log" >&2; die "configure failed"; }
        printf '%s\n' "$wanted" > "$tree/configured"
    fi

    # VOC_CFLAGS come in here, so that configure's own probes run without.
    make -s -C "$tree" -f objs/Makefile -j "$(nproc)" \
        CC="$CC $VOC_CFLAGS" modules >&2
    put "$tree/objs/$module.so" "$build/$module.so"
}

# A running nginx keeps the file that it has mapped.
put() {
    cmp -s "$1" "$2" || { cp "$1" "$2.new" && mv "$2.new" "$2"; }
}

build_cli() {
    local out=$build/voc-journal

    if [ -f "$out" ] && [ -z "$(find $core $module/cli build.sh -newer "$out")" ] \
        && [ "$CC $VOC_CFLAGS" = "$(cat "$out.flags" 2>/dev/null)" ]; then
        return
    fi
    # shellcheck disable=SC2086  # flags are words
    $CC -std=c11 -D_GNU_SOURCE -O2 -g -Wall -Wextra -Werror $VOC_CFLAGS \
        -I $core -o "$out.new" $module/cli/*.c $core/*.c \
        -lhiredis -lpcre2-8 -lcrypto -lpthread >&2
    mv "$out.new" "$out"
    printf '%s\n' "$CC $VOC_CFLAGS" > "$out.flags"
}

# One at a time per build directory.
build() {
    # shellcheck disable=SC2086  # names are words
    setup $packages_build ${1:-}
    mkdir -p "$build"
    exec 9> "$build/lock"
    flock 9
    build_module
    build_cli
    exec 9>&-
}

# ---- run -----------------------------------------------------------------

events="inboundCallStart inboundCallRinging inboundCallAnswered inboundCallEnd
    outboundCallStart outboundCallAnswered outboundCallEnd ivrOption
    callRecordingAvailable callTranscriptionAvailable"

# The fields of an event besides event, date, callid and crm_id.
sample_fields() {
    local inbound="inboundNumber=611800111222 callerid=61288880000"

    case $1 in
    inboundCallStart) echo "$inbound" ;;
    inboundCallRinging | inboundCallAnswered) echo "$inbound extension=280085" ;;
    inboundCallEnd)
        echo "$inbound extension=280085 duration=88 answeredDuration=77" ;;
    outboundCallStart | outboundCallAnswered)
        echo "extension=280085 destination=61288880000" ;;
    outboundCallEnd)
        echo "extension=280085 destination=61288880000 duration=88" \
            "answeredDuration=77" ;;
    ivrOption) echo "$inbound ivrOption=1" ;;
    esac
}

listening() {
    (exec 3<> "/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

free_port() {
    local port=${1:-$((20000 + RANDOM % 12000))}

    while listening "$port"; do
        port=$((20000 + RANDOM % 12000))
    done
    echo "$port"
}

# $1 pid, $2 port, $3 what it is.  At most 10 s.
await_listening() {
    local tries=200

    until listening "$2"; do
        if ! kill -0 "$1" 2>/dev/null || [ $((tries -= 1)) -le 0 ]; then
            cat "$dir"/*.log >&2
            die "$3 does not start"
        fi
        sleep 0.05
    done
}

write_conf() {
    local user=

    [ "$(id -u)" -ne 0 ] || user="user nobody nogroup;"
    cat > "$dir/nginx.conf" << END
load_module "$build/$module.so";
$user
daemon off;
worker_processes 2;
pid $dir/nginx.pid;
error_log $dir/nginx.log notice;
events {}
http {
    access_log off;
    client_body_temp_path $dir/tmp;
    proxy_temp_path $dir/tmp;
    fastcgi_temp_path $dir/tmp;
    uwsgi_temp_path $dir/tmp;
    scgi_temp_path $dir/tmp;

    voc_webhook_queue calls {
        redis    127.0.0.1:$redis_port;
        journal  $dir/journal;
    }

    server {
        listen 127.0.0.1:$port ssl;
        ssl_certificate      $dir/cert.pem;
        ssl_certificate_key  $dir/key.pem;

        location = /voc {
            voc_webhook_allow 127.0.0.1;
            voc_webhook calls;
        }
    }
}
END
}

start_servers() {
    dir=$(mktemp -d)
    chmod 711 "$dir"
    mkdir "$dir/journal" "$dir/tmp"
    [ "$(id -u)" -ne 0 ] || chown nobody:nogroup "$dir/journal" "$dir/tmp"

    openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=localhost \
        -addext "subjectAltName=DNS:localhost,IP:127.0.0.1" \
        -keyout "$dir/key.pem" -out "$dir/cert.pem" 2>/dev/null

    # In sessions of their own: Ctrl-C is for this script, which then ends
    # nginx before Redis.
    redis_port=$(free_port)
    setsid redis-server --bind 127.0.0.1 --port "$redis_port" --dir "$dir" \
        --unixsocket "$dir/redis.sock" --save '' --appendonly no \
        > "$dir/redis.log" 2>&1 &
    redis_pid=$!
    await_listening "$redis_pid" "$redis_port" redis-server

    port=$(free_port 8443)
    [ "$port" -eq 8443 ] || say "port 8443 is taken, using $port"
    write_conf
    setsid nginx -p "$dir" -c "$dir/nginx.conf" 2>> "$dir/nginx.log" &
    nginx_pid=$!
    await_listening "$nginx_pid" "$port" nginx
}

stop_servers() {
    local pid

    trap '' INT TERM HUP
    for pid in "${nginx_pid:-}" "${redis_pid:-}"; do
        if [ -n "$pid" ] && kill "$pid" 2>/dev/null; then
            wait "$pid" || true
        fi
    done
    [ -z "${dir:-}" ] || rm -rf "$dir"
}

# Posts an event the way the portal's test does.
post() {
    local field arguments=()

    # shellcheck disable=SC2046  # words
    for field in "event=$1" "date=$(date -u '+%Y-%m-%d %H:%M')" \
        callid=testcall crm_id=usefulid $(sample_fields "$1"); do
        arguments+=(--data-urlencode "$field")
    done
    curl -fsS --cacert "$dir/cert.pem" -X POST -G "${arguments[@]}" \
        -o /dev/null "$url"
}

# The next event, or nothing for half a second.
next_event() {
    redis-cli -p "$redis_port" BLPOP voc:events 0.5 | sed -n 2p
}

run() {
    local once='' event absent=' ' count=0 line deadline

    if [ "${1:-}" = --once ]; then
        once=1
        shift
    fi
    [ $# -eq 0 ] || usage "$1"

    build
    trap stop_servers EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    start_servers
    url=https://127.0.0.1:$port/voc

    for event in $events; do
        post "$event" || die "$event was not accepted"
        absent+="$event "
    done

    deadline=$((SECONDS + 10))
    while [ "$count" -lt 10 ] && [ "$SECONDS" -lt "$deadline" ]; do
        line=$(next_event)
        [ -n "$line" ] || continue
        printf '%s\n' "$line"
        event=${line#*\"event\":\"}
        absent=${absent/ ${event%%\"*} / }
        count=$((count + 1))
    done
    if [ -n "${absent// /}" ]; then
        cat "$dir/nginx.log" >&2
        die "missing on the list:$absent"
    fi
    [ -z "$once" ] || return 0

    say "serving $url until Ctrl-C; try
curl -k -X POST '$url?event=ivrOption&date=2024-01-01+19:00&callid=testcall&inboundNumber=611800111222&callerid=61288880000&ivrOption=1'"
    while kill -0 "$nginx_pid" && kill -0 "$redis_pid"; do
        line=$(next_event)
        [ -z "$line" ] || printf '%s\n' "$line"
    done
    die "a server has ended"
}

# ---- commands ------------------------------------------------------------

# Not in parallel: some tests wait for what has a bound in time.
test_suite() {
    local file files=()

    # Names are the caller's, in the caller's directory.
    for file in "$@"; do
        case $file in
        /*) files+=("$file") ;;
        *) if [ -e "$invoked_in/$file" ]; then
               files+=("$invoked_in/$file")
           else
               files+=("$file")
           fi ;;
        esac
    done
    [ ${#files[@]} -gt 0 ] || files=(t/*.t)
    build "$packages_test"
    setup_libfuzzer
    VOC_BUILD=$build exec prove -I t/lib "${files[@]}"
}

# Unpacks packages into $1; those that are not to be had stay away.
unpack() {
    local into=$1 package

    shift
    mkdir -p "$into/root"
    for package in "$@"; do
        [ ! -e "$into/$package" ] || continue
        rm -f "$into"/*.deb
        (
            cd "$into" \
                && apt-get -q -o APT::Sandbox::User=root download "$package" >&2 \
                && dpkg-deb -x ./*.deb root && touch "$package"
        ) || say "no $package here"
    done
    rm -f "$into"/*.deb
}

# What the module is compared with, under build/bench; each as far as it can be
# had, the rest is reported as not installed.
prepare_rivals() {
    local packages=$build/bench/packages go

    if command -v apt-get >/dev/null; then
        # shellcheck disable=SC2046,SC2086  # names are words
        unpack "$packages" $packages_compared \
            $(apt-cache depends golang-go golang-src 2>/dev/null \
                | sed -n 's/^ *Depends: \(golang-[0-9].*\)/\1/p')
    fi

    go=$(echo "$packages"/root/usr/lib/go-*/bin/go)
    if [ -x "$go" ] \
        && [ ! "$build/bench/go-server" -nt t/bench/servers/server.go ]; then
        GOROOT=${go%/bin/go} GO111MODULE=off CGO_ENABLED=0 GOFLAGS='' \
            GOPATH=$packages/root/usr/share/gocode \
            GOCACHE=$build/bench/go-cache \
            "$go" build -o "$build/bench/go-server" t/bench/servers/server.go \
            || say "no Go here"
    fi

    command -v node >/dev/null && command -v npm >/dev/null \
        || (setup nodejs npm) || true
    mkdir -p "$build/bench/node"
    cp t/bench/node/* "$build/bench/node/"
    if ! cmp -s t/bench/node/package-lock.json "$build/bench/node/installed"; then
        (
            cd "$build/bench/node" \
                && npm ci --omit=dev --ignore-scripts --no-audit --no-fund >&2 \
                && cp package-lock.json installed
        ) || say "no Node.js or no packages for it here"
    fi
}

bench() {
    build "$packages_bench"
    prepare_rivals
    $CC -std=c11 -D_GNU_SOURCE -O2 -g -Wall -Wextra -Werror \
        -o "$build/bench/load" t/bench/load.c -lhiredis -lpthread
    VOC_BUILD=$build TMPDIR=${TMPDIR:-/var/tmp} exec perl t/bench/bench.pl "$@"
}

help() {
    sed -n '2,/^$/s/^# \{0,1\}//p' "$root/build.sh" | sed '1{/^$/d}'
}

usage() {
    say "unknown argument: $1"
    help >&2
    exit 2
}

cd "$root"
command=${1:-build}
[ $# -eq 0 ] || shift
case $command in
build)
    [ $# -eq 0 ] || usage "$1"
    build
    ;;
run)
    run "$@"
    ;;
test)
    test_suite "$@"
    ;;
bench)
    bench "$@"
    ;;
help | -h | --help)
    help
    ;;
*)
    usage "$command"
    ;;
esac
