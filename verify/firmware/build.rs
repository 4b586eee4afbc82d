//! Gives the linker the memory map of the board that represents the target.

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let target = env::var("TARGET").expect("cargo sets TARGET");
    let board = match target.as_str() {
        "thumbv6m-none-eabi" => "microbit",
        "thumbv7em-none-eabihf" => "mps2-an386",
        other => panic!("no memory map for {other}"),
    };
    for (from, to) in [(board, "memory.x"), ("shared", "shared.x")] {
        fs::copy(format!("memory/{from}.x"), out.join(to)).expect("the memory map is copied");
    }
    println!("cargo:rerun-if-changed=memory");
    println!("cargo:rustc-link-search={}", out.display());
    println!("cargo:rustc-link-arg-bins=-Tlink.x");
    // Two load segments with different rights need not lie on different pages: there is no MMU.
    println!("cargo:rustc-link-arg-bins=--nmagic");
}
