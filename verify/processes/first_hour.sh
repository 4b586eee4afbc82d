#!/usr/bin/env bash
# The first hour of a new user: every step that README.md shows, to the letter, in a fresh clone.
# Only sockets, ports and the home directory are others.
#
#   verify/processes/first_hour.sh    prints "ok - " lines; ends with 1 at the first that is not
#
# The clone is that of the last commit, with what is not committed yet copied over it. It is built
# in target/documents, where a second run finds what does not depend on it. Only loopback; stops
# only what it started. Needs cargo, gcc, make, pkg-config, curl and git.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
commands=$root/verify/documents/commands
for tool in gcc make pkg-config curl git; do
    command -v $tool >/dev/null || { echo "first_hour: $tool is missing"; exit 2; }
done
work=$(mktemp -d)
pids=()
finish() {
    for pid in "${pids[@]}"; do kill -KILL "$pid" 2>/dev/null || true; done
    rm -rf "$work" "$hour"
}
trap finish EXIT
trap 'exit 2' INT TERM

export CARGO_HOME=${CARGO_HOME:-$HOME/.cargo} RUSTUP_HOME=${RUSTUP_HOME:-$HOME/.rustup}
export HOME=$work/home CARGO_INSTALL_ROOT=$work/home/.cargo CARGO_TARGET_DIR=$root/target/documents/first-hour
export PATH=$CARGO_INSTALL_ROOT/bin:$PATH
unset MAKEFLAGS MAKELEVEL
# Always the same place, and none inside of another workspace.
hour=${TMPDIR:-/tmp}/aqueduct-first-hour-$(id -u)-$(cksum <<<"$root" | cut -d ' ' -f 1)
rm -rf "$hour"
mkdir -p "$HOME" "$hour/reader-c"
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')

# block NAME: what README.md shows under this name, with addresses of this run.
block() {
    (cd "$root" && "$commands" --block README.md "$1") >"$work/block"
    sed -e "s,/tmp/aqueduct.sock,$work/aqueduct.sock,g" -e "s,127.0.0.1:8080,127.0.0.1:$port,g" "$work/block"
}

# step SENTENCE COMMAND...: says whether it worked, and what it printed if not.
step() {
    local sentence=$1 began=$SECONDS
    shift
    if "$@" >"$work/out" 2>&1; then
        echo "ok - $sentence ($((SECONDS - began)) s)"
    else
        echo "not ok - $sentence"
        tail -n 40 "$work/out" "$work"/*.err
        exit 1
    fi
}

within() {
    local until=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -lt $until ] || return 1
        sleep 0.05
    done
}
prints() { within 20 grep -qsxF "$1" "$2"; }

clone() {
    git clone --quiet --no-hardlinks "$root" "$hour/aqueduct"
    git -C "$root" ls-files -z --modified --others --exclude-standard |
        (cd "$root" && xargs -0 -I{} sh -c '[ ! -e "$1" ] || cp --parents "$1" "$2"' - {} "$hour/aqueduct")
}
in_clone() { (cd "$hour/aqueduct" && bash -euc "$(block "$1")"); }
serve() {
    bash -c "exec $(block serve) --listen 127.0.0.1:$port" >"$work/ready" 2>"$work/listener.err" &
    listener=$!
    pids+=("$listener")
    within 20 grep -qs '^aqueduct ready' "$work/ready"
}
post() { bash -euc "$(block post)" >"$work/answer" && grep -q "^{\"seq\":$1,\"epoch\":\"[0-9a-f]*\"}" "$work/answer"; }
compile() {
    block reader.c >reader.c
    block compile >compile.sh
    . ./compile.sh
}
program() {
    cargo new --quiet --vcs none "$hour/reader-rust"
    block crates >>"$hour/reader-rust/Cargo.toml"
    block reader.rs >"$hour/reader-rust/src/main.rs"
    (cd "$hour/reader-rust" && cargo build --quiet)
}
ends() {
    local status=0
    wait "$2" || status=$?
    [ "$status" = "$1" ]
}
busy() {
    timeout 20 ./reader 2>"$work/busy.err" && return 1
    grep "has a reader already" "$work/busy.err"
}

step "a fresh clone" clone
step "the binary and the C library are installed" in_clone install
step "the demo receives every record" in_clone demo
step "a listener is ready" serve
step "a record is posted before there is a reader" post 0

cd "$hour/reader-c"
step "a reader in C compiles" compile

./reader >"$work/c.out" 2>"$work/c.err" &
reader=$!
pids+=("$reader")
step "it prints what was posted before" prints "0 21.5" "$work/c.out"
step "another record is posted" post 1
step "it prints that one, too" prints "1 21.5" "$work/c.out"
step "a second reader of the subscription is refused" busy
kill -TERM $reader
step "the reader is stopped" ends 143 $reader

step "a reader in Rust compiles" program
"$CARGO_TARGET_DIR/debug/reader-rust" >"$work/rust.out" 2>"$work/rust.err" &
reader=$!
pids+=("$reader")
step "a third record is posted" post 2
step "the reader in Rust prints it" prints "2 21.5" "$work/rust.out"
kill -TERM $listener
step "the listener ends well" ends 0 $listener
step "and so does the reader" ends 0 $reader
