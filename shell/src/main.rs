//! The `aqueduct` command. Everything is the library's.
#![deny(unsafe_code)]

fn main() -> std::process::ExitCode {
    aqueduct::log::guarded("aqueduct", aqueduct::cli::main)
}
