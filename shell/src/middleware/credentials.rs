//! What a unit asks of whoever knows the credentials.

use std::fmt;
use std::sync::Arc;

use crate::tls::Peer;

/// What verifying a password may take: the most that a file of credentials may ask for, bytes.
pub const VERIFY_BYTES: usize = 64 << 20;

/// What a request presents.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Presented<'a> {
    /// `authorization: Bearer TOKEN` (RFC 6750).
    Bearer(&'a [u8]),
    /// `authorization: Basic …` (RFC 7617), decoded.
    Basic {
        /// Up to the first colon.
        name: &'a [u8],
        /// What follows it.
        secret: &'a [u8],
    },
    /// The certificate of its connection, which an authority of clients has signed.
    Certificate(&'a Peer),
}

/// Never shows a secret.
impl fmt::Debug for Presented<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bearer(_) => f.write_str("Bearer"),
            Self::Certificate(_) => f.write_str("certificate"),
            Self::Basic { name, .. } => write!(f, "Basic {}", String::from_utf8_lossy(name)),
        }
    }
}

/// Who presented it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// Its name, which may be logged.
    pub name: String,
    /// The rings that it may write to; `None` is all of them.
    pub rings: Option<Vec<String>>,
    /// Tells name and proof from all others, in this file and in those that come after it. Says
    /// nothing of the proof.
    pub mark: u64,
}

impl Credential {
    /// Whether it may write to a ring.
    pub fn may_write(&self, ring: &str) -> bool {
        self.rings.as_ref().is_none_or(|rings| rings.iter().any(|name| name == ring))
    }
}

/// What a first look found.
#[derive(Clone, Debug)]
pub enum Check {
    /// It is right.
    Granted(Arc<Credential>),
    /// It is wrong.
    Denied,
    /// Finding out takes longer than an event loop may: ask [`Credentials::verify`] elsewhere. Only
    /// of what comes with a name.
    Slow,
}

/// Knows who may do what.
pub trait Credentials: Send + Sync + fmt::Debug {
    /// Looks whether what is presented is known already, or can be found out by one fast hash. Is
    /// called on an event loop.
    fn check(&self, presented: &Presented<'_>) -> Check;

    /// Finds out, however long it takes. Is called on a worker.
    fn verify(&self, presented: &Presented<'_>) -> Option<Arc<Credential>>;

    /// Returns what somebody was let in by before, perhaps by an older file, as it is now; `None`
    /// if it is good no more. Is called on an event loop.
    fn renew(&self, before: &Credential) -> Option<Arc<Credential>>;
}
