# MongoDB's protocol: FerretDB on SQLite, built from the Go module in tests/stores/ferretdb.
# Sourced by `scripts/stores`; does nothing by itself.
#
# It shows that commands and documents are right, with some thousands of documents. It is not MongoDB: no filter uses an
# index, an update of more than 99 documents hangs, concurrent updates of one document may be lost, and there are no
# transactions, no bulkWrite and no expiry by index. For load, and for the last word, set MONGODB_URL (compose.yaml).
# shellcheck shell=bash

MONGODB_PORT=${MONGODB_PORT:-27317}
# Read by scripts/stores.
# shellcheck disable=SC2034
mongodb_ports=("$MONGODB_PORT") mongodb_patience_s=60
MONGODB_SOURCES=$ROOT/tests/stores/ferretdb
MONGODB_PROGRAM=$PROGRAMS/ferretdb-$(cat "$MONGODB_SOURCES"/{go.mod,go.sum,main.go} | sha256sum | cut -c -12)

# go_version prints 1.24.3 and the like; fails when there is no Go.
go_version() {
    GOTOOLCHAIN=local go env GOVERSION 2>/dev/null | sed -n 's/^go\([0-9.]*\).*/\1/p' | grep .
}

# at_least VERSION NEEDED
at_least() {
    [[ $(printf '%s\n' "$1" "$2" | sort -V | head -n 1) == "$2" ]]
}

# Makes sure of a Go that builds the module: from 1.21 on, any gets the version that it needs by itself.
need_go() {
    local needed found offered
    needed=$(sed -n 's/^go //p' "$MONGODB_SOURCES/go.mod")
    found=$(go_version) || true
    if [[ -z $found ]] || ! at_least "$found" 1.21; then
        # Where it is after an installation by hand.
        PATH=/usr/local/go/bin:$PATH
        found=$(go_version) || true
    fi
    if [[ -z $found ]] && command -v apt-cache >/dev/null; then
        offered=$(apt-cache policy golang-go | sed -n 's/^ *Candidate: *\([0-9]*:\)\{0,1\}\([0-9.]*\).*/\2/p')
        if [[ -n $offered ]] && at_least "$offered" 1.21; then
            install_packages golang-go
            found=$(go_version) || true
        fi
    fi
    if [[ -z $found ]] || ! at_least "$found" 1.21; then
        die "FerretDB is built with Go $needed or newer; found: ${found:-none}" \
            "install it from https://go.dev/doc/install, or set MONGODB_URL to a server that is there"
    fi
    if at_least "$found" "$needed"; then
        export GOTOOLCHAIN=local
    else
        export GOTOOLCHAIN=auto
    fi
}

mongodb_install() {
    [[ ! -x $MONGODB_PROGRAM ]] || return 0
    need_go
    say "building FerretDB (Go, once, some minutes)"
    work=$(mktemp -d "$PROGRAMS/installing.XXXXXX")
    CGO_ENABLED=0 go build -C "$MONGODB_SOURCES" -mod=readonly -trimpath -ldflags='-s -w' -o "$work/ferretdb" . >&2 ||
        die "FerretDB could not be built"
    mv "$work/ferretdb" "$MONGODB_PROGRAM"
    rm -rf "$work"
    work=
}

mongodb_settings() {
    printf 'url=%s\n' "$(own_url mongodb)"
}

mongodb_run() {
    local folder=$SIPFED_STORES_DATA/mongodb/data
    mkdir -p "$folder"
    launch mongodb "$MONGODB_PROGRAM" -listen "127.0.0.1:$MONGODB_PORT" -data "$folder"
}

# OP_MSG with { ping: 1, $db: "admin" }, which is answered by an OP_MSG.
mongodb_answers() {
    (
        exec <>"/dev/tcp/127.0.0.1/$MONGODB_PORT" >&0 || exit 1
        printf '\x33\0\0\0\x01\0\0\0\0\0\0\0\xdd\x07\0\0\0\0\0\0\0'
        # shellcheck disable=SC2016
        printf '\x1e\0\0\0\x10ping\0\x01\0\0\0\x02$db\0\x06\0\0\0admin\0\0'
        [[ $(reply 16) == *dd070000 ]]
    ) 2>/dev/null
}
