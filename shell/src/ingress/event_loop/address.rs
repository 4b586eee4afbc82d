//! What is spoken at each listening address; a reload replaces it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use super::connection::Timeouts;
use super::protocol::Protocol;
use crate::sync::lock;
use crate::tls::{Acceptor, Session};

#[allow(clippy::disallowed_types, reason = "inside the process, not in shared memory")]
type Number = std::sync::atomic::AtomicU64;

/// The rules of one listening address.
#[derive(Clone)]
pub struct Address {
    /// Its protocol.
    pub protocol: Protocol,
    /// How long the parts of an exchange may take.
    pub timeouts: Arc<Timeouts>,
    /// What accepts TLS there; without it, there is none.
    pub tls: Option<Arc<Acceptor>>,
}

impl Address {
    /// Whether the client of a session would be let in now.
    pub(super) fn accepts(&self, session: &Session) -> bool {
        self.tls.as_ref().is_none_or(|acceptor| acceptor.accepts(&mut session.shown()))
    }
}

/// The rules of all addresses, by the number of the listener. Connections keep a copy of theirs,
/// which each loop renews when they change.
pub struct Addresses {
    now: Mutex<Arc<[Address]>>,
    /// How often they were replaced.
    generation: Number,
}

impl Addresses {
    /// Begins with these rules.
    pub fn new(addresses: Vec<Address>) -> Self {
        Self { now: Mutex::new(addresses.into()), generation: Number::new(0) }
    }

    /// Returns the rules as they are now.
    pub fn now(&self) -> Arc<[Address]> {
        Arc::clone(&lock(&self.now))
    }

    /// Replaces the rules. Each loop is to be woken then.
    pub fn replace(&self, addresses: Vec<Address>) {
        *lock(&self.now) = addresses.into();
        // ORDER(none): the wake that follows orders it before what a loop reads once it has taken
        // its wakes, and the mutex orders the rules.
        self.generation.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how often they were replaced.
    pub(super) fn generation(&self) -> u64 {
        // ORDER(none): as above; one that is missed is looked for again when that wake is taken.
        self.generation.load(Ordering::Relaxed)
    }
}
