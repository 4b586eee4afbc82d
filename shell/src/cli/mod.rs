//! The `aqueduct` command: arguments, log, exit status.

mod args;

use std::process::ExitCode;

use clap::Parser;

pub use args::{Args, Command, ServeArgs};

/// Exit status for a command line or a file that is wrong; clap uses the same.
const EXIT_USAGE: u8 = 2;

/// Does what the command line says.
pub fn main() -> ExitCode {
    match Args::parse().command {
        Command::Serve(args) => serve(&args),
    }
}

fn serve(args: &ServeArgs) -> ExitCode {
    let config = match args.config() {
        Ok(config) => config,
        Err(error) => {
            eprintln!("aqueduct: {error}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    crate::log::start(config.log);
    match crate::server::run(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("aqueduct: {error}");
            ExitCode::FAILURE
        }
    }
}
