//! The listener, as it is: here because tests of this package start it, stop it and kill it.
//!
//! Run: `cargo run -p aqueduct-forward --example listener -- serve --socket /tmp/aqueduct.sock`
//! Expect: `aqueduct ready http=127.0.0.1:8080 socket=/tmp/aqueduct.sock`

fn main() -> std::process::ExitCode {
    aqueduct::cli::main()
}
