#!/usr/bin/env bash
# Runs every example of c/examples against the real listener: what it prints is what its head and
# c/examples/README.md say.
#
#   verify/processes/c_examples.sh    prints "ok - " lines; ends with 1 if one is not
#
# AQUEDUCT=PATH is a listener built before. Only loopback. Needs cargo, gcc, make, curl, python3,
# the sqlite3 program and libsqlite3's header (apt: curl sqlite3 libsqlite3-dev).
set -uo pipefail
cd "$(dirname "$0")/../.."
for tool in gcc make curl sqlite3 python3; do
    command -v $tool >/dev/null || { echo "examples: $tool is missing"; exit 2; }
done
work=$(mktemp -d)
pids=()
finish() {
    for pid in "${pids[@]}"; do kill -KILL "$pid" 2>/dev/null; done
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 2' INT TERM

if [ -z "${AQUEDUCT:-}" ]; then
    cargo build --quiet --release -p aqueduct --bin aqueduct || exit 2
    AQUEDUCT=${CARGO_TARGET_DIR:-target}/release/aqueduct
fi
make --silent -C c BUILD="$work/c" examples >/dev/null || exit 2
failed=0

within() {
    local until=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -lt $until ] || return 1
        sleep 0.02
    done
}

# says SENTENCE FILE EXPECTED
says() {
    if printf '%s\n' "$3" | diff -u - "$2" >"$work/diff"; then
        echo "ok - $1"
    else
        echo "not ok - $1"
        cat "$work/diff"
        failed=1
    fi
}

# exits STATUS PID NAME
exits() {
    local status=0
    wait "$2" || status=$?
    [ $status = "$1" ] && echo "ok - $3 exits with $1" || { echo "not ok - $3 exits with $status instead of $1"; failed=1; }
}

socket=$work/aqueduct.sock
listener=0
serve() {
    rm -f "$work/ready"
    AQUEDUCT_HTTP_ATTRIBUTES='["traceparent"]' "$AQUEDUCT" serve --listen 127.0.0.1:0 --socket "$socket" --ring demo --subscription tail --subscription loop --subscription batch \
        --subscription sink --subscription stats --subscription trace >"$work/ready" 2>"$work/listener.log" &
    listener=$!
    pids+=("$listener")
    within 20 grep -qs ready "$work/ready" || { cat "$work/listener.log"; exit 2; }
    url=http://$(sed 's/.*http=\([^ ]*\) .*/\1/' "$work/ready")/v1/rings/demo/records
}
send() {
    local type=$1
    shift
    curl --silent --show-error --data-binary @- -H "aqueduct-type: $type" "$@" "$url" >>"$work/answers"
}
start() {
    local name=$1
    shift
    "$@" >"$work/$name.out" 2>"$work/$name.err" &
    pids+=("$!")
    eval "$name=$!"
}
lines() { [ -e "$1" ] && [ "$(wc -l <"$1")" -ge "$2" ]; }

start early "$work/c/tail" -o -r demo -n 1 -w forever "$socket" # before there is a listener
"$work/c/tail" -w 1 "$work/nowhere.sock" 2>"$work/nowhere.err"
says "aqd-tail -w, when nobody comes" "$work/nowhere.err" "aqd-tail: $work/nowhere.sock: connect: No such file or directory"
serve
start tail "$work/c/tail" -r demo -S tail "$socket"
start loop "$work/c/epoll_loop" "$socket" demo loop
start batch "$work/c/batch" "$socket" demo batch
start observer "$work/c/observer" "$socket" demo
start stats "$work/c/stats" "$socket" demo stats --count 4 --out "$work/payloads"
start trace "$work/c/trace" "$socket" demo trace
start sink "$work/c/sqlite_sink" "$work/records.db" "$socket" demo sink
start follow "$work/c/tail" -o -R forever -r demo -f '%s %p\n' "$socket"
within 20 lines "$work/sink.out" 1
printf 'hello, aqueduct' | send 7 -H 'traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
within 20 lines "$work/batch.out" 1
printf '\007\000\000\000\270\126\000\000' | send 1
within 20 lines "$work/batch.out" 2
printf 'a\001b\\' | send 0
for file in tail observer batch; do within 20 lines "$work/$file.out" 3; done
within 20 lines "$work/loop.out" 4 # three records and one report of the timer

"$work/c/tail" -o -r demo -n 2 -f '%s\t%t\t%l\t%x%%\n' "$socket" >"$work/format.out"
says "aqd-tail -o -n -f" "$work/format.out" "$(printf '0\t7\t15\t68656c6c6f2c206171756564756374%%\n1\t1\t8\t07000000b8560000%%')"
start latest "$work/c/tail" -o -s latest -n 1 -f '%r\n' "$socket"
sleep 0.5
printf 'last' | send 0
exits 0 "$latest" "aqd-tail -n"
says "aqd-tail -s latest" "$work/latest.out" last
"$work/c/tail" -S nobody "$socket" 2>"$work/refused.err"
exits 0 "$early" "aqd-tail -w, attached to a listener that came later,"
says "aqd-tail -w" "$work/early.out" '0 7 15 hello, aqueduct'
says "aqd-tail says why it was refused" "$work/refused.err" "aqd-tail: $socket: the ring has no such subscription"

