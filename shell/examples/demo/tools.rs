//! Builds the two programs that the demo starts: the C reader with `make`, the listener with cargo.

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Builds the C side into the target directory; returns the path of its `stats`.
pub(crate) fn build_c_reader() -> io::Result<PathBuf> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../c");
    let directory = profile_dir()?.join("demo-c");
    println!("building   the C reader, with make");
    let mut make = Command::new("make");
    make.arg("-C")
        .arg(&sources)
        .arg(format!("BUILD={}", directory.display()))
        .arg(format!("{}/stats", directory.display()));
    let output = make.output().map_err(|error| {
        io::Error::other(format!("make: {error}; it and a C compiler are needed"))
    })?;
    if !output.status.success() {
        return Err(io::Error::other(format!(
            "the C side does not build:\n{}",
            String::from_utf8_lossy(&output.stderr)
        )));
    }
    Ok(directory.join("stats"))
}

/// Builds the listener in the profile that this example was built in; returns its path.
pub(crate) fn build_listener() -> io::Result<PathBuf> {
    let directory = profile_dir()?;
    // Cargo names directories after profiles, except for `dev`.
    let profile = match directory.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    println!("building   the listener, with cargo");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR")).args([
        "build",
        "--quiet",
        "--profile",
        profile,
        "-p",
        "aqueduct",
        "--bin",
        "aqueduct",
    ]);
    let status = cargo.stdin(Stdio::null()).status()?;
    let binary = directory.join("aqueduct");
    if !status.success() || !binary.is_file() {
        return Err(io::Error::other(format!(
            "the listener was not built at {}: cargo ended with {status}",
            binary.display()
        )));
    }
    Ok(binary)
}

/// Where cargo puts binaries: this example is `<directory>/examples/demo`.
fn profile_dir() -> io::Result<PathBuf> {
    let example = env::current_exe()?;
    let directory = example.parent().and_then(Path::parent);
    directory.map(Path::to_path_buf).ok_or_else(|| {
        io::Error::other(format!("{} is not in a target directory", example.display()))
    })
}
