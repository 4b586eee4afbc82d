#!/bin/sh
# What a record of 64 bytes costs beside bbqueue and heapless, by target and optimisation: flash of
# a program with both halves beyond one without, RAM beside the data, stack, instructions of push,
# next and release. Fails if a count is above its bound in cost.txt, if a program of the core has a
# panic in it, and if anything could not be counted: no symbols, no figure, a bound of nothing.
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
flash() { size "$1" | awk 'NR == 2 { bytes = $1 + $2 } END { print bytes + 0; exit bytes == 0 }'; }

# panics ELF: symbols that only a panic needs. A list without main is not that of a program.
panics() {
    nm -C "$1" >"$work/symbols"
    if ! grep -q ' T main$' "$work/symbols"; then
        echo "$1: no symbol main: stripped, or not a program" >&2
        return 1
    fi
    grep -cE 'core::panicking|core::(result|option)::.*(unwrap|expect)_failed|slice_(start|end)|slice_index|copy_from_slice_impl' "$work/symbols" || true
}

# bound NAME VALUE: compares with the bound, if there is one.
bound() {
    echo "$1" >>"$work/counted"
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
    CARGO_PROFILE_RELEASE_OPT_LEVEL=$opt cargo build --quiet --locked --release --features whole --target "$target" \
        --target-dir "$target_dir/cost-$opt" --bin cost --bin size_none --bin size_both --bin size_producer \
        --bin size_reader --bin size_whole --bin size_heapless --bin size_bbqueue
    none=$(flash "$elfs/size_none")
    for program in both producer reader heapless bbqueue; do
        peer=$program what=flash
        case $program in both | producer | reader) peer=aqueduct what=flash-$program ;; esac
        bytes=$(flash "$elfs/size_$program")
        echo "$peer $what $((bytes - none))"
    done
    for program in both producer reader whole heapless bbqueue; do
        panics=$(panics "$elfs/size_$program")
        case $program in
        heapless | bbqueue) echo "$program panics $panics" ;;
        *) echo "aqueduct panics-$program $panics" ;;
        esac
    done
    timeout 60 qemu-system-arm -M $board -nographic -icount shift=0 -semihosting-config enable=on,target=native \
        -kernel "$elfs/cost" </dev/null
}

# value FILE PEER WHAT: a figure, which must be there.
value() {
    if ! awk -v peer="$2" -v what="$3" '$1 == peer && $2 == what { print $3; seen++ } END { exit seen != 1 }' "$work/$1"; then
        echo "$1: no figure, or more than one, for $2 $3" >&2
        return 1
    fi
}

# grouped FILE PEER WHAT: the same by thousands.
grouped() {
    figure=$(value "$@")
    printf '%d' "$figure" | sed ':a;s/\B[0-9]\{3\}\>/,&/;ta'
}

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
            run=$target-$opt
            # A statement each: of several in one, only the last one's failure is seen.
            flash=$(grouped $run $peer $flash)
            ram=$(grouped $run $peer ram)
            stack=$(grouped $run $peer stack)
            instructions=$(grouped $run $peer instructions)
            panics=$(value $run $peer $panics)
            [ "$panics" = 0 ] && panics=none || panics=linked
            printf "| \`%s\` | %s | %s | %s | %s | %s | %s | %s |\n" $target $opt $name \
                "$flash" "$ram" "$stack" "$instructions" $panics
        done >>"$work/table"
        while read -r peer what count; do
            [ "$peer" != aqueduct ] || bound "$target/$opt/$what" "$count"
        done <"$work/$target-$opt"
    done
done
cat "$work/table"
for target in thumbv7em-none-eabihf thumbv6m-none-eabi; do
    producer=$(value $target-s aqueduct flash-producer)
    reader=$(value $target-s aqueduct flash-reader)
    echo "$target, opt-level s: producer alone $producer, reader alone $reader bytes of flash"
done
# A bound of something that was not counted bounds nothing.
while read -r name _; do
    grep -qxF "$name" "$work/counted" && continue
    echo "$name: bounded in cost.txt, but not counted" >&2
    failed=1
done <cost.txt

[ "${1:-}" != --record ] || ../documents/results.py core/README.md cost <"$work/table"
exit $failed
