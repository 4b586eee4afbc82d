//! Programs of other people, as `tests/setup` installs them.
#![allow(unreachable_pub, reason = "as in `common`")]

use std::path::PathBuf;

/// A program of `target/forward/venv/bin`; `None`, and a line that says so, if it is not there.
/// With `AQUEDUCT_TOOLS=required` it must be.
pub fn tool(name: &str) -> Option<PathBuf> {
    let test = std::env::current_exe().expect("this program has a path");
    // target/debug/deps/TEST
    let target = test.ancestors().nth(3).expect("three directories up");
    let path = target.join("forward/venv/bin").join(name);
    if path.exists() {
        return Some(path);
    }
    let is_required = std::env::var("AQUEDUCT_TOOLS").is_ok_and(|value| value == "required");
    assert!(!is_required, "{} is missing: shell/forward/tests/setup", path.display());
    println!("skipped: no {}; shell/forward/tests/setup installs it", path.display());
    None
}
