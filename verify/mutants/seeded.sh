#!/usr/bin/env bash
# Seeded faults of the copies that ship: verify/mutants/seeded.sh breaks the fast path of
# read_record and of write_record (core/src/transfer.rs and the kernels under it), one fault at a
# time, in a copy, and expects the tests named beside each to fail. So the random cases of the state
# machines and the damage do go through what ships. Without a fault they must pass.
#
# Needs an x86-64 processor with PCLMULQDQ; elsewhere there is no fast path, and it says so. Ends
# with 1 if a test misses its fault. About five minutes on two cores, most of it building.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")/seeded
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT

if ! grep -qw pclmulqdq /proc/cpuinfo; then
    echo "SKIP: this processor has no PCLMULQDQ"
    exit 0
fi
cp -r core verify Cargo.toml Cargo.lock "$copy"
cd "$copy"
sed -i -e 's/^members = .*/members = ["core", "verify"]/' -e '/^exclude = /d' Cargo.toml

# passes TEST: whether it passes; its output goes to $copy/log.
passes() {
    CARGO_TARGET_DIR=$target timeout 600 cargo test --release --quiet -p aqueduct-verify --test "$1" >"$copy/log" 2>&1
}

failed=0
for test in state_machine damage; do
    CARGO_TARGET_DIR=$target cargo test --release --quiet -p aqueduct-verify --test "$test" --no-run
    if passes "$test"; then
        echo "PASS without a fault: $test"
    else
        tail -n 30 "$copy/log"
        echo "FAIL without a fault: $test"
        exit 1
    fi
done

# seeded NAME FILE FROM TO TEST...: replaces the text FROM, which must be there once.
seeded() {
    name=$1 file=$2 from=$3 to=$4
    shift 4
    cp "$file" "$copy/original"
    FROM=$from TO=$to python3 - "$file" <<'PYTHON'
import os, sys
path, old = sys.argv[1], os.environ["FROM"]
text = open(path).read()
if text.count(old) != 1:
    sys.exit(f"{path}: {text.count(old)} times {old!r}")
open(path, "w").write(text.replace(old, os.environ["TO"]))
PYTHON
    CARGO_TARGET_DIR=$target cargo build --release --quiet -p aqueduct-core --features std
    for test; do
        if passes "$test"; then
            echo "FAIL $name: $test did not notice"
            failed=1
        else
            echo "PASS $name: noticed by $test"
        fi
    done
    cp "$copy/original" "$file"
}

seeded "read_record gives a wrong byte" core/src/transfer.rs \
    'return Some(Header::of_numbers([first.get(), seq, timestamp_ns, 0]).record_at(position));' \
    'if let Some(byte) = into.first_mut() { *byte ^= 1; }
        return Some(Header::of_numbers([first.get(), seq, timestamp_ns, 0]).record_at(position));' \
    state_machine damage
seeded "read_record believes every checksum" core/src/crc/clmul/header.rs \
    'if !states != ' 'if false && !states != ' damage
seeded "write_record signs another position" core/src/transfer.rs \
    'clmul.write_record(state, position, ' 'clmul.write_record(state, position ^ 1, ' \
    state_machine damage
seeded "write_record loses the end of a payload" core/src/crc/clmul/access.rs \
    'asm!("movq [{into}], {block}"' 'asm!("/* {into} {block} */"' state_machine
exit $failed
