//! How the limit of open files is shared out, before anything needs one: readers, operators and the
//! process itself first, connections that bring records get what is left.

use std::fmt;

use rustix::process::{Resource, Rlimit};

use super::Config;
use crate::journal::Durability;
use crate::ring::RingSettings;

/// Descriptors of the process itself: runtime, signals, listeners, lock, and a few in hand.
const OWN: u64 = 24;
/// Descriptors of an event loop.
const PER_LOOP: u64 = 6;
/// Descriptors of one reload: a file, what it includes, and a socket that resolves a name.
const PER_RELOAD: u64 = 3;
/// Descriptors of what is sent to a collector: a connection, and a name that is resolved.
const PER_COLLECTOR: u64 = 2;
/// Descriptors of a journal: directory, lock, cursors, two segments, and one while it is read.
const PER_JOURNAL: u64 = 6;
/// What each reserve gets at least.
const RESERVE_MIN: u64 = 2;
/// Places for connections beyond the limit.
const RESERVED_PLACES: u64 = 64;
/// Peers that may not attach and are told so.
const REJECTIONS: u64 = 16;

/// How many of each kind there may be at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shares {
    /// Observers.
    pub(super) observers: usize,
    /// Control connections in their handshake.
    pub(super) handshakes: usize,
    /// Connections at the address for operators.
    pub(super) admin: usize,
    /// HTTP connections beyond the limit.
    pub(super) reserved: usize,
    /// HTTP connections.
    pub(super) connections: usize,
}

/// The limit of open files leaves nothing for connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooFewDescriptors {
    /// The limit.
    pub limit: u64,
    /// The least with which this configuration can run.
    pub needed: u64,
}

impl fmt::Display for TooFewDescriptors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { limit, needed } = self;
        write!(
            f,
            "the limit of open files (RLIMIT_NOFILE) is {limit}; at least {needed} are needed"
        )
    }
}

impl std::error::Error for TooFewDescriptors {}

/// What a configuration asks for.
struct Wanted {
    /// What cannot be less: the process, its rings, a place for each subscription.
    fixed: u64,
    observers: u64,
    handshakes: u64,
    admin: u64,
    reserved: u64,
    /// How many kinds of connections beyond the limit have reserved places.
    kinds: u64,
    connections: u64,
}

impl Wanted {
    /// `keeps`: cursors may wait for a service manager that keeps them, as copies.
    fn of(config: &Config, open_now: u64, keeps: bool) -> Self {
        let subscriptions: usize = config.rings.iter().map(|ring| ring.subscriptions.len()).sum();
        // The ring that its reader has for itself, and a file.
        let lagging: usize = config.rings.iter().map(|ring| 2 * ring.lagging.len()).sum();
        let has_journal = |ring: &&RingSettings| ring.durability != Durability::Memory;
        let journals = config.rings.iter().filter(has_journal).count();
        let own = open_now + OWN + PER_LOOP * config.ingest.loops as u64;
        Self {
            // A ring in the making has two descriptors; a UNIX socket has a lock.
            fixed: own
                + config.rings.len() as u64
                + 1
                + (subscriptions + lagging) as u64
                + if keeps { (subscriptions + config.rings.len() * 2) as u64 } else { 0 }
                + config.admin.forwarders.len() as u64
                + config.otel.as_ref().map_or(0, |_| PER_COLLECTOR)
                + PER_RELOAD
                + PER_JOURNAL * journals as u64
                + 2 * config.listen.len() as u64,
            observers: config.control.max_observers as u64,
            handshakes: config.control.max_handshakes as u64,
            admin: config.admin.listen.map_or(0, |_| config.admin.max_connections as u64),
            reserved: RESERVED_PLACES,
            kinds: 2
                + u64::from(config.admin.listen.is_some())
                + u64::from(!config.listen.is_empty()),
            connections: config.http.max_connections as u64,
        }
    }

    /// A handshake makes a cursor segment: two descriptors. HTTP connections beyond the limit have
    /// reserved places, and as many wait for one; the address for operators has its own, and so
    /// have other protocols.
    fn all(&self) -> u64 {
        let reserved = self.reserved * self.kinds;
        let readers = self.observers + 2 * self.handshakes + REJECTIONS;
        self.fixed + readers + self.admin + reserved + self.connections
    }

