# RocksDB as one static library, built once for debug, release and documentation.
# Sourced by `scripts/prepare.bash`; does nothing by itself.
#
# Left to itself, cargo builds RocksDB anew for every profile, file by file: about 25 minutes of processor time each. Its
# 340 files include nearly the same headers, so that compiling some dozens of them as one takes a quarter of that. A plain
# `cargo build` works as well, and takes its time.
# shellcheck shell=bash

# Files that are compiled as one.
ROCKSDB_FILES_AT_ONCE=45

# The library and headers of clang, with which the bindings to RocksDB are made.
need_libclang() {
    # Not libclang-cpp.so, which is another library.
    if ! compgen -G '/usr/lib/llvm-*/lib/libclang[.-][0-9s]*' >/dev/null &&
        ! compgen -G '/usr/lib/*/libclang[.-][0-9s]*' >/dev/null; then
        install_packages libclang-dev
    fi
    # A libclang without headers of its own finds those of the compiler.
    if ! compgen -G '/usr/lib/llvm-*/lib/clang/*/include' >/dev/null && ! compgen -G '/usr/lib/clang/*/include' >/dev/null; then
        BINDGEN_EXTRA_CLANG_ARGS="-isystem $(gcc -print-file-name=include)"
        export BINDGEN_EXTRA_CLANG_ARGS
    fi
}

# Makes the library where it is missing, and has cargo use it.
need_rocksdb() {
    local version sources library
    need_libclang
    version=$(sed -n '/^name = "librocksdb-sys"$/{n;s/^version = "\(.*\)"$/\1/p}' "$ROOT/Cargo.lock")
    (cd "$ROOT" && cargo fetch --locked --quiet)
    sources=$(find "${CARGO_HOME:-$HOME/.cargo}/registry/src" -maxdepth 2 -type d -name "librocksdb-sys-$version" -print -quit)
    if [[ -z $sources ]]; then
        say "the sources of librocksdb-sys $version are not where cargo usually has them; it builds RocksDB itself"
        return 0
    fi
    library=$SIPFED_CACHE/rocksdb-$version
    if [[ ! -f $library/librocksdb.a ]]; then
        say "building RocksDB into $library (once, some minutes)"
        build_rocksdb "$sources" "$library"
    fi
    export ROCKSDB_LIB_DIR=$library ROCKSDB_STATIC=1
}

# build_rocksdb SOURCES LIBRARY
build_rocksdb() {
    local sources=$1 library=$2 work list
    work=$(mktemp -d "$SIPFED_CACHE/rocksdb-build.XXXXXX")
    {
        printf -- '-std=c++20 -O2 -include cstdint -fPIC -ffunction-sections -fdata-sections -w\n'
        printf -- '-I%s -I%s -I%s\n' "$sources/rocksdb/include" "$sources/rocksdb" "$sources"
        printf -- '-D%s\n' NDEBUG=1 HAVE_ALIGNED_NEW HAVE_UINT128_EXTENSION OS_LINUX ROCKSDB_PLATFORM_POSIX \
            ROCKSDB_LIB_IO_POSIX ROCKSDB_SCHED_GETCPU_PRESENT ROCKSDB_AUXV_GETAUXVAL_PRESENT \
            ROCKSDB_FALLOCATE_PRESENT ROCKSDB_RANGESYNC_PRESENT
        # Without these its checksums are slow.
        [[ $(uname -m) != x86_64 ]] || printf -- '-msse4.2 -mpclmul\n'
    } >"$work/flags"
    # build_version.cc is the only one that lies beside the sources.
    grep -v build_version "$sources/rocksdb_lib_sources.txt" |
        split -l "$ROCKSDB_FILES_AT_ONCE" -d -a 3 - "$work/list."
    for list in "$work"/list.*; do
        sed 's|.*|#include "rocksdb/&"|' "$list" >"$work/part-${list##*.}.cc"
    done
    cp "$sources/build_version.cc" "$work/part-version.cc"
    printf '%s\0' "$work"/part-*.cc | xargs -0 -P "$(nproc)" -I{} c++ "@$work/flags" -c {} -o {}.o
    ar rcs "$work/librocksdb.a" "$work"/*.o
    mkdir -p "$library"
    # Whole or not at all, also when this is ended in between.
    mv "$work/librocksdb.a" "$library/librocksdb.a"
    rm -rf "$work"
}
