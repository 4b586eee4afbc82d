#!/usr/bin/env bash
# The real listener and the sqlite_sink example, killed by SIGKILL at random moments while records
# are posted. At the end the database must hold exactly what it should: every record whose 202
# arrived, once, unchanged, under the (epoch, seq) that the answer named; none of those that were
# refused; of those without an answer each at most once; and per ring every number from 0 on, in
# order, without a gap.
#
#   verify/processes/sqlite_kill_loop.sh [ROUNDS]    default 200, about 4 minutes; 10 is a test
#
# Ends with 1 if anything is wrong. SEED=N repeats the choices (not the moments); KEEP=1 keeps the
# directory with database and logs; AQUEDUCT=PATH is a listener built before.
#
# The ring is memory, and only the sink can save what is in it when its listener dies. So the
# listener is killed only when the sink is attached to it, and afterwards nothing is killed before
# the sink has drained. Only loopback; kills only what it started. Needs cargo, gcc, make, curl, the
# sqlite3 program and libsqlite3's header (apt: curl sqlite3 libsqlite3-dev).
set -euo pipefail
cd "$(dirname "$0")/../.."
rounds=${1:-200}
seed=${SEED:-$(($(date +%s) % 32768))}
RANDOM=$seed
for tool in gcc make curl sqlite3; do
    command -v $tool >/dev/null || { echo "sqlite_kill_loop: $tool is missing"; exit 2; }
done

work=$(mktemp -d)
listener=0
sink=0
poster=0
finish() {
    for pid in $listener $sink $poster; do
        [ "$pid" = 0 ] || kill -KILL "$pid" 2>/dev/null || true
    done
    [ -n "${KEEP:-}" ] && echo "kept: $work" || rm -rf "$work"
}
trap finish EXIT
trap 'exit 2' INT TERM

fail() {
    echo "FAIL: $*"
    echo "seed $seed, round ${round:-0}; the logs end with:"
    tail -n 5 "$work/listener.log" "$work/sink.log" || true
    exit 1
}

if [ -z "${AQUEDUCT:-}" ]; then
    cargo build --quiet --release -p aqueduct --bin aqueduct
    AQUEDUCT=${CARGO_TARGET_DIR:-target}/release/aqueduct
fi
make --silent -C c BUILD="$work/c" "$work/c/sqlite_sink" >/dev/null
gcc -std=c11 -O2 -Wall -Wextra -Werror -Ic/include -o "$work/c/slow_sink" c/examples/sqlite_sink.c verify/processes/slow_sink.c "$work/c/libaqueduct.a" \
    -lsqlite3 -Wl,--wrap=aqd_release,--wrap=sqlite3_exec
db=$work/records.db
socket=$work/aqueduct.sock
address=127.0.0.1:0

# within SECONDS COMMAND...: until it succeeds.
within() {
    local until=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -lt $until ] || return 1
        sleep 0.02
    done
}

query() { sqlite3 -cmd '.timeout 10000' "$db" "$1"; }

start_listener() {
    rm -f "$work/ready"
    # A small ring: it comes round every few rounds, and is full while the sink is dead for long.
    "$AQUEDUCT" serve --listen $address --socket "$socket" --ring r --subscription sink --capacity-bytes 262144 --max-payload-bytes 8192 \
        --full-wait-ms 200 --drain-timeout-ms 20000 >"$work/ready" 2>>"$work/listener.log" &
    listener=$!
    listeners=$((${listeners:-0} + 1))
    within 20 grep -qs ready "$work/ready" || fail "the listener does not start"
    address=$(sed 's/.*http=\([^ ]*\) .*/\1/' "$work/ready")
}

# Rings that the sink has entered; a start of either process makes it enter one more.
entered() { grep -c '^ring' "$work/sink.log" || true; }
attached() { [ "$(entered)" -ge $wanted ]; }
expect_attachment() { wanted=$(($(entered) + 1)); }

start_sink() {
    expect_attachment
    # In two of three lives it lingers around commit and release, so that kills fall there:
    # slow_sink.c.
    local program=slow_sink
    ((RANDOM % 3)) || program=sqlite_sink
    "$work/c/$program" "$db" "$socket" r sink >>"$work/sink.log" 2>&1 &
    sink=$!
}

kill_hard() {
    kill -KILL "$1" || fail "$2 had ended by itself"
    wait "$1" 2>/dev/null || true
}

# Posts COUNT records, each on its own connection, for curl sends a request again whose kept-alive
# connection died. Content: "ID:", then as many letters as the ID says. Its answers go to a file,
# one line each: BODY CODE ID.
last_id=0
post() {
    awk -v first=$((last_id + 1)) -v n="$1" -v url="http://$address/v1/rings/r/records" 'BEGIN {
        for (id = first; id < first + n; id++) {
            if (id > first) print "next"
            payload = id ":"
            padding = id * 7919 % 1500
            while (length(payload) < padding) payload = payload "abcdefghijklmnopqrstuvwxyz"
            printf "url = \"%s\"\nheader = \"connection: close\"\nheader = \"content-type: application/octet-stream\"\n", url
            printf "data-binary = \"%s\"\nwrite-out = \" %%{http_code} %d\\n\"\nmax-time = 30\nsilent\n", payload, id
            print id "\t" payload > "'"$work/posted"'"
        }
    }' >"$work/curl.config"
    cat "$work/posted" >>"$work/all_posted"
    last_id=$((last_id + $1))
    curl --config "$work/curl.config" >>"$work/answers" 2>/dev/null &
    poster=$!
}

posted() {
    wait $poster || true
    poster=0
}

