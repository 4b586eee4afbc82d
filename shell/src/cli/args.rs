//! The command line: what `aqueduct` can do.

use clap::{Parser, Subcommand};

#[cfg(feature = "operate")]
use super::bench::BenchArgs;
use super::config::ConfigArgs;
use super::credential::CredentialCommand;
#[cfg(feature = "look")]
use super::doctor::DoctorArgs;
#[cfg(feature = "look")]
use super::inspect::InspectArgs;
use super::journal::JournalArgs;
#[cfg(feature = "operate")]
use super::publish::PublishArgs;
use super::reload::ReloadArgs;
use super::serve::ServeArgs;
#[cfg(feature = "look")]
use super::tail::TailArgs;
#[cfg(feature = "operate")]
use super::top::TopArgs;

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
    CheckConfig(Box<ConfigArgs>),
    /// Print the settings that `serve` with the same flags, environment and file would have.
    Config(Box<ConfigArgs>),
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
    /// Send the records of files or stdin to a ring.
    #[cfg(feature = "operate")]
    Publish(Box<PublishArgs>),
    /// Show what every ring, reader, address and forwarder does.
    #[cfg(feature = "operate")]
    Top(TopArgs),
    /// Load a listener by any of its protocols, and check what arrived.
    #[cfg(feature = "operate")]
    Bench(Box<BenchArgs>),
    /// Print the completions of a shell.
    #[cfg(feature = "operate")]
    Completions {
        /// Which
        shell: clap_complete::Shell,
    },
    /// Write a manual page for each command into a directory, which is made if it is not there.
    #[cfg(feature = "operate")]
    Man {
        /// Where to
        directory: std::path::PathBuf,
    },
}
