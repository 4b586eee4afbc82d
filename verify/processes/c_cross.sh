#!/usr/bin/env bash
# The C library on other processors reads from the listener of this one: each reader gets every
# record, byte by byte, over many laps of a small ring, sleeps between them, and sees the end.
#
#   verify/processes/c_cross.sh     prints "ok - " lines; ends with 1 if one is not
#
# AQUEDUCT=PATH is a listener built before. Only loopback. Needs cargo, python3, qemu-user and
# gcc-{aarch64,riscv64,s390x,mips}-linux-gnu gcc-arm-linux-gnueabihf with libc6-dev-*-cross (apt).
# MIPS and s390x are big-endian, ARM and MIPS have 32 bits.
set -uo pipefail
cd "$(dirname "$0")/../.."
targets=(aarch64-linux-gnu:aarch64 arm-linux-gnueabihf:arm riscv64-linux-gnu:riscv64 s390x-linux-gnu:s390x mips-linux-gnu:mips)
for target in "${targets[@]}"; do
    for tool in "${target%:*}-gcc" "qemu-${target#*:}"; do
        command -v "$tool" >/dev/null || { echo "c_cross: $tool is missing"; exit 2; }
    done
done
if [ -z "${AQUEDUCT:-}" ]; then
    cargo build --quiet --release -p aqueduct --bin aqueduct || exit 2
    AQUEDUCT=${CARGO_TARGET_DIR:-target}/release/aqueduct
fi
work=$(mktemp -d)
pids=()
finish() {
    for pid in "${pids[@]}"; do kill -KILL "$pid" 2>/dev/null; done
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 2' INT TERM

# All sources in one, which is compiled once for each processor.
for source in $(printf 'include Makefile\nsources: ; @echo $(LIB_SOURCES)\n' | make -s -C c -f - sources); do
    echo "#include \"$PWD/c/$source\""
done >"$work/unity.c"
subscriptions=()
for target in "${targets[@]}"; do
    "${target%:*}-gcc" -std=c11 -static -Ic/include -o "$work/tail-${target#*:}" c/examples/tail.c "$work/unity.c" -lm || exit 2
    subscriptions+=(--subscription "${target#*:}")
done

"$AQUEDUCT" serve --listen 127.0.0.1:0 --socket "$work/s" --ring demo --capacity-bytes 16KiB --max-payload-bytes 3000 \
    --full-wait-ms 20s "${subscriptions[@]}" >"$work/ready" 2>"$work/log" &
listener=$!
pids+=("$listener")
until [ -s "$work/ready" ]; do kill -0 $listener 2>/dev/null || { cat "$work/log"; exit 2; }; sleep 0.02; done
readers=()
for target in "${targets[@]}"; do
    name=${target#*:}
    timeout 60 "qemu-$name" "$work/tail-$name" -r demo -S "$name" -f '%s %t %l %x\n' "$work/s" >"$work/$name.out" 2>"$work/$name.err" &
    readers+=("$!")
done
pids+=("${readers[@]}")

# 300 records of 0 to 3,000 bytes in some ten laps; after a pause, when all readers sleep, one more.
python3 - "$(sed 's/.*http=\([^ ]*\) .*/\1/' "$work/ready")" "$work/expected" <<'PYTHON' || { cat "$work/log"; exit 1; }
import http.client, random, sys, time
random.seed(1)
client = http.client.HTTPConnection(sys.argv[1], timeout=30)
with open(sys.argv[2], "w") as expected:
    for number in range(301):
        body = random.randbytes(random.choice((0, 1, 31, 32, 33, 100, 511, 512, 1000, 2999, 3000)))
        kind = random.choice((0, 1, 0x0102, 0xFFFF))
        if number == 300:
            time.sleep(0.5)
        client.request("POST", "/v1/rings/demo/records", body, {"aqueduct-type": str(kind)})
        answer = client.getresponse()
        if answer.status != 202:
            sys.exit(f"{number}: {answer.status} {answer.read()}")
        answer.read()
        expected.write(f"{number} {kind} {len(body)} {body.hex()}\n")
PYTHON

kill -TERM $listener
failed=0
for index in "${!targets[@]}"; do
    name=${targets[$index]#*:} status=0
    wait "${readers[$index]}" || status=$?
    if [ $status = 0 ] && cmp -s "$work/expected" "$work/$name.out"; then
        echo "ok - $name reads 301 records from a listener of $(uname -m), and their end"
    else
        echo "not ok - $name: exit $status: $(cat "$work/$name.err")"
        cmp "$work/expected" "$work/$name.out"
        failed=1
    fi
done
status=0
wait $listener || status=$?
[ $status = 0 ] || { echo "not ok - the listener exits with $status"; cat "$work/log"; failed=1; }
exit $failed
