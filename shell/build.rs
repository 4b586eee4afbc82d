//! Makes the program that is packaged smaller: where the C library can read them so, its relative
//! relocations are a bitmap instead of 24 bytes each.

use std::env::var;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let of = |name: &str| var(name).unwrap_or_default();
    // No other profile is for size. A program for another machine may meet an older library there.
    let is_packaged = of("OPT_LEVEL") == "s" && of("HOST") == of("TARGET");
    if is_packaged && of("CARGO_CFG_TARGET_ENV") == "gnu" && glibc() >= Some((2, 36)) {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// The version of this machine's C library, if it is glibc.
fn glibc() -> Option<(u32, u32)> {
    let said = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let (major, minor) =
        str::from_utf8(&said.stdout).ok()?.trim().strip_prefix("glibc ")?.split_once('.')?;
    let digits = minor.split(|one: char| !one.is_ascii_digit()).next()?;
    Some((major.parse().ok()?, digits.parse().ok()?))
}