kill -TERM $listener
exits 0 $listener "the listener"
exits 0 "$tail" "aqd-tail"
exits 0 "$loop" "epoll_loop"
exits 0 "$batch" "batch"
exits 0 "$trace" "trace"
head -n 1 "$work/trace.err" | sed -E 's/[0-9a-f]{16}-01$/SPAN-01/' >"$work/trace.next"
says "trace hands on" "$work/trace.next" '0 00-4bf92f3577b34da6a3ce929d0e0e4736-SPAN-01'
spans="import json, sys; spans = [json.loads(line)['resourceSpans'][0]['scopeSpans'][0]['spans'] for line in sys.stdin]; print(len(spans), *(spans[0][0][key] for key in ('traceId', 'parentSpanId', 'name')))"
python3 -c "$spans" <"$work/trace.out" >"$work/trace.spans"
says "trace" "$work/trace.spans" '1 4bf92f3577b34da6a3ce929d0e0e4736 00f067aa0ba902b7 process demo'
says "aqd-tail" "$work/tail.out" '0 7 15 hello, aqueduct
1 1 8 \x07\x00\x00\x00\xb8V\x00\x00
2 0 4 a\x01b\x5c
3 0 4 last'
grep -v '^behind' "$work/loop.out" >"$work/loop.records"
says "epoll_loop" "$work/loop.records" '0 7 15
1 1 8
2 0 4
3 0 4'
head -n 3 "$work/batch.out" >"$work/batch.first"
says "batch" "$work/batch.first" 'batch of 1: 0 samples, 1 of another kind
batch of 1: 1 samples, station 7: 22.200, 0 of another kind
batch of 1: 0 samples, 1 of another kind'

exits 0 "$stats" "stats --count"
tail -n 1 "$work/stats.out" | sed -E 's,(rate|_us)=[0-9.]+,\1=N,g' >"$work/stats.last"
says "stats" "$work/stats.last" 'received=4 rate=N/s p50_us=N p99_us=N crc_failures=0 lost=0'
printf 'hello, aqueduct\n\007\000\000\000\270\126\000\000\na\001b\\\nlast\n' | cmp - "$work/payloads" && echo "ok - stats --out" ||
    { echo "not ok - stats --out"; failed=1; }

# Another listener, another ring: the observer and the sink go on, and the others' records wait for
# nobody.
serve
printf 'again' | send 3
within 20 lines "$work/observer.out" 6
within 20 lines "$work/sink.out" 2
in_database() { [ "$(sqlite3 -cmd '.timeout 5000' "$work/records.db" 'SELECT count(*) FROM records')" -ge 5 ]; }
within 20 in_database
within 20 lines "$work/follow.out" 5
kill -TERM "$observer" "$sink" "$follow"
exits 0 "$follow" "aqd-tail -R, told to stop,"
says "aqd-tail -R" "$work/follow.out" '0 hello, aqueduct
1 \x07\x00\x00\x00\xb8V\x00\x00
2 a\x01b\x5c
3 last
0 again'
grep -q '^aqd-tail: another ring: epoch [0-9a-f]* after [0-9a-f]*$' "$work/follow.err" && echo "ok - and it says so" ||
    { echo "not ok - aqd-tail does not tell of the other ring"; failed=1; }
exits 0 "$observer" "observer"
exits 0 "$sink" "sqlite_sink"
sed -i 's/after [0-9]* ms/after N ms/' "$work/observer.out"
says "observer" "$work/observer.out" '0 7 15
1 1 8
2 0 4
3 0 4
another ring after N ms
0 3 5'
sqlite3 "$work/records.db" 'SELECT seq, type, hex(payload) FROM records ORDER BY id' >"$work/rows"
says "sqlite_sink" "$work/rows" '0|7|68656C6C6F2C206171756564756374
1|1|07000000B8560000
2|0|6101625C
3|0|6C617374
0|3|616761696E'
start lost "$work/c/tail" -S tail "$socket"
within 20 lines "$work/lost.out" 1
kill -KILL $listener
wait $listener 2>/dev/null
exits 3 "$lost" "aqd-tail, when its listener is killed,"

"$work/c/microcontroller" core/tests/golden/basic.ring core/tests/golden/basic.cursor >"$work/mcu.out"
says "microcontroller" "$work/mcu.out" "6 records, 0 damaged, 0 lost"
exit $failed
