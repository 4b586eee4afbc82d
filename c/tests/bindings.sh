#!/bin/sh
# The examples in other languages, each read from a listener of its own: what it prints is what its
# head says, and it releases. Run: make check-bindings     Expect: lines that begin with "ok - "
# Needs g++, python3, luajit and go (apt: g++ python3 luajit golang-go), and cargo. Writes to a
# temporary directory only.
set -u
cd "$(dirname "$0")/.." || exit 2
for tool in g++ python3 luajit go cargo; do
    command -v $tool >/dev/null || { echo "$tool is missing"; exit 2; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 2' INT TERM
unset MAKEFLAGS MFLAGS MAKELEVEL
failed=0
make --no-print-directory -s BUILD="$work/build" shared "$work/build/one_listener" >"$work/out" 2>&1 || { cat "$work/out"; exit 1; }
export LD_LIBRARY_PATH="$work/build" CGO_CFLAGS="-I$PWD/include" CGO_LDFLAGS="-L$work/build -laqueduct" GO111MODULE=off GOCACHE="$work/go" GOFLAGS=

# reads NAME COMMAND...: three records of which one is damaged, then the end.
reads() {
    name=$1
    shift
    rm -f "$work/path"
    "$work/build/one_listener" >"$work/path" &
    listener=$!
    until [ -s "$work/path" ]; do sleep 0.02; done
    timeout 60 "$@" "$(cat "$work/path")" "" "" >"$work/said" 2>&1
    code=$?
    printf '0 7 zero\na record with a damaged payload was skipped\n2 9 two\nthe ring was closed\n' >"$work/expected"
    if [ $code = 0 ] && tr '\t' ' ' <"$work/said" | diff -u "$work/expected" - && wait $listener; then
        echo "ok - $name reads, skips damage, releases and ends"
    else
        echo "not ok - $name: exit $code"
        kill $listener 2>/dev/null
        failed=1
    fi
    timeout 60 "$@" /nonexistent/socket "" "" >"$work/said" 2>&1
    if [ $? = 1 ] && grep -q 'connect: No such file or directory' "$work/said"; then
        echo "ok - $name says why it cannot attach"
    else
        echo "not ok - $name says why it cannot attach"
        cat "$work/said"
        failed=1
    fi
}
short() { for file in examples/bindings/*; do [ "$(wc -l <"$file")" -lt 45 ] || { echo "not ok - $file has 45 lines or more"; return 1; }; done; }
short || failed=1
g++ -std=c++11 -Wall -Wextra -Wpedantic -Wconversion -Werror -Iinclude -o "$work/cpp" examples/bindings/reader.cpp -L"$work/build" -laqueduct || failed=1
reads "C++" "$work/cpp"
reads "Python" python3 examples/bindings/reader.py
reads "LuaJIT" luajit examples/bindings/reader.lua
go build -o "$work/go_reader" examples/bindings/reader.go || failed=1
reads "Go" "$work/go_reader"
sys() (
    cd examples/sys || exit 1
    unset LD_LIBRARY_PATH
    export CARGO_TARGET_DIR="$work/sys"
    cargo test --quiet --locked --test layout && cargo run --quiet --locked --features both --example both
)
if sys >"$work/said" 2>&1; then
    echo "ok - Rust, by a -sys crate, has the structs of the header and reads 30 records"
else
    echo "not ok - Rust, by a -sys crate, has the structs of the header and reads 30 records"
    cat "$work/said"
    failed=1
fi
exit $failed
