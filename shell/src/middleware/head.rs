//! The head of a request as units see it.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Instant;

use crate::tls::Peer;

/// Who sends, as far as an address says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Client {
    /// Over a UNIX socket.
    Local,
    /// From this address; of IPv6 the first 64 bits, which one customer has.
    Net(IpAddr),
}

impl Client {
    /// Reads the name of a peer, as `127.0.0.1:4711`.
    pub fn of_peer(peer: &str) -> Self {
        let address: Option<SocketAddr> = peer.parse().ok();
        address.map_or(Self::Local, |address| match address.ip().to_canonical() {
            v4 @ IpAddr::V4(_) => Self::Net(v4),
            IpAddr::V6(v6) => {
                let mut octets = v6.octets();
                octets[8..].fill(0);
                Self::Net(IpAddr::V6(Ipv6Addr::from(octets)))
            }
        })
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("unix"),
            Self::Net(address) => address.fmt(f),
        }
    }
}

/// How often a field is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field<'a> {
    /// Not at all.
    Absent,
    /// Once, with this value.
    One(&'a [u8]),
    /// More than once.
    Many,
}

/// One request head that a codec has accepted.
#[derive(Clone, Copy)]
pub struct RequestHead<'a> {
    /// Its method.
    pub method: &'a str,
    /// Its target, as it was sent.
    pub target: &'a str,
    /// Its lines, each with its CR LF.
    pub bytes: &'a [u8],
    /// Who sent it.
    pub client: Client,
    /// Whom the certificate of its connection names, if it has one.
    pub certificate: Option<&'a Peer>,
    /// When it was read.
    pub now: Instant,
}

impl<'a> RequestHead<'a> {
    /// Finds a field by its name, which is in lower case.
    pub fn field(&self, name: &str) -> Field<'a> {
        let mut values = self.values(name);
        match (values.next(), values.next()) {
            (None, _) => Field::Absent,
            (Some(value), None) => Field::One(value),
            (Some(_), Some(_)) => Field::Many,
        }
    }

    /// The values of all fields of a name, which is in lower case.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let bytes = self.bytes;
        // Each line but the first begins after the end of another one.
        memchr::memchr_iter(b'\n', bytes).filter_map(move |end| {
            let rest = &bytes[end + 1..];
            let (found, after) = rest.split_at_checked(name.len())?;
            if after.first() != Some(&b':') || !found.eq_ignore_ascii_case(name.as_bytes()) {
                return None;
            }
            let line = memchr::memchr(b'\n', after).map_or(after, |end| &after[..end]);
            Some(line[1..].trim_ascii())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_name_in_any_case() {
        let bytes = b"POST /x HTTP/1.1\r\nHost: a:1\r\nX-One:  v \r\nx-two: 1\r\nX-TWO: 2\r\n\r\n";
        let head = RequestHead {
            method: "POST",
            target: "/x",
            bytes,
            client: Client::Local,
            certificate: None,
            now: Instant::now(),
        };
        assert_eq!(head.field("host"), Field::One(b"a:1"));
        assert_eq!(head.field("x-one"), Field::One(b"v"));
        assert_eq!(head.field("x-two"), Field::Many);
        assert_eq!(head.field("x-three"), Field::Absent);
        assert_eq!(head.field("post /x http/1.1"), Field::Absent);
    }

    #[test]
    fn a_client_is_an_address_or_a_network_of_ipv6() {
        assert_eq!(Client::of_peer("127.0.0.1:4711"), Client::of_peer("127.0.0.1:80"));
        assert_eq!(Client::of_peer("[::ffff:127.0.0.1]:1"), Client::of_peer("127.0.0.1:80"));
        assert_eq!(Client::of_peer("[2001:db8::1]:1"), Client::of_peer("[2001:db8::2]:1"));
        assert_ne!(Client::of_peer("[2001:db8:0:1::1]:1"), Client::of_peer("[2001:db8::1]:1"));
        assert_eq!(Client::of_peer("unix"), Client::Local);
    }
}
