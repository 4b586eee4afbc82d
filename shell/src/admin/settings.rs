//! The `[admin]` table of the configuration.

use std::net::SocketAddr;

use serde::Deserialize;

use crate::config::{Address, Change, ConfigError, Given, Section, number, quoted};
use crate::tls::tls;

/// Most forwarders that are asked for their status.
const FORWARDERS_MAX: usize = 64;

/// `[admin]` as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminTable {
    /// An address for health and metrics alone.
    pub listen: Option<Given<Address>>,
    /// Most connections at once at that address.
    pub max_connections: Option<Given<u64>>,
    /// Addresses of the pages of forwarders, which the status page shows.
    pub forwarders: Option<Given<Vec<Address>>>,
    /// Whether TLS is spoken there.
    pub tls: Option<Given<bool>>,
}

/// The pages for operators, checked.
#[derive(Clone, Debug)]
pub struct AdminSettings {
    /// An address of its own; without one, the pages are beside the records.
    pub listen: Option<SocketAddr>,
    /// Most connections at once at that address.
    pub max_connections: usize,
    /// Addresses of the pages of forwarders.
    pub forwarders: Vec<SocketAddr>,
    /// Whether TLS is spoken there.
    pub tls: bool,
}

impl AdminSettings {
    /// Checks the table; `has_tls` if there are certificates.
    pub fn check(table: &AdminTable, has_tls: bool) -> Result<Self, ConfigError> {
        // Probes ask in plain unless it is said otherwise.
        let asked = table.tls.as_ref().filter(|given| given.value);
        let max_connections =
            number("admin.max_connections", table.max_connections.as_ref(), 32, 1..=1024)?;
        let forwarders = table.forwarders.as_ref();
        if let Some(Given { value, origin }) = forwarders
            && value.len() > FORWARDERS_MAX
        {
            let expected = format!("at most {FORWARDERS_MAX} addresses");
            return Err(ConfigError::value(*origin, "admin.forwarders", value.len(), expected));
        }
        let addresses = forwarders.iter().flat_map(|given| &given.value);
        Ok(Self {
            forwarders: addresses.map(Address::socket_addr).collect(),
            listen: table.listen.as_ref().map(|given| given.value.socket_addr()),
            max_connections: usize::try_from(max_connections).unwrap_or(usize::MAX),
            tls: asked.is_some() && tls("admin.tls", asked, has_tls)?,
        })
    }

    /// Lists what is in effect.
    pub fn describe(&self, table: &AdminTable) -> Section {
        const BOUND: Change = Change::Fixed("the address is bound at the start");
        let mut section = Section::new("[admin]");
        if let Some(given) = &table.listen {
            section.put("listen", quoted(&given.value), Some(given), BOUND);
        }
        let places = Change::Fixed("descriptors are shared out at the start");
        let given = table.max_connections.as_ref();
        let watched = Change::Fixed("who is asked is settled at the start");
        let addresses: Vec<_> = self.forwarders.iter().map(quoted).collect();
        let addresses = format!("[{}]", addresses.join(", "));
        section.put("forwarders", addresses, table.forwarders.as_ref(), watched);
        section.put("max_connections", self.max_connections.to_string(), given, places);
        section.put("tls", self.tls.to_string(), table.tls.as_ref(), Change::Live);
        section
    }
}
