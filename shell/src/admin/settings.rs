//! The `[admin]` table of the configuration.

use std::net::SocketAddr;

use serde::Deserialize;

use crate::config::{Address, ConfigError, Given, number};

/// `[admin]` as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminTable {
    /// An address for health and metrics alone.
    pub listen: Option<Given<Address>>,
    /// Most connections at once at that address.
    pub max_connections: Option<Given<u64>>,
}

/// The pages for operators, checked.
#[derive(Clone, Debug)]
pub struct AdminSettings {
    /// An address of its own; without one, the pages are beside the records.
    pub listen: Option<SocketAddr>,
    /// Most connections at once at that address.
    pub max_connections: usize,
}

impl AdminSettings {
    /// Checks the table.
    pub fn check(table: &AdminTable) -> Result<Self, ConfigError> {
        let max_connections =
            number("admin.max_connections", table.max_connections.as_ref(), 32, 1..=1024)?;
        Ok(Self {
            listen: table.listen.as_ref().map(|given| given.value.socket_addr()),
            max_connections: usize::try_from(max_connections).unwrap_or(usize::MAX),
        })
    }
}
