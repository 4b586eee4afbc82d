//! The `aqueduct` command: arguments, log, exit status.
//!
//! A subcommand is a variant of [`Command`], and a file here that does it.

mod args;
mod config;
mod credential;
mod journal;
mod reload;
mod serve;

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::server;

pub use args::{Args, Command};
pub use credential::{AddArgs, CredentialCommand};
pub use journal::JournalArgs;
pub use reload::ReloadArgs;
pub use serve::ServeArgs;

/// Exit status for a command line or a file that is wrong; clap uses the same.
const EXIT_USAGE: u8 = 2;

/// Does what the command line says.
pub fn main() -> ExitCode {
    server::ignore_file_size_signal();
    match Args::parse().command {
        Some(Command::Serve(args)) => serve::run(*args),
        Some(Command::CheckConfig(args)) => config::check(&args),
        Some(Command::Config(args)) => config::show(&args),
        Some(Command::Credential(command)) => credential::run(&command),
        Some(Command::Reload(args)) => reload::run(&args),
        Some(Command::Journal(args)) => journal::run(&args),
        None => {
            // Somebody looks around; nobody who does not listen is missed.
            let _ = Args::command().print_help();
            ExitCode::SUCCESS
        }
    }
}

/// Writes to stdout. Whoever does not take it, as `head` does, is not told so.
fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            eprintln!("aqueduct: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}
