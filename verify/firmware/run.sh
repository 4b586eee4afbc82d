#!/bin/sh
# Builds the test programs for Cortex-M4F and Cortex-M0 and runs them in an emulator: as they are,
# and with seeded faults, which must fail. One line per run; ends non-zero if any of them is not as
# expected. Installs what is missing (rustup targets; qemu-system-arm and gcc-arm-none-eabi by
# apt-get).
set -eu
cd "$(dirname "$0")"

M4F=thumbv7em-none-eabihf
M0=thumbv6m-none-eabi
target_dir=${CARGO_TARGET_DIR:-$PWD/target}
log=$(mktemp)
trap 'rm -f "$log"' EXIT

for target in $M4F $M0; do
    rustc --print target-libdir --target "$target" | xargs test -d || rustup target add "$target"
done
if ! command -v qemu-system-arm >/dev/null || ! command -v arm-none-eabi-g++ >/dev/null; then
    apt-get update && apt-get install -y --no-install-recommends qemu-system-arm gcc-arm-none-eabi
fi

failed=0

# build TARGET PROFILE [CARGO ARGUMENT...]
build() {
    target=$1 profile=$2
    shift 2
    if ! cargo build --quiet --locked --target "$target" --profile "$profile" --bin isr --bin dual --bin waits --bin log "$@" 2>"$log"; then
        cat "$log"
        exit 1
    fi
}

# run WANT TARGET PROFILE PROGRAM [SEED]: WANT is "passes" or "fails". Failing is exit code 1 and
# the line of the check that failed; running out of time, or an emulator that does not start, is
# neither.
run() {
    want=$1 target=$2 profile=$3 program=$4 seed=${5:-none}
    case $target in
    "$M4F") board=mps2-an386 ;;
    *) board=microbit ;;
    esac
    elf=$target_dir/$target/$profile/$program
    case $program in embassy | rtic | mixed) elf=$target_dir/executors/$target/$profile/$program ;; esac
    code=0
    timeout 120 qemu-system-arm -M $board -nographic -semihosting-config enable=on,target=native,arg="$program",arg="seed=$seed" \
        -kernel "$elf" </dev/null >"$log" 2>&1 || code=$?
    case $want:$code:$(grep -c '^FAILED: ' "$log" || true) in
    passes:0:0 | fails:1:1) verdict=ok ;;
    *) verdict=FAILED failed=1 ;;
    esac
    printf '%-6s %-7s %-22s %-8s %-5s seed=%-8s exit code %s\n' $verdict "$want" "$target" "$profile" "$program" "$seed" $code
    sed 's/^/         /' "$log"
}

for profile in release checked; do
    build $M4F $profile
    build $M0 $profile
    for program in isr dual waits log; do
        run passes $M4F $profile $program
        run passes $M0 $profile $program
    done
done

for seed in content lost twice; do
    run fails $M4F release isr $seed
done
for target in $M4F $M0; do
    run fails $target release dual damage
    run fails $target release dual fault
    run fails $target release waits deaf
    run fails $target release log twice
    run fails $target release log epoch
done

# The longest way between `cpsid` and what ends it, in instructions, in the program for the
# Cortex-M0: there each access that needs compare-and-swap is a critical section. A call inside
# would hide what it takes. What prints is not counted.
arm-none-eabi-objdump -d "$target_dir/$M0/release/waits" | awk -v bound=40 '
    /^[0-9a-f]+ </ { in_function = $2; off = 0 }
    in_function ~ /semihosting/ { next }
    /\tcpsid\ti/ { off = 1; count = 0; next }
    off { count++ }
    off && /\tblx?\t/ { print "interrupts are off over a call: " in_function; bad = 1 }
    off && /\tmsr\tPRIMASK|\tcpsie/ { sections++; if (count > longest) longest = count; off = 0 }
    END {
        print "interrupts off on the Cortex-M0: " longest " instructions at most, in " sections " places; bound " bound
        exit bad || longest > bound || sections == 0
    }' || failed=1

echo "with the table of 64 bytes, and with the CRC of a unit:"
for crc in crc-small crc-hook; do
    if ! cargo build --quiet --locked --release --target $M0 --bin dual --features $crc 2>"$log"; then
        cat "$log"
        exit 1
    fi
    run passes $M0 release dual
    run fails $M0 release dual damage
done

echo "with executors, and beside C and C++:"
for target in $M4F $M0; do
    if ! (cd executors && cargo build --quiet --locked --release --target "$target" --target-dir "$target_dir/executors" --bins 2>"$log"); then
        cat "$log"
        exit 1
    fi
    for program in embassy rtic mixed; do
        run passes "$target" release $program
    done
    run fails "$target" release embassy deaf
    run fails "$target" release rtic deaf
    run fails "$target" release mixed damage
done

echo "with interrupts before accesses to the private words of the shared producer:"
for profile in release checked; do
    build $M4F $profile --features interrupt-accesses
    run passes $M4F $profile isr
done

[ $failed = 0 ] && echo "firmware: all runs as expected" || echo "firmware: FAILED"
exit $failed
