#!/bin/sh
# Code and RAM that the core adds to a program, by target and optimisation: the sections of four
# small programs, with and without the two halves. Needs readelf (binutils) and, for the RAM of the
# structs, the emulator; see run.sh.
set -eu
cd "$(dirname "$0")"

target_dir=${CARGO_TARGET_DIR:-$PWD/target}

# section ELF NAME: bytes.
section() {
    readelf -SW "$1" | sed 's/^ *\[ *[0-9]*\] *//' | awk -v name="$2" '$1 == name { print $5 }' | { read -r hex && echo $((0x$hex)) || echo 0; }
}

# table ELF: bytes of the CRC table.
table() {
    readelf -sW "$1" | awk '$4 == "OBJECT" && $8 ~ /BY_8_BITS/ { sum += $3 } END { print sum + 0 }'
}

printf '%-22s %-6s %-10s %8s %8s %11s\n' target opt program .text .rodata 'CRC table'
for target in thumbv7em-none-eabihf thumbv6m-none-eabi; do
    for opt in s 3; do
        CARGO_PROFILE_RELEASE_OPT_LEVEL=$opt cargo build --quiet --locked --release --target $target \
            --bin size_none --bin size_producer --bin size_reader --bin size_both --target-dir "$target_dir/size-$opt"
        elfs=$target_dir/size-$opt/$target/release
        text=$(section "$elfs/size_none" .text) rodata=$(section "$elfs/size_none" .rodata)
        printf '%-22s %-6s %-10s %8d %8d %11d\n' $target $opt 'none' "$text" "$rodata" "$(table "$elfs/size_none")"
        for program in producer reader both; do
            elf=$elfs/size_$program
            tables=$(table "$elf")
            printf '%-22s %-6s %-10s %+8d %+8d %+11d\n' $target $opt $program \
                $(($(section "$elf" .text) - text)) $(($(section "$elf" .rodata) - rodata - tables)) "$tables"
        done
    done
done

for target in thumbv7em-none-eabihf thumbv6m-none-eabi; do
    printf '\nRAM, bytes, %s\n' $target
    cargo run --quiet --locked --release --target $target --bin size_ram </dev/null
done
