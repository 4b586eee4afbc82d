//! The `aqueduct` command: arguments, log, exit status.

mod args;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::{log, server};

pub use args::{Args, Command, ServeArgs};

/// Exit status for a command line or a file that is wrong; clap uses the same.
const EXIT_USAGE: u8 = 2;

/// Does what the command line says.
pub fn main() -> ExitCode {
    server::ignore_file_size_signal();
    match Args::parse().command {
        Some(Command::Serve(args)) => serve(&args),
        None => {
            // Somebody looks around; nobody who does not listen is missed.
            let _ = Args::command().print_help();
            ExitCode::SUCCESS
        }
    }
}

fn serve(args: &ServeArgs) -> ExitCode {
    let config = match args.config() {
        Ok(config) => config,
        Err(error) => {
            log::last_words(&format!("aqueduct: {error}"));
            return ExitCode::from(EXIT_USAGE);
        }
    };
    log::start(config.log);
    // The runtime panics where the system refuses it a thread or a descriptor; that is logged.
    match std::panic::catch_unwind(|| server::run(&config)) {
        Ok(Ok(())) => {
            log::flush();
            ExitCode::SUCCESS
        }
        Err(_) => {
            log::flush();
            ExitCode::FAILURE
        }
        Ok(Err(error)) => {
            log::last_words(&format!("aqueduct: {error}"));
            ExitCode::FAILURE
        }
    }
}
