//! `aqueduct reload`: has a running process read its configuration again.

use std::process::ExitCode;

use super::listener::ListenerArgs;
use super::{EXIT_USAGE, print};
use crate::control;

/// Flags of `aqueduct reload`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ReloadArgs {
    #[command(flatten)]
    listener: ListenerArgs,
}

/// Asks, and says what has changed, or why nothing has.
pub(super) fn run(args: &ReloadArgs) -> ExitCode {
    let path = match args.listener.socket() {
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
