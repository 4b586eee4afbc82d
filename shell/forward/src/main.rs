//! The `aqueduct-forward` command. Everything is the library's.
#![deny(unsafe_code)]

/// librdkafka frees in its own threads what this one allocates, six pieces for each message, which
/// costs glibc a third of all the time that there is.
#[cfg(feature = "kafka")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    aqueduct_forward::cli::main()
}
