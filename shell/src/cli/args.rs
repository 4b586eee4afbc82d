//! The command line: what `aqueduct` can do.

use clap::{Parser, Subcommand};

use super::credential::CredentialCommand;
#[cfg(feature = "look")]
use super::doctor::DoctorArgs;
#[cfg(feature = "look")]
use super::inspect::InspectArgs;
use super::journal::JournalArgs;
use super::reload::ReloadArgs;
use super::serve::ServeArgs;
#[cfg(feature = "look")]
use super::tail::TailArgs;

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
    /// Show the records of a ring as they come.
    #[cfg(feature = "look")]
    Tail(Box<TailArgs>),
    /// Say what a ring, a journal, a core dump or any file is, and what in it is damaged.
    #[cfg(feature = "look")]
    Inspect(InspectArgs),
    /// Look at what a listener needs, and say what is wrong and how it is mended.
    #[cfg(feature = "look")]
    Doctor(DoctorArgs),
}
