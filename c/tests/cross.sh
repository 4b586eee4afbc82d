#!/bin/sh
# Other processors: the unit tests as 32-bit x86 and, under qemu-user, as AArch64, 32-bit ARM,
# RISC-V, s390x and MIPS, the last two big-endian; the CRC on older x86-64; the freestanding half
# and the amalgamation for Cortex-M, and there the microcontroller example, run on two emulated
# boards against a producer that interrupts it: firmware/board.c.
#
#   make check-cross     prints PASS lines and nothing else
#
# Needs apt: gcc-i686-linux-gnu libc6-dev-i386-cross libc6-i386, qemu-user,
# gcc-{aarch64,riscv64,s390x,mips}-linux-gnu gcc-arm-linux-gnueabihf with libc6-dev-*-cross,
# gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm, clang; .ci/setup installs them. Writes
# to a temporary directory only. The rest of the project on these machines: verify/platforms/run.sh.
set -u
cd "$(dirname "$0")/.." || exit 2
for tool in i686-linux-gnu-gcc x86_64-linux-gnu-gcc qemu-x86_64 aarch64-linux-gnu-gcc qemu-aarch64 arm-linux-gnueabihf-gcc riscv64-linux-gnu-gcc s390x-linux-gnu-gcc mips-linux-gnu-gcc \
    arm-none-eabi-gcc qemu-system-arm clang; do
    command -v $tool >/dev/null || { echo "$tool is missing"; exit 2; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 2' INT TERM
unset MAKEFLAGS MFLAGS MAKELEVEL
failed=0

report() {
    name=$1
    shift
    if "$@" >"$work/out" 2>&1; then
        echo "PASS $name"
    else
        echo "FAIL $name: $*"
        tail -n 40 "$work/out"
        failed=1
    fi
}
class() { [ "$(od -An -tx1 -j4 -N1 "$1" | tr -d ' ')" = "$2" ]; }
# The example's object and the library's leave open what a compiler may call and what the board has,
# and nothing else.
firmware() {
    # shellcheck disable=SC2086
    $1 $strict -Os -ffreestanding -Iinclude -c -o "$work/firmware.o" examples/microcontroller.c &&
        arm-none-eabi-ld -r -o "$work/firmware" "$work/firmware.o" "$work/arm.o" &&
        nm -u "$work/firmware" | awk '$2 !~ /^(mem(cpy|set|move)|__aeabi_.*|__gnu_thumb1_.*|board_.*)$/ {print "undefined: " $2; bad = 1} END {exit bad}'
}
# board QEMU'S-NAME CPU: the same two objects with the board that tests them. Its start-up code is
# GCC's, whoever compiled the example.
board() {
    # shellcheck disable=SC2086
    arm-none-eabi-gcc -mcpu=$2 -mthumb $strict -Os -ffreestanding -Iinclude -nostartfiles -T tests/firmware/board.ld -o "$work/$1" \
        tests/firmware/board.c "$work/firmware.o" "$work/arm.o"
}
# emulated BOARD SEED: by a clock that counts instructions, so that interrupts come at the same ones
# however busy the machine is.
emulated() {
    timeout 60 qemu-system-arm -M "$1" -icount shift=6,sleep=off -nographic -semihosting-config "enable=on,target=native,arg=$1,arg=seed=$2" -kernel "$work/$1" </dev/null
}
reads() {
    emulated "$1" none >"$work/said" 2>&1
    code=$?
    cat "$work/said"
    [ $code = 0 ] && echo "ok: 3000 records, 30 payloads and 30 headers damaged, 29 too large;" \
        "the ring was late and full, the reader slept" | cmp - "$work/said"
}
# Exit code 1 and the line of a comparison: a run that ends otherwise has shown nothing.
fails() {
    emulated "$1" "$2" >"$work/said" 2>&1
    code=$?
    cat "$work/said"
    [ $code = 1 ] && grep -q '^FAILED: [a-z ]*: [0-9]* instead of' "$work/said"
}
strict="-std=c11 -Wall -Wextra -Wpedantic -Wconversion -Werror"

i686=i686-linux-gnu-gcc
report "i686: unit tests" make -j2 check CC=$i686 BUILD="$work/i686"
report "i686: shared library" make shared CC=$i686 BUILD="$work/i686"
report "i686: it is 32-bit" class "$work/i686/libaqueduct.so" 01
aarch64=aarch64-linux-gnu-gcc
report "aarch64: unit tests under qemu" make -j2 check CC=$aarch64 RUN="qemu-aarch64 -L /usr/aarch64-linux-gnu" BUILD="$work/aarch64"
report "aarch64: CRC without SHA3, which is chosen at run time" qemu-aarch64 -L /usr/aarch64-linux-gnu -cpu cortex-a72 "$work/aarch64/test_crc32"
report "x86-64: CRC test" make "$work/x86-64/test_crc32" CC=x86_64-linux-gnu-gcc WERROR=-Werror BUILD="$work/x86-64"
for cpu in Westmere core2duo; do
    report "x86-64: CRC of a $cpu, which is chosen at run time" qemu-x86_64 -cpu $cpu "$work/x86-64/test_crc32"
done
report "aarch64: without vector registers" make "$work/plain/libaqueduct.a" CC=$aarch64 CFLAGS=-mgeneral-regs-only WERROR=-Werror BUILD="$work/plain"
report "aarch64: shared library" make shared CC=$aarch64 BUILD="$work/aarch64"

# What a user of the library runs, and the tests that have no clock in them; all of them on AArch64
# and i686 only, because an emulator is slow.
some="test_crc32 test_abi test_golden test_reader test_damage test_hostile test_batch test_seek test_observer test_observer_overrun test_attach test_open test_client test_loop"
for target in arm-linux-gnueabihf:arm riscv64-linux-gnu:riscv64 s390x-linux-gnu:s390x mips-linux-gnu:mips; do
    triple=${target%:*} emulator=qemu-${target#*:}
    report "${target#*:}: unit tests under qemu" make -j2 check CC="$triple-gcc" RUN="$emulator -L /usr/$triple" BUILD="$work/$triple" TESTS="$some"
done

report "the amalgamation is made" make amalgamation BUILD="$work"
for compiler in "arm-none-eabi-gcc -mcpu=cortex-m0 -mthumb" "arm-none-eabi-gcc -mcpu=cortex-m4 -mthumb" \
    "clang --target=thumbv7em-none-eabi -mcpu=cortex-m4"; do
    case $compiler in
    arm*) report "$compiler: freestanding" make freestanding CC="${compiler%% *}" CFLAGS="${compiler#* }" BUILD="$work/arm" && rm -rf "$work/arm" ;;
    esac
    # shellcheck disable=SC2086
    report "$compiler: amalgamation" $compiler $strict -Os -ffreestanding -DAQD_CRC_SMALL -c -o "$work/arm.o" "$work/amalgamation/aqueduct.c"
    report "$compiler: microcontroller example" firmware "$compiler"
    cpu=${compiler#*-mcpu=}
    cpu=${cpu%% *}
    case $cpu in
    cortex-m0) machine=microbit ;;
    *) machine=mps2-an386 ;;
    esac
    report "$compiler: linked for $machine" board $machine "$cpu"
    report "$compiler: it reads all there" reads $machine
    report "$compiler: a record spoiled unseen fails" fails $machine damage
    report "$compiler: a broken doorbell fails" fails $machine deaf
done
for compiler in $i686 $aarch64; do
    report "$compiler: amalgamation" $compiler $strict -O2 -c -o "$work/other.o" "$work/amalgamation/aqueduct.c"
done
exit $failed
