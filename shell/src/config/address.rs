//! Listening addresses as they are written: `HOST:PORT`.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

/// A TCP address to listen on. A name is resolved once, when it is read; of several addresses the
/// first one of IPv4 is taken, so `localhost` is 127.0.0.1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    text: String,
    resolved: SocketAddr,
}

impl Address {
    /// Returns the address to bind.
    pub fn socket_addr(&self) -> SocketAddr {
        self.resolved
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<SocketAddr> for Address {
    fn from(resolved: SocketAddr) -> Self {
        Self { text: resolved.to_string(), resolved }
    }
}

const EXPECTED: &str = "expected HOST:PORT, with a name, an IPv4 address, or an IPv6 address in \
                        brackets, as 127.0.0.1:8080, localhost:8080, [::1]:8080, [fe80::1%eth0]:8080";

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (host, port) = text
            .rsplit_once(':')
            .filter(|(host, _)| !host.is_empty())
            .and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)))
            .ok_or(EXPECTED)?;
        let bare = match host.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']').ok_or(EXPECTED)?,
            None if host.contains([':', '/']) => return Err(EXPECTED.to_owned()),
            None => host,
        };
        let found: Vec<SocketAddr> =
            (bare, port).to_socket_addrs().map_err(|error| format!("{bare}: {error}"))?.collect();
        let resolved = found.iter().find(|address| address.is_ipv4()).or(found.first());
        let resolved = *resolved.ok_or_else(|| format!("{bare} has no address"))?;
        Ok(Self { text: text.to_owned(), resolved })
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|error| serde::de::Error::custom(format!("`{text}`: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_resolved_and_ipv4_comes_first() {
        for (text, expected) in [
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("localhost:8080", "127.0.0.1:8080"),
            ("[::1]:1", "[::1]:1"),
            ("[fe80::1%lo]:1", "[fe80::1%1]:1"),
        ] {
            let address: Address = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(address.socket_addr().to_string(), expected, "{text}");
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_address_is_told_what_one_looks_like() {
        for text in ["", "localhost", ":80", "::1:80", "unix:/run/x", "1.2.3.4:99999", "[::1:80"] {
            let error = text.parse::<Address>().expect_err(text);
            assert!(error.contains("HOST:PORT"), "{text}: {error}");
        }
    }
}
