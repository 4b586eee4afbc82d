//! Gives the linker the names of the device's interrupts, and `mixed` its C and C++. The memory map
//! is that of the programs one directory up.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// The library's sources that a reader and an observer need.
const LIBRARY: [&str; 12] = [
    "attributes.c",
    "batch.c",
    "crc32/table.c",
    "lag.c",
    "observer.c",
    "observer_find.c",
    "reader.c",
    "reader_init.c",
    "reader_sleep.c",
    "record_load.c",
    "ring.c",
    "seek.c",
];

/// Compiles one file for the target, and gives the object.
fn compile(compiler: &str, source: &Path, target: &str, out: &Path) -> PathBuf {
    let object = out.join(source.file_name().expect("a file")).with_extension("o");
    let mut command = Command::new(compiler);
    command.args([
        "-Os",
        "-g",
        "-mthumb",
        "-ffreestanding",
        "-ffunction-sections",
        "-Wall",
        "-Wextra",
        "-Werror",
    ]);
    command.args(if target == "thumbv6m-none-eabi" {
        &["-mcpu=cortex-m0"][..]
    } else {
        &["-mcpu=cortex-m4", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"][..]
    });
    command.args(if compiler.ends_with("g++") {
        &["-std=c++17", "-fno-exceptions", "-fno-rtti", "-fno-threadsafe-statics"][..]
    } else {
        &["-std=c11"][..]
    });
    command.args(["-DAQD_CRC_1K", "-I../../../c/include", "-c", "-o"]).arg(&object).arg(source);
    let status = command.status().unwrap_or_else(|error| panic!("{compiler}: {error}"));
    assert!(status.success(), "{command:?}");
    object
}

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let target = env::var("TARGET").expect("cargo sets TARGET");
    fs::write(out.join("device.x"), "PROVIDE(SWI0 = DefaultHandler);\n").expect("it is written");
    println!("cargo:rustc-link-search={}", out.display());
    println!("cargo:rustc-link-arg-bins=-Tlink.x");
    println!("cargo:rustc-link-arg-bins=--nmagic");

    let sources = LIBRARY.map(|name| Path::new("../../../c/src").join(name));
    let mut objects: Vec<_> =
        sources.iter().map(|source| compile("arm-none-eabi-gcc", source, &target, &out)).collect();
    objects.push(compile("arm-none-eabi-gcc", Path::new("c/mixed_reader.c"), &target, &out));
    objects.push(compile("arm-none-eabi-g++", Path::new("c/mixed_observer.cpp"), &target, &out));
    for object in objects {
        println!("cargo:rustc-link-arg-bin=mixed={}", object.display());
    }
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=c");
    println!("cargo:rerun-if-changed=../../../c/src");
    println!("cargo:rerun-if-changed=../../../c/include");
}
