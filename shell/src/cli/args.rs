//! The command line: what `aqueduct` can do.

use clap::{Parser, Subcommand};

use super::credential::CredentialCommand;
use super::journal::JournalArgs;
use super::reload::ReloadArgs;
use super::serve::ServeArgs;

/// Carries records from HTTP through a shared-memory ring into readers in other processes.
#[derive(Debug, Parser)]
#[command(name = "aqueduct", version, about)]
pub struct Args {
    /// What to do; help without one.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What `aqueduct` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Take records over HTTP and hand them to readers, until SIGTERM or SIGINT.
    Serve(Box<ServeArgs>),
    /// Say whether `serve` with the same flags, environment and file would accept its settings.
    CheckConfig(Box<ServeArgs>),
    /// Print the settings that `serve` with the same flags, environment and file would have.
    Config(Box<ServeArgs>),
    /// Manage who may write.
    #[command(subcommand)]
    Credential(CredentialCommand),
    /// Have a running process read its file again; nothing changes if it cannot take all of it.
    Reload(ReloadArgs),
    /// Look at the records of a ring that are in files, and play them back.
    Journal(JournalArgs),
}
