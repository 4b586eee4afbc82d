//! TLS at the addresses of records, by rustls: certificates and keys from files, one session, bytes
//! in and bytes out, and the names of its client.
//!
//! Only TLS 1.2 and 1.3, with forward secrecy and authenticated ciphers. Without the cargo feature
//! `tls` there are the settings, which are refused, and a session that cannot exist.

#[cfg(not(feature = "tls"))]
mod absent;
#[cfg(feature = "tls")]
mod expiry;
#[cfg(feature = "tls")]
mod files;
mod peer;
#[cfg(feature = "tls")]
mod session;
mod settings;
#[cfg(all(test, feature = "tls"))]
mod tests;

#[cfg(not(feature = "tls"))]
pub use absent::{Acceptor, Session, Shown};
#[cfg(feature = "tls")]
pub use files::Acceptor;
pub use peer::{Peer, PeerName};
#[cfg(feature = "tls")]
pub use session::{Session, Shown};
pub use settings::{TlsFiles, TlsSettings, TlsTable, tls};

impl TlsSettings {
    /// Names the certificates, for people and metrics.
    pub fn name(&self) -> String {
        match self {
            Self::SelfSigned => "self-signed".to_owned(),
            Self::Files(files) => files.certificate.display().to_string(),
        }
    }
}

/// What a peer sent is no TLS, or breaks it; the connection ends when the alert is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;