    fn share(&self, limit: u64) -> Result<Shares, TooFewDescriptors> {
        let spare = limit.saturating_sub(self.fixed);
        // Each reserve takes at most a sixteenth, so connections get at least half.
        let reserve = |wanted: u64| wanted.min((spare / 16).max(RESERVE_MIN));
        let shares = Self {
            fixed: self.fixed,
            observers: reserve(self.observers),
            handshakes: reserve(self.handshakes),
            admin: reserve(self.admin),
            reserved: reserve(self.reserved),
            kinds: self.kinds,
            connections: 0,
        };
        let left = limit.saturating_sub(shares.all());
        if left == 0 {
            let least = Self {
                fixed: self.fixed,
                observers: self.observers.min(RESERVE_MIN),
                handshakes: self.handshakes.min(RESERVE_MIN),
                admin: self.admin.min(RESERVE_MIN),
                reserved: RESERVE_MIN,
                kinds: self.kinds,
                connections: 1,
            };
            return Err(TooFewDescriptors { limit, needed: least.all() });
        }
        let count = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        Ok(Shares {
            observers: count(shares.observers),
            handshakes: count(shares.handshakes),
            admin: count(shares.admin),
            reserved: count(shares.reserved),
            connections: count(left.min(self.connections)),
        })
    }
}

/// Returns how many descriptors this configuration can use under a service manager, which takes
/// the most.
pub fn wanted_descriptors(config: &Config) -> u64 {
    Wanted::of(config, 0, true).all()
}

/// Raises the limit of open files to what is wanted, as far as that is allowed, and shares it out.
/// What is less than the configuration says is logged.
pub(super) fn share_out(config: &Config, keeps: bool) -> Result<Shares, TooFewDescriptors> {
    let open_now = std::fs::read_dir("/proc/self/fd").map_or(0, |open| open.count() as u64);
    let wanted = Wanted::of(config, open_now, keeps);
    let limit = raise_limit(wanted.all());
    let shares = wanted.share(limit)?;
    let short = shares.connections < config.http.max_connections
        || shares.observers < config.control.max_observers
        || shares.handshakes < config.control.max_handshakes;
    if short {
        tracing::warn!(
            limit,
            wanted = wanted.all(),
            max_connections = shares.connections,
            max_observers = shares.observers,
            max_handshakes = shares.handshakes,
            "the limit of open files (RLIMIT_NOFILE) leaves less than is configured"
        );
    }
    Ok(shares)
}

/// Raises the soft limit up to the hard one, to have `wanted`; returns what it is then.
fn raise_limit(wanted: u64) -> u64 {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let Some(current) = limit.current.filter(|&current| current < wanted) else {
        return limit.current.unwrap_or(u64::MAX);
    };
    let granted = limit.maximum.map_or(wanted, |maximum| maximum.min(wanted));
    let raised = Rlimit { current: Some(granted), maximum: limit.maximum };
    match rustix::process::setrlimit(Resource::Nofile, raised) {
        Ok(()) => granted,
        Err(_) => current,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: Wanted = Wanted {
        fixed: 40,
        observers: 32,
        handshakes: 64,
        admin: 0,
        reserved: 64,
        kinds: 2,
        connections: 1024,
    };

    #[test]
    fn whoever_is_asked_and_what_waits_for_a_manager_has_descriptors() {
        let wanted = |text: &str, keeps| {
            let tables = toml::from_str(text).expect("tables");
            let config = Config::check(&tables).expect("a good configuration");
            assert!(wanted_descriptors(&config) >= Wanted::of(&config, 0, keeps).all());
            Wanted::of(&config, 0, keeps).fixed
        };
        let own = wanted("", false);
        // Its subscription, the ring and its page.
        assert_eq!(wanted("", true), own + 3);
        let forwarders = "[admin]\nlisten = '127.0.0.1:0'\nforwarders = ['127.0.0.1:1', \
                          '127.0.0.1:2']\n";
        assert_eq!(wanted(forwarders, false), own + 2);
        if cfg!(feature = "otel") {
            let collector = "[otel]\nendpoint = 'http://127.0.0.1:4318'\n";
            assert_eq!(wanted(collector, false), own + PER_COLLECTOR);
        }
    }

    #[test]
    fn with_enough_descriptors_everyone_gets_what_is_configured() {
        let shares = WANTED.share(WANTED.all()).expect("enough");
        assert_eq!((shares.observers, shares.handshakes, shares.connections), (32, 64, 1024));
    }

    #[test]
    fn connections_get_what_readers_and_operators_leave() {
        let shares = WANTED.share(400).expect("enough");
        assert_eq!(
            shares,
            Shares { observers: 22, handshakes: 22, admin: 0, reserved: 22, connections: 234 }
        );
    }

    #[test]
    fn no_limit_is_overdrawn_and_too_small_ones_are_refused_with_what_is_needed() {
        for limit in 0..3000 {
            match WANTED.share(limit) {
                Ok(shares) => {
                    let used = shares.observers
                        + 2 * shares.handshakes
                        + 2 * shares.reserved
                        + shares.connections;
                    let used = used as u64 + WANTED.fixed + REJECTIONS;
                    assert!(used <= limit && shares.connections > 0, "{limit}: {shares:?}");
                }
                Err(refused) => assert!(limit < 67 && refused.needed == 67, "{limit}: {refused}"),
            }
        }
    }
}
