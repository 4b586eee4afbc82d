//! The C reader's own tests, so that `cargo test --workspace` covers both languages. Needs make and
//! a C compiler.

use std::path::Path;
use std::process::Command;

#[test]
fn the_c_side_passes_its_tests() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../c");
    // Under the target directory: a build in `c/` may be going on at the same time, and a clone
    // stays clean.
    let build = Path::new(env!("CARGO_TARGET_TMPDIR")).join("c");
    let mut make = Command::new("make");
    make.arg("-C").arg(&directory).arg("check").arg(format!("BUILD={}", build.display()));
    // A make that runs cargo must not hand its job server down to this one.
    make.env_remove("MAKEFLAGS").env_remove("MAKELEVEL");
    let output = make.output().expect("make runs; Debian: apt-get install make gcc");
    println!("{}", String::from_utf8_lossy(&output.stdout));
    println!("{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{make:?}: {}", output.status);
}
