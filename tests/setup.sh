#!/usr/bin/env bash
# Makes sure that what the tests need beside Python is there: Debian packages, the modules of the Express and the Vite
# example, axe-core, tough-cookie, the Go example's binary, the applications that tests/applications/packages.txt lists.
# `make test` calls it before pytest; `make test-applications` calls it as `tests/setup.sh applications`, which brings
# the large ones too. It is quiet and instant when nothing is missing.
#
# As root it installs what is missing; as anybody else it names it and the command that installs it. The tests that
# need a missing component skip naming it, except with CI=true: there a missing component is an error, here and there.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build="$root/tests/.build"
wanted=${1:-test}
# In tests/.build; all at once, because npm removes what a command does not name.
modules=(axe-core@4.14.1 tough-cookie@6.1.0)
failed=()

say() { printf 'tests/setup.sh: %s\n' "$*" >&2; }
# A command or a file. Daemons live in sbin, which not everybody has on the path; PostgreSQL's where its version says.
elsewhere="/usr/sbin:/sbin$(printf ':%s' /usr/lib/postgresql/*/bin)"
have() { [[ $1 == /* && -e $1 ]] || PATH="$PATH:$elsewhere" command -v "$1" >/dev/null 2>&1; }

# command:package, checked by the command so that a tool that came from elsewhere (nvm, a Go tarball) counts.
commands=(
    cc:gcc
    /usr/include/stdio.h:libc6-dev
    chromium:chromium
    chromedriver:chromium-driver
    go:golang-go
    javac:default-jdk-headless
    certutil:libnss3-tools
    nft:nftables
    nghttp:nghttp2-client
    h2load:nghttp2-client
    node:nodejs
    npm:npm
    openssl:openssl
    curl:curl
    redis-server:redis-server
    knotd:knot
    ip:iproute2
    unshare:util-linux
    haproxy:haproxy
    nc:netcat-openbsd
    nginx:nginx-light
    /usr/lib/nginx/modules/ngx_stream_module.so:libnginx-mod-stream
    initdb:postgresql
    sshd:openssh-server
    systemd-analyze:systemd
    promtool:prometheus
    docker-compose:docker-compose
    logrotate:logrotate
    valgrind:valgrind
)

# What the applications of this run need from one registry.
listed() {
    awk -v wanted="$wanted" -v registry="$1" \
        '!/^#/ && $2 == registry && ($1 == "test" || $1 == wanted) { print $3 }' "$root/tests/applications/packages.txt"
}

missing_packages() {
    local entry
    for entry in "${commands[@]}" $(listed debian); do
        [ -e "${entry%%:*}" ] || have "${entry%%:*}" || printf '%s\n' "${entry#*:}"
    done | sort -u
}

install_packages() {
    local packages
    mapfile -t packages < <(missing_packages)
    ((${#packages[@]})) || return 0
    # A page without any font renders no text; the browser itself only suggests one.
    [[ " ${packages[*]} " == *" chromium "* ]] && packages+=(fonts-dejavu-core)

    if ((EUID == 0)) && have apt-get; then
        say "installing ${packages[*]}"
        local log
        log=$(mktemp)
        if ! {
            export DEBIAN_FRONTEND=noninteractive
            apt-get -o DPkg::Lock::Timeout=300 update &&
                apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "${packages[@]}"
        } >"$log" 2>&1; then
            tail -n 20 "$log" >&2
        fi
        rm -f "$log"
        # Debian starts what it installs, and Prometheus would take the port of the gateway's admin listener.
        if [[ " ${packages[*]} " == *" prometheus "* && -d /run/systemd/system ]]; then
            systemctl disable --now --quiet prometheus || true
        fi
        hash -r
        mapfile -t packages < <(missing_packages)
        ((${#packages[@]})) || return 0
    fi
    say "missing: ${packages[*]}"
    say "install with: sudo apt-get update && sudo apt-get install -y --no-install-recommends ${packages[*]}"
    failed+=("${packages[@]}")
}

install_modules() {
    local directory="$root/examples/$1"
    local stamp="$directory/node_modules/.installed-from"
    cmp -s "$directory/package.json" "$stamp" && return 0
    if ! have npm; then
        failed+=("examples/$1/node_modules")
        return 0
    fi
    say "npm install in examples/$1"
    if (cd "$directory" && npm install --no-package-lock --no-audit --no-fund --no-progress --loglevel=error >&2); then
        cp "$directory/package.json" "$stamp"
    else
        failed+=("examples/$1/node_modules")
    fi
}

install_test_modules() {
    local module missing=()
    for module in "${modules[@]}"; do
        grep -qs "\"version\": \"${module#*@}\"" "$build/node_modules/${module%@*}/package.json" || missing+=("$module")
    done
    ((${#missing[@]})) || return 0
    if have npm; then
        say "npm install ${modules[*]} in tests/.build"
        npm install --prefix "$build" --no-save --no-package-lock --no-audit --no-fund --no-progress --loglevel=error \
            "${modules[@]}" >&2 && return 0
    fi
    failed+=("${missing[@]/#/tests/.build/node_modules/}")
}

build_go() {
    local binary="$build/hello-go"
    local source="$root/examples/go"
    [[ -x $binary && $binary -nt $source/main.go && $binary -nt $source/go.mod ]] && return 0
    if ! have go; then
        failed+=("tests/.build/hello-go")
        return 0
    fi
    say "go build examples/go"
    # The standard library only: nothing is fetched, neither a module nor another toolchain.
    (cd "$source" && CGO_ENABLED=0 GOFLAGS=-mod=mod GOPROXY=off GOTOOLCHAIN=local GOWORK=off go build -o "$binary" .) ||
        failed+=("tests/.build/hello-go")
}

# Whether what is needed, the lines of stdin, is among what was installed, the lines of a file. `make test` needs less than
# `make test-applications` does, and leaves what that has brought.
among() { [[ -e $1 ]] && ! grep -qvxFf "$1" -; }

install_from_pypi() {
    local environment="$build/applications/python" python="$root/.venv/bin/python"
    local constraints="$root/tests/applications/constraints.txt" packages needed log
    mapfile -t packages < <(listed pypi)
    needed=$(printf 'install %s\n' "${packages[@]}" && cat "$constraints")  # the constraints name all packages, too
    [[ -x $environment/bin/python ]] && among "$environment/.installed-from" <<<"$needed" && return 0
    [[ -x $python ]] || python=python3
    say "pip install ${packages[*]} in tests/.build/applications"
    log=$(mktemp)
    if {
        "$python" -m venv --clear "$environment" &&
            "$environment/bin/python" -m pip --disable-pip-version-check install --no-compile -c "$constraints" "${packages[@]}"
    } >"$log" 2>&1; then
        printf '%s\n' "$needed" >"$environment/.installed-from"
    else
        tail -n 20 "$log" >&2
        failed+=("tests/.build/applications/python")
    fi
    rm -f "$log"
}

install_from_npm() {
    local directory="$build/applications" packages
    local stamp="$directory/node_modules/.installed-from"
    mapfile -t packages < <(listed npm)
    printf '%s\n' "${packages[@]}" | among "$stamp" && return 0
    say "npm install ${packages[*]} in tests/.build/applications"
    rm -f "$stamp"
    if have npm && npm install --prefix "$directory" --no-save --no-package-lock --no-audit --no-fund --no-progress \
        --loglevel=error "${packages[@]}" >&2; then
        printf '%s\n' "${packages[@]}" >"$stamp"
    else
        failed+=("tests/.build/applications/node_modules")
    fi
}

mkdir -p "$build/applications"
[[ -e $build/.gitignore ]] || printf '*\n' >"$build/.gitignore"

install_packages
install_modules express
install_modules vite
install_test_modules
build_go
install_from_pypi
install_from_npm

if ((${#failed[@]})); then
    if [[ ${CI:-} == true ]]; then
        say "not there, and CI runs every test: ${failed[*]}"
        exit 1
    fi
    say "tests that need these will be skipped: ${failed[*]}"
fi
