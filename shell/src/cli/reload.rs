//! `aqueduct reload`: has a running process read its configuration again.

use std::process::ExitCode;

use serde_json::json;

use super::listener::ListenerArgs;
use super::text::FormatArgs;
use super::{EXIT_USAGE, print};
use crate::control;

/// Flags of `aqueduct reload`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ReloadArgs {
    #[command(flatten)]
    listener: ListenerArgs,
    #[command(flatten)]
    format: FormatArgs,
}

/// Asks, and says what has changed, or why nothing has.
pub(super) fn run(args: &ReloadArgs) -> ExitCode {
    let path = match args.listener.socket() {
        Ok(path) => path,
        Err(error) => {
            say!("aqueduct: {error}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    match control::reload(&path) {
        Ok(Ok(changes)) => {
            let object = json!({ "applied": true, "changes": changes, "error": null });
            print(&args.format.choose(|| format!("{changes}\n"), &object))
        }
        Ok(Err(reason)) => failed(args, &format!("reload refused, nothing has changed: {reason}")),
        Err(error) => failed(args, &format!("{}: {error}", path.display())),
    }
}

/// Says why nothing has changed.
fn failed(args: &ReloadArgs, error: &str) -> ExitCode {
    say!("aqueduct: {error}");
    if args.format.is_json() {
        let object = json!({ "applied": false, "changes": null, "error": error });
        print(&format!("{object}\n"));
    }
    ExitCode::FAILURE
}
