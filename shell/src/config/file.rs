//! The TOML file.
//!
//! Only its shape: an unknown key or a wrong type is an error here, a value out of range one of the
//! parent module.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde::Deserialize;

use super::ConfigError;

/// Least severe level that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Something failed that should not.
    Error,
    /// A peer misbehaved, or something was lost.
    Warn,
    /// Life of the process and of its readers.
    Info,
    /// Each connection.
    Debug,
    /// Everything.
    Trace,
}

/// Shape of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Clock of a ring's timestamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClockName {
    /// Nanoseconds since the Unix epoch.
    Realtime,
    /// Nanoseconds of the machine's monotonic clock.
    Monotonic,
}

/// The file as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileConfig {
    pub(super) listen: Option<String>,
    pub(super) socket: Option<PathBuf>,
    pub(super) full_wait_ms: Option<u64>,
    pub(super) drain_timeout_ms: Option<u64>,
    pub(super) header_timeout_ms: Option<u64>,
    pub(super) body_timeout_ms: Option<u64>,
    pub(super) keep_alive_timeout_ms: Option<u64>,
    pub(super) handshake_timeout_ms: Option<u64>,
    pub(super) max_connections: Option<u64>,
    pub(super) max_header_bytes: Option<u64>,
    pub(super) max_headers: Option<u64>,
    pub(super) max_readers: Option<u64>,
    pub(super) threads: Option<u64>,
    pub(super) log_level: Option<LogLevel>,
    pub(super) log_format: Option<LogFormat>,
    pub(super) allow_uids: Option<Vec<u32>>,
    pub(super) allow_gids: Option<Vec<u32>>,
    #[serde(default)]
    pub(super) ring: Vec<FileRing>,
}

/// One `[[ring]]` of the file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileRing {
    pub(super) name: String,
    pub(super) capacity_bytes: Option<u64>,
    pub(super) max_payload_bytes: Option<u64>,
    pub(super) clock: Option<ClockName>,
    pub(super) subscriptions: Option<Vec<String>>,
}

impl FileConfig {
    pub(super) fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        toml::from_str(&text).map_err(|source| ConfigError::Parse {
            path: path.to_owned(),
            source: Box::new(source),
        })
    }
}
