//! The `aqueduct-forward` command. Everything is the library's.
#![deny(unsafe_code)]

fn main() -> std::process::ExitCode {
    aqueduct_forward::cli::main()
}