# seq, epoch, code and ID of every answer.
parse_answers() {
    sed -nE -e 's/^\{"seq":([0-9]+),"epoch":"([0-9a-f]+)"\} 202 ([0-9]+)$/\3\t202\t\1\t\2/p' \
        -e 's/^[^ ].* ([345][0-9][0-9]) ([0-9]+)$/\2\t\1\t\t/p' "$work/answers" >"$work/parsed"
}

# Whether the database holds everything acknowledged so far of every ring. Positions are written
# with the rows, so they tell.
drained() {
    parse_answers
    awk -F'\t' '$2 == 202 && $3 + 1 > next_seq[$4] {next_seq[$4] = $3 + 1} END {for (epoch in next_seq) print epoch "|" next_seq[epoch]}' \
        "$work/parsed" >"$work/acknowledged"
    query "SELECT epoch, next_seq FROM positions" |
        awk -F'|' 'NR == FNR {stored[$1] = $2; next} stored[$1] + 0 < $2 {exit 1}' - "$work/acknowledged"
}

pause() { sleep "0.$(printf '%03d' $((RANDOM % $1)))"; }

: >"$work/answers"
: >"$work/sink.log"
start_listener
start_sink
within 20 query "SELECT count(*) FROM positions" >/dev/null 2>&1 || fail "the sink makes no database"
killed_listeners=0
killed_sinks=0
for ((round = 1; round <= rounds; round++)); do
    post $((60 + RANDOM % 140))
    pause 300
    kill -0 $sink 2>/dev/null || fail "the sink has ended"
    # Both at least once, also in a short run.
    if ((round == 1 || (round > 2 && RANDOM % 2))); then
        kill_hard $sink "the sink"
        killed_sinks=$((killed_sinks + 1))
        pause 150
        start_sink
        posted
    else
        within 30 attached || fail "the sink does not attach"
        kill_hard $listener "the listener"
        expect_attachment
        killed_listeners=$((killed_listeners + 1))
        # Restarted at once, the sink meets the new ring while it still has the old one; or it waits
        # a while for somebody to connect to.
        ((RANDOM % 2)) || pause 300
        start_listener
        posted
        within 30 drained || fail "acknowledged records of the dead listener are not in the database"
    fi
done

post 50
posted
# The regular end: the listener waits until its attached readers have released everything.
within 30 attached || fail "the sink does not attach"
kill -TERM $listener
wait $listener || fail "the listener did not end well"
listener=0
within 30 drained || fail "acknowledged records are not in the database"
kill -TERM $sink
wait $sink || fail "the sink did not end well"
sink=0

sqlite3 "$db" >"$work/verdict" <<SQL
.mode tabs
CREATE TEMP TABLE posted(id INTEGER PRIMARY KEY, payload TEXT);
CREATE TEMP TABLE answered(id INTEGER PRIMARY KEY, code INTEGER, seq TEXT, epoch TEXT);
.import $work/all_posted posted
.import $work/parsed answered
CREATE TEMP TABLE found AS SELECT r.id AS arrival, r.epoch, r.seq, p.id FROM records r LEFT JOIN posted p ON p.payload = CAST(r.payload AS TEXT);
CREATE INDEX temp.by_id ON found(id);
SELECT 'not as posted: arrival ' || arrival FROM found WHERE id IS NULL;
SELECT 'twice: ' || id FROM found WHERE id IS NOT NULL GROUP BY id HAVING count(*) > 1;
SELECT 'acknowledged and not there: ' || a.id FROM answered a
    WHERE code = 202 AND NOT EXISTS (SELECT 1 FROM found f WHERE f.id = a.id AND f.epoch = a.epoch AND f.seq = CAST(a.seq AS INTEGER));
SELECT 'refused and there: ' || a.id || ', ' || code FROM answered a JOIN found f ON f.id = a.id WHERE code <> 202;
SELECT 'out of order: ' || epoch || ' ' || seq FROM (SELECT epoch, seq, row_number() OVER (PARTITION BY epoch ORDER BY arrival) - 1 AS place FROM found)
    WHERE seq <> place;
SELECT 'rings mixed: ' || epoch FROM (SELECT epoch, max(arrival) - min(arrival) + 1 AS span, count(*) AS n FROM found GROUP BY epoch) WHERE span <> n;
SELECT 'gap: ' || epoch || ' ' || first_seq FROM gaps;
SELECT 'position: ' || epoch FROM positions p WHERE next_seq <> (SELECT count(*) FROM records r WHERE r.epoch = p.epoch);
SQL
[ ! -s "$work/verdict" ] || { head -n 20 "$work/verdict"; fail "$(wc -l <"$work/verdict") things are wrong in the database"; }

count() { awk -F'\t' "$1" "$work/parsed" | wc -l; }
acknowledged=$(count '$2 == 202')
stored=$(query "SELECT count(*) FROM records")
# What the run must have met to mean anything.
[ "$acknowledged" -gt 0 ] && [ "$killed_listeners" -gt 0 ] && [ "$killed_sinks" -gt 0 ] || fail "nothing was tried: use more rounds"
[ "$(query 'SELECT count(*) FROM positions')" -gt 1 ] || fail "there was one ring only"
echo "PASS sqlite_kill_loop: $rounds rounds, seed $seed: $killed_sinks sinks and $killed_listeners listeners killed; $last_id posted," \
    "$acknowledged acknowledged, $(count '$2 != 202') refused, $((last_id - $(wc -l <"$work/parsed"))) without an answer;" \
    "$stored stored, $((stored - acknowledged)) of them without an answer ($SECONDS s)"
