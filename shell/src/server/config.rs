//! All settings together: the tables of the configuration file, and the checked result.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use crate::admin::{AdminSettings, AdminTable};
use crate::config::{ConfigError, Given, Millis, number, time};
use crate::control::{ControlSettings, ControlTable};
use crate::ingress::event_loop::{IngestSettings, IngestTable, ListenSettings, ListenTable};
use crate::ingress::http::{HttpSettings, HttpTable};
use crate::log::{LogSettings, LogTable};
use crate::ring::{RingFlags, RingSettings, RingTable};

/// Largest configuration file, bytes: more than all rings there can be.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// The configuration file as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tables {
    /// The process.
    pub server: ServerTable,
    /// How connections are served.
    pub ingest: IngestTable,
    /// Further addresses.
    pub listen: Vec<ListenTable>,
    /// HTTP.
    pub http: HttpTable,
    /// The control socket.
    pub control: ControlTable,
    /// Health and metrics.
    pub admin: AdminTable,
    /// The log.
    pub log: LogTable,
    /// The rings.
    pub ring: Vec<RingTable>,
}

/// `[server]` as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerTable {
    /// Executor threads.
    pub threads: Option<Given<u64>>,
    /// How long a shutdown waits for requests and readers.
    pub drain_timeout_ms: Option<Given<Millis>>,
}

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Executor threads.
    pub threads: usize,
    /// How long a shutdown waits for requests and readers.
    pub drain_timeout: Duration,
    /// How connections are served.
    pub ingest: IngestSettings,
    /// Addresses beside the one of HTTP.
    pub listen: Vec<ListenSettings>,
    /// HTTP.
    pub http: HttpSettings,
    /// The control socket.
    pub control: ControlSettings,
    /// Health and metrics.
    pub admin: AdminSettings,
    /// The log.
    pub log: LogSettings,
    /// At least one, with distinct names.
    pub rings: Vec<RingSettings>,
}

impl Tables {
    /// Reads the configuration file.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = read_bounded(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        toml::from_str(&text).map_err(|source| ConfigError::Parse {
            path: path.to_owned(),
            source: Box::new(source),
        })
    }
}

/// Reads a file that may be a pipe, but none without an end.
fn read_bounded(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("it has more than {FILE_BYTES_MAX} bytes")));
    }
    Ok(text)
}

impl Config {
    /// Checks everything, before anything is opened.
    pub fn check(tables: &Tables, ring_flags: &RingFlags) -> Result<Self, ConfigError> {
        let cores = std::thread::available_parallelism().map_or(2, |n| n.get() as u64).max(2);
        let threads =
            number("server.threads", tables.server.threads.as_ref(), cores.min(1024), 1..=1024)?;
        let drain = tables.server.drain_timeout_ms.as_ref();
        let mut rings = RingSettings::check(&tables.ring, ring_flags)?;
        let http = HttpSettings::check(&tables.http)?;
        let keep_alive = http.limits.keep_alive_timeout;
        let listen = ListenSettings::check(&tables.listen, &rings, keep_alive)?;
        for (index, ring) in rings.iter_mut().enumerate() {
            ring.has_attributes = !http.keep.is_empty()
                || listen.iter().any(|address| address.brings_attributes_to(index));
        }
        Ok(Self {
            threads: usize::try_from(threads).unwrap_or(usize::MAX),
            drain_timeout: time("server.drain_timeout_ms", drain, 5000, 0)?,
            ingest: IngestSettings::check(&tables.ingest, &rings)?,
            listen,
            http,
            control: ControlSettings::check(&tables.control)?,
            admin: AdminSettings::check(&tables.admin)?,
            log: LogSettings::check(&tables.log),
            rings,
        })
    }
}
