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
    match server::run(&config) {
        Ok(()) => {
            log::flush();
            ExitCode::SUCCESS
        }
        Err(error) => {
            log::last_words(&format!("aqueduct: {error}"));
            ExitCode::FAILURE
        }
    }
}
