//! Compiles the C reader and observer, and a shim that shows their fields. With `CC=clang…` and a
//! fuzzing build, AddressSanitizer and coverage are on in C too.

use std::env;
use std::path::PathBuf;

fn main() {
    let here = PathBuf::from(env::var("CARGO_MANIFEST_DIR").unwrap_or_default());
    let c = env::var("AQUEDUCT_C_DIR").map_or_else(|_| here.join("../c"), PathBuf::from);
    let shim = here.join("c/shim.c");
    println!("cargo::rerun-if-env-changed=AQUEDUCT_C_DIR");
    println!("cargo::rerun-if-changed={}", c.display());
    let meanwhile = here.join("c/meanwhile.h");
    println!("cargo::rerun-if-changed={}", shim.display());
    println!("cargo::rerun-if-changed={}", meanwhile.display());
    let mut build = cc::Build::new();
    build.std("c11").warnings(false).opt_level(1).debug(true).include(c.join("include"));
    build.flag("-I").flag(c.join("src")).flag("-include").flag(meanwhile);
    build
        .files(
            [
                "crc32/table.c",
                "crc32/clmul.c",
                "crc32/arm.c",
                "record_load.c",
                "ring.c",
                "reader_init.c",
                "reader.c",
                "reader_sleep.c",
                "batch.c",
                "seek.c",
                "lag.c",
                "observer_find.c",
                "observer.c",
                "observer_batch.c",
                "attributes.c",
            ]
            .map(|file| c.join("src").join(file)),
        )
        .file(shim);
    let fuzzing = env::var_os("CARGO_CFG_FUZZING").is_some();
    if fuzzing && build.get_compiler().is_like_clang() {
        build.flag("-fsanitize=address").flag("-fno-omit-frame-pointer");
        build.flag("-fsanitize-coverage=inline-8bit-counters,pc-table,trace-cmp");
    }
    build.compile("aqueduct_reader");
}
