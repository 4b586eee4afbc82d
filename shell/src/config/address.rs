//! Listening addresses as they are written: `HOST:PORT`, `unix:PATH`.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
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

/// Where connections come in: a TCP address, or the path of a UNIX socket after `unix:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// TCP.
    Tcp(Address),
    /// A UNIX socket, by its path.
    Unix(PathBuf),
}

/// Longest path of a UNIX socket, bytes: what `sockaddr_un` holds with its zero at the end.
const UNIX_PATH_BYTES_MAX: usize = 107;

impl Endpoint {
    /// Returns the address, if it is one of TCP.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(address.socket_addr()),
            Self::Unix(_) => None,
        }
    }
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            None => text.parse().map(Self::Tcp),
            Some(path) if (1..=UNIX_PATH_BYTES_MAX).contains(&path.len()) => {
                Ok(Self::Unix(PathBuf::from(path)))
            }
            Some(_) => {
                Err(format!("expected unix: and a path of 1 to {UNIX_PATH_BYTES_MAX} bytes"))
            }
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl<'de> Deserialize<'de> for Endpoint {
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

    #[test]
    fn an_endpoint_is_an_address_or_a_path() {
        let path: Endpoint = "unix:/run/a.sock".parse().expect("a path");
        assert_eq!(path, Endpoint::Unix(PathBuf::from("/run/a.sock")));
        assert_eq!(path.to_string(), "unix:/run/a.sock");
        let tcp: Endpoint = "127.0.0.1:1".parse().expect("an address");
        assert_eq!(tcp.to_string(), "127.0.0.1:1");
        let long = format!("unix:/{}", "x".repeat(UNIX_PATH_BYTES_MAX));
        for text in ["unix:", long.as_str()] {
            let error = text.parse::<Endpoint>().expect_err(text);
            assert!(error.contains("a path of 1 to 107 bytes"), "{text}: {error}");
        }
    }
}
