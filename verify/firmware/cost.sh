#!/bin/sh
# What a record of 64 bytes costs beside bbqueue and heapless, by target and optimisation: flash of
# a program with both halves beyond one without, RAM beside the data, stack, instructions of push,
# next and release. Fails if a count is above its bound in cost.txt, or if a program of the core
# has a panic in it.
#
#   cost.sh            counts, and compares with the bounds
#   cost.sh --record   also writes the table to core/README.md; the bounds are changed by hand
#
# Needs size and nm (binutils) and qemu-system-arm.
set -eu
cd "$(dirname "$0")"

target_dir=${CARGO_TARGET_DIR:-$PWD/target}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

# flash ELF: bytes of code, constants and initial values.
flash() { size "$1" | awk 'NR == 2 { print $1 + $2 }'; }

# bound NAME VALUE: compares with the bound, if there is one.
bound() {
    limit=$(awk -v name="$1" '$1 == name { print $2 }' cost.txt)
    if [ -n "$limit" ] && [ "$2" -gt "$limit" ]; then
        echo "$1: $2, ABOVE the bound of $limit" >&2
        failed=1
    fi
}

# Sizes of one target and optimisation, one `PEER WHAT VALUE` per line.
measure() {
    target=$1 opt=$2
    case $target in
    thumbv7em-*) board=mps2-an386 ;;
    *) board=microbit ;;
    esac
    elfs=$target_dir/cost-$opt/$target/release
    CARGO_PROFILE_RELEASE_OPT_LEVEL=$opt cargo build --quiet --locked --release --target "$target" \
        --target-dir "$target_dir/cost-$opt" --bin cost --bin size_none --bin size_both --bin size_producer \
        --bin size_reader --bin size_whole --bin size_heapless --bin size_bbqueue
    none=$(flash "$elfs/size_none")
    for program in both producer reader heapless bbqueue; do
        peer=$program what=flash
        case $program in both | producer | reader) peer=aqueduct what=flash-$program ;; esac
        echo "$peer $what $(($(flash "$elfs/size_$program") - none))"
    done
    for program in both producer reader whole heapless bbqueue; do
        panics=$(nm -C "$elfs/size_$program" | grep -cE 'core::panicking|core::(result|option)::.*(unwrap|expect)_failed|slice_(start|end)|slice_index|copy_from_slice_impl' || true)
        case $program in
        heapless | bbqueue) echo "$program panics $panics" ;;
        *) echo "aqueduct panics-$program $panics" ;;
        esac
    done
    timeout 60 qemu-system-arm -M $board -nographic -icount shift=0 -semihosting-config enable=on,target=native \
        -kernel "$elfs/cost" </dev/null
}

value() { awk -v peer="$2" -v what="$3" '$1 == peer && $2 == what { print $3 }' "$work/$1"; }
grouped() { printf '%d' "$1" | sed ':a;s/\B[0-9]\{3\}\>/,&/;ta'; }

{
    echo "| target | \`opt-level\` | | flash | RAM | stack | instructions | panics |"
    echo "|---|---|---|---|---|---|---|---|"
} >"$work/table"
for target in thumbv7em-none-eabihf thumbv6m-none-eabi; do
    for opt in s 3; do
        measure $target $opt >"$work/$target-$opt"
        for peer in aqueduct bbqueue heapless; do
            name=$peer flash=flash panics=panics
            [ $peer = aqueduct ] && name=Aqueduct flash=flash-both panics=panics-whole
            printf "| \`%s\` | %s | %s | %s | %s | %s | %s | %s |\n" $target $opt $name \
                "$(grouped "$(value $target-$opt $peer $flash)")" "$(grouped "$(value $target-$opt $peer ram)")" \
                "$(grouped "$(value $target-$opt $peer stack)")" "$(grouped "$(value $target-$opt $peer instructions)")" \
                "$([ "$(value $target-$opt $peer $panics)" = 0 ] && echo none || echo linked)"
        done >>"$work/table"
        while read -r peer what count; do
            [ "$peer" != aqueduct ] || bound "$target/$opt/$what" "$count"
        done <"$work/$target-$opt"
    done
done
cat "$work/table"
for target in thumbv7em-none-eabihf thumbv6m-none-eabi; do
    echo "$target, opt-level s: producer alone $(value $target-s aqueduct flash-producer), reader alone $(value $target-s aqueduct flash-reader) bytes of flash"
done

[ "${1:-}" != --record ] || ../documents/results.py core/README.md cost <"$work/table"
exit $failed
