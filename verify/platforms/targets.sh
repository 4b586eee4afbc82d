#!/bin/sh
# Builds the core for processors and systems without tests here, and, where there is no
# compare-and-swap, with the features that make up for it. `--list` names the targets.
set -eu
cd "$(dirname "$0")/../.."

targets="thumbv6m-none-eabi thumbv7m-none-eabi thumbv7em-none-eabihf
    thumbv8m.main-none-eabihf riscv32i-unknown-none-elf riscv32imc-unknown-none-elf
    riscv32imac-unknown-none-elf riscv64gc-unknown-none-elf aarch64-unknown-none
    x86_64-unknown-none wasm32-unknown-unknown i686-unknown-linux-gnu
    powerpc-unknown-linux-gnu s390x-unknown-linux-gnu"
if [ "${1:-}" = --list ]; then
    echo $targets
    exit
fi

# build FEATURES TARGET...
build() {
    features=$1
    shift
    for target in "$@"; do set -- "$@" --target "$target" && shift; done
    cargo build --release -p aqueduct-core --features "$features" "$@"
}

build "" $targets
build critical-section,async,crc-small thumbv6m-none-eabi riscv32i-unknown-none-elf
build critical-section,async,crc-hook riscv32imc-unknown-none-elf
