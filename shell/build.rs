//! Makes the program that is packaged smaller: where the C library can read them so, its relative
//! relocations are a bitmap instead of 24 bytes each; where the linker can, functions with the same
//! instructions are there once.

use std::env::var;
use std::path::Path;
use std::process::Command;

/// Rust promises of no function that its address is its own.
const FOLDED: &str = "-Wl,--icf=all";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let of = |name: &str| var(name).unwrap_or_default();
    // No other profile is for size. A program for another machine may meet an older library there.
    let is_packaged = of("OPT_LEVEL") == "s" && of("HOST") == of("TARGET");
    if is_packaged && links_with(FOLDED, Path::new(&of("OUT_DIR"))) {
        println!("cargo::rustc-link-arg-bins={FOLDED}");
    }
    if is_packaged && of("CARGO_CFG_TARGET_ENV") == "gnu" && glibc() >= Some((2, 36)) {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// Whether a program can be linked with this argument: that of Rust's own linker, which is not the
/// one of every target.
fn links_with(argument: &str, out: &Path) -> bool {
    let source = out.join("empty.rs");
    let mut rustc = Command::new(var("RUSTC").unwrap_or_else(|_| "rustc".to_owned()));
    // They may choose a linker.
    let flags = var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    rustc.args(flags.split('\x1f').filter(|flag| !flag.is_empty()));
    if let Ok(linker) = var("RUSTC_LINKER") {
        rustc.arg(format!("-Clinker={linker}"));
    }
    rustc.arg(format!("-Clink-arg={argument}")).arg("-o").arg(out.join("empty")).arg(&source);
    std::fs::write(&source, "fn main() {}").is_ok()
        && rustc.output().is_ok_and(|done| done.status.success())
}

/// The version of this machine's C library, if it is glibc.
fn glibc() -> Option<(u32, u32)> {
    let said = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let (major, minor) =
        str::from_utf8(&said.stdout).ok()?.trim().strip_prefix("glibc ")?.split_once('.')?;
    let digits = minor.split(|one: char| !one.is_ascii_digit()).next()?;
    Some((major.parse().ok()?, digits.parse().ok()?))
}
