# What the commands of this folder share: where the checkout is, where builds go, and what has to be installed.
# Sourced by `scripts/serve`, `scripts/stores` and `scripts/test`; does nothing by itself.
# shellcheck shell=bash

ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
SIPFED_CACHE=${SIPFED_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sipfed}
mkdir -p "$SIPFED_CACHE"
SIPFED_CACHE=$(cd -- "$SIPFED_CACHE" && pwd)
export CARGO_TARGET_DIR=$SIPFED_CACHE/target

say() {
    printf '==> %s\n' "$*" >&2
}

die() {
    printf 'error: %s\n' "$1" >&2
    shift
    [[ $# -eq 0 ]] || printf '  %s\n' "$@" >&2
    exit 1
}

as_root() {
    if [[ $(id -u) -eq 0 ]]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "this needs root, and there is no sudo; run as root:" "$*"
    fi
}

# install_missing COMMAND:PACKAGE... installs the Debian or Ubuntu package of each command that is missing.
install_missing() {
    local pair missing=()
    for pair in "$@"; do
        command -v "${pair%%:*}" >/dev/null || missing+=("${pair#*:}")
    done
    [[ ${#missing[@]} -eq 0 ]] || install_packages "${missing[@]}"
}

# install_packages PACKAGE... installs Debian or Ubuntu packages.
install_packages() {
    command -v apt-get >/dev/null || die "these packages are missing, and there is no apt-get to install them:" "$*"
    say "installing $* (apt-get)"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

# Makes sure of a C compiler and of a Rust toolchain that is new enough.
need_toolchain() {
    local needed found
    # build-essential brings the compiler and the headers that the allocator is built with.
    install_missing cc:build-essential
    command -v cargo >/dev/null || PATH=$HOME/.cargo/bin:$PATH
    needed=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$ROOT/Cargo.toml")
    command -v cargo >/dev/null ||
        die "cargo is missing; install Rust $needed or newer for this user with:" \
            "curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y   # needs: apt-get install curl"
    found=$(cd "$ROOT" && rustc --version | cut -d ' ' -f 2)
    if [[ $(printf '%s\n' "$needed" "$found" | sort -V | head -n 1) != "$needed" ]]; then
        if command -v rustup >/dev/null; then
            die "Rust $found is too old, $needed is needed:" "rustup update stable && rustup default stable"
        fi
        die "Rust $found is too old, $needed is needed; install a newer one for this user with:" \
            "curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y   # needs: apt-get install curl"
    fi
}

# shellcheck source=scripts/rocksdb.bash
source "$ROOT/scripts/rocksdb.bash"

# component NAME COMMAND... makes sure of a part of the toolchain that a minimal installation leaves out.
component() {
    local name=$1
    shift
    if "$@" >/dev/null 2>&1; then
        return 0
    fi
    command -v rustup >/dev/null || die "the Rust component $name is missing; install it with your toolchain"
    say "installing the Rust component $name (rustup)"
    rustup component add "$name"
}
