//! `aqueduct reload`: has a running process read its configuration again.

use std::path::PathBuf;
use std::process::ExitCode;

use super::{EXIT_USAGE, ServeArgs, print};
use crate::config::ConfigError;
use crate::control;

/// Flags of `aqueduct reload`.
#[allow(clippy::doc_markdown, reason = "the texts are the help that the command prints")]
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ReloadArgs {
    /// Control socket of the process [default: as `serve` finds it]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// TOML file of the process, which names its control socket
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Asks, and says what has changed, or why nothing has.
pub(super) fn run(args: &ReloadArgs) -> ExitCode {
    let path = match socket(args) {
        Ok(path) => path,
        Err(error) => {
            eprintln!("aqueduct: {error}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    match control::reload(&path) {
        Ok(Ok(changes)) => print(&format!("{changes}\n")),
        Ok(Err(reason)) => {
            eprintln!("aqueduct: reload refused, nothing has changed: {reason}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("aqueduct: {}: {error}", path.display());
            ExitCode::FAILURE
        }
    }
}

/// The flag; else what `serve` would listen at.
fn socket(args: &ReloadArgs) -> Result<PathBuf, ConfigError> {
    if let Some(path) = &args.socket {
        return Ok(path.clone());
    }
    let serve = ServeArgs { config: args.config.clone(), ..ServeArgs::default() };
    Ok(serve.load()?.config.control.socket)
}
