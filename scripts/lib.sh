# shellcheck shell=bash
# What the scripts share: messages, packages, and a private network whose removal never depends on how a script ends.
# Sourced, never run. Everything made here carries the id of the process that made it, and is removed by exactly that.

set -euo pipefail

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly TOP
# The one target directory of the workspace; a caller's own choice wins.
TARGET=${CARGO_TARGET_DIR:-$TOP/target}
readonly TARGET

say() { printf '%s\n' "$*"; }
step() { printf '\n== %s\n' "$*"; }
warn() { printf 'warning: %s\n' "$*" >&2; }
die() {
    printf 'error: %s\n' "$1" >&2
    shift
    for hint in "$@"; do printf '       %s\n' "$hint" >&2; done
    exit 1
}

# Says what a machine lacks before anything is begun, all of it at once.
need_root() {
    [ "$(id -u)" = 0 ] || die "this needs root: network namespaces, raw sockets and packages" \
        "run it as: sudo $0"
}

# The toolchain of whoever called sudo, which hides it, is as good as root's own.
need_rust() {
    local home=${SUDO_USER:+$(getent passwd "${SUDO_USER-}" | cut -d: -f6)}
    command -v cargo >/dev/null || PATH=$HOME/.cargo/bin:$PATH
    if ! command -v cargo >/dev/null && [ -x "$home/.cargo/bin/cargo" ]; then
        export RUSTUP_HOME=${RUSTUP_HOME:-$home/.rustup} PATH=$home/.cargo/bin:$PATH
    fi
    command -v cargo >/dev/null || die "cargo is not in PATH" "install Rust $(rust_version) or newer, for example by rustup"
    local have
    have=$(rustc --version | cut -d' ' -f2)
    printf '%s\n%s\n' "$(rust_version)" "${have%%-*}" | sort -C -V ||
        die "rustc $have is too old" "install Rust $(rust_version) or newer (rustup update stable)"
}

rust_version() { sed -n 's/^rust-version = "\(.*\)"/\1/p' "$TOP/Cargo.toml"; }

need_namespaces() {
    # If it were left behind, the next script would remove it: see net_sweep.
    local probe=usher-c-$$ made=0
    command -v ip >/dev/null || die "ip is missing" "scripts/setup installs it"
    if ip netns add "$probe" 2>/dev/null; then
        ! ip -n "$probe" link add c0 type veth peer name e0 2>/dev/null || made=1
        ip netns del "$probe"
    fi
    [ "$made" = 1 ] || die "network namespaces with a veth cannot be made here" \
        "a container needs CAP_SYS_ADMIN and CAP_NET_ADMIN, the kernel CONFIG_NET_NS and CONFIG_VETH"
}

# Prints those of the packages named that are not installed. Cheap: one query, no network.
missing_packages() {
    local name
    for name in "$@"; do
        [ "$(dpkg-query -W -f='${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || printf '%s ' "$name"
    done
}

# run COMMAND...: runs it, or with DRY_RUN set only says what would be run.
run() {
    if [ -n "${DRY_RUN-}" ]; then say "would run: $*"; else "$@"; fi
}

# put FILE TEXT: writes it, making the directory; or with DRY_RUN set says so.
put() {
    if [ -n "${DRY_RUN-}" ]; then
        say "would write '$2' to $1"
    else
        mkdir -p "$(dirname "$1")"
        printf '%s\n' "$2" >"$1"
    fi
}
