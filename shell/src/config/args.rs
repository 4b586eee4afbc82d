//! The command line.
//!
//! Only its shape; values are checked with the file's in the parent module. Next: `file`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use super::{LogFormat, LogLevel};

/// Carries records from HTTP through a shared-memory ring into readers in other processes.
#[derive(Debug, Parser)]
#[command(name = "aqueduct", version, about)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What `aqueduct` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Take records over HTTP and hand them to readers, until SIGTERM or SIGINT.
    Serve(ServeArgs),
}

/// Flags of `aqueduct serve`. A flag wins over the file.
#[allow(clippy::doc_markdown, reason = "the texts are the help that the command prints")]
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ServeArgs {
    /// TOML file with the rings and all other settings
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where HTTP is served; port 0 takes a free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: Option<SocketAddr>,
    /// Control socket that readers attach through [default: $XDG_RUNTIME_DIR/aqueduct.sock, else
    /// /run/aqueduct.sock]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// A ring to make, instead of those in the file; may be repeated [default: default]
    #[arg(long, value_name = "NAME")]
    pub ring: Vec<String>,
    /// Size of each ring: 32 times a power of two [default: 16777216]
    #[arg(long, value_name = "N")]
    pub capacity_bytes: Option<u64>,
    /// Largest record of each ring [default: 1048576, or what the capacity allows if that is less]
    #[arg(long, value_name = "N")]
    pub max_payload_bytes: Option<u64>,
    /// A subscription of each ring, which holds records back even while nobody is attached; may be
    /// repeated [default: default]
    #[arg(long, value_name = "NAME")]
    pub subscription: Vec<String>,
    /// How long a request waits for space in a full ring [default: 1000]
    #[arg(long, value_name = "MS")]
    pub full_wait_ms: Option<u64>,
    /// How long a shutdown waits for requests and readers [default: 5000]
    #[arg(long, value_name = "MS")]
    pub drain_timeout_ms: Option<u64>,
    /// How long a request head may take to arrive [default: 10000]
    #[arg(long, value_name = "MS")]
    pub header_timeout_ms: Option<u64>,
    /// How long a request body may take to arrive [default: 30000]
    #[arg(long, value_name = "MS")]
    pub body_timeout_ms: Option<u64>,
    /// Most HTTP connections at once [default: 1024]
    #[arg(long, value_name = "N")]
    pub max_connections: Option<u64>,
    /// Least severe level that is logged [default: info]
    #[arg(long, value_name = "LEVEL", value_enum)]
    pub log_level: Option<LogLevel>,
    /// Shape of the log on stderr [default: text]
    #[arg(long, value_name = "FORMAT", value_enum)]
    pub log_format: Option<LogFormat>,
}
