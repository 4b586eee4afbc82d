//! Compiles the reader for whatever target Cargo builds for; `CC` and `CFLAGS` choose the compiler
//! as `cc` has it. A crate that depends on this one finds the headers in
//! `DEP_AQUEDUCT_READER_INCLUDE`.

use std::env;
use std::path::Path;

/// The folder of the C library; beside this crate's sources once it is vendored.
const LIBRARY: &str = "../..";

/// What a reader needs, without an operating system.
const SOURCES: [&str; 13] = [
    "attributes",
    "batch",
    "crc32/arm",
    "crc32/clmul",
    "crc32/table",
    "lag",
    "reader",
    "reader_init",
    "reader_sleep",
    "record_load",
    "ring",
    "seek",
    "status",
];

fn main() {
    let library =
        Path::new(&env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join(LIBRARY);
    let include = library.join("include");
    let mut build = cc::Build::new();
    build.std("c11").include(&include).file("src/layout.c");
    for name in SOURCES {
        build.file(library.join("src").join(name).with_extension("c"));
    }
    if env::var_os("CARGO_CFG_TARGET_OS").is_some_and(|system| system == "none") {
        build.flag("-ffreestanding");
    }
    for (feature, name) in
        [("CRC_SMALL", "AQD_CRC_SMALL"), ("CRC_1K", "AQD_CRC_1K"), ("CRC_HOOK", "AQD_CRC_HOOK")]
    {
        if env::var_os(format!("CARGO_FEATURE_{feature}")).is_some() {
            build.define(name, None);
        }
    }
    build.compile("aqueduct_reader");
    println!("cargo:include={}", include.display());
    println!("cargo:rerun-if-changed=src/layout.c");
    for watched in [library.join("src"), include] {
        println!("cargo:rerun-if-changed={}", watched.display());
    }
}
