//! The `aqueduct` command: arguments, log, exit status. Everything else is the library's.
#![deny(unsafe_code)]

use std::process::ExitCode;

use aqueduct::config::{Args, Command, Config, LogFormat, LogLevel, ServeArgs};
use clap::Parser;
use tracing_subscriber::filter::LevelFilter;

/// Exit status for a command line or a file that is wrong; clap uses the same.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    match Args::parse().command {
        Command::Serve(args) => serve(&args),
    }
}

fn serve(args: &ServeArgs) -> ExitCode {
    let config = match Config::load(args) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("aqueduct: {error}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    start_log(&config);
    match aqueduct::serve::run(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("aqueduct: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start_log(config: &Config) {
    let level = match config.log_level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let log = tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(level);
    match config.log_format {
        LogFormat::Text => log.with_ansi(false).init(),
        LogFormat::Json => log.json().init(),
    }
}
