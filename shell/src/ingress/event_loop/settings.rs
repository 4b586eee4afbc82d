//! The `[ingest]` table of the configuration: how connections are served.

use serde::Deserialize;

use super::driver::Choice;
use crate::config::{ConfigError, Given, number};

/// `[ingest]` as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IngestTable {
    /// How the loops talk to the system.
    pub driver: Option<Choice>,
    /// Event loops, each in a thread.
    pub loops: Option<Given<u64>>,
}

/// How connections are served, checked.
#[derive(Clone, Copy, Debug)]
pub struct IngestSettings {
    /// How the loops talk to the system.
    pub driver: Choice,
    /// Event loops, each in a thread.
    pub loops: usize,
}

impl IngestSettings {
    /// Checks the table.
    pub fn check(table: &IngestTable) -> Result<Self, ConfigError> {
        let loops = number("ingest.loops", table.loops.as_ref(), default_loops(), 1..=256)?;
        Ok(Self {
            driver: table.driver.unwrap_or_default(),
            loops: usize::try_from(loops).unwrap_or(usize::MAX),
        })
    }
}

/// One loop for every four processors: a loop is rarely what limits, and the clients' kernel work
/// and the readers want processors too.
fn default_loops() -> u64 {
    let processors = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    processors.div_ceil(4).min(256)
}
