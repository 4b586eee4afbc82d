//! What a connection is doing, and how long it may take: the clock behind its timeouts.
//!
//! It learns this from the bytes that go by, and decides nothing else.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::HttpLimits;
use crate::ingress::watched::Watch;
use crate::sync::lock;

/// Where a connection is. Silent → Head (first byte) → Busy (head complete) → Idle (response sent)
/// → Head …
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It has not sent a byte yet. It has the time of a head, not that between requests.
    Silent,
    Idle,
    Head,
    Busy,
}

struct State {
    phase: Phase,
    since: Instant,
    /// Set while the peer takes no bytes.
    stuck_since: Option<Instant>,
}

/// Shared by the stream, the service and the watchdog of one connection.
pub(super) struct Activity(Mutex<State>);

impl Activity {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            phase: Phase::Silent,
            since: Instant::now(),
            stuck_since: None,
        })))
    }

    fn enter(&self, phase: Phase) {
        let mut state = lock(&self.0);
        state.phase = phase;
        state.since = Instant::now();
    }

    /// Notes that the head of a request is complete.
    pub(super) fn busy(&self) {
        self.enter(Phase::Busy);
    }

    /// Returns whether the peer takes no bytes.
    pub(super) fn is_stuck(&self) -> bool {
        lock(&self.0).stuck_since.is_some()
    }

    /// Returns when the connection's time is over; `None` while a request is answered.
    pub(super) fn deadline(&self, limits: &HttpLimits) -> Option<Instant> {
        let state = lock(&self.0);
        let stuck = state.stuck_since.map(|since| since + limits.body_timeout);
        let phase = match state.phase {
            Phase::Idle => Some(state.since + limits.keep_alive_timeout),
            Phase::Silent | Phase::Head => Some(state.since + limits.header_timeout),
            Phase::Busy => None,
        };
        stuck.into_iter().chain(phase).min()
    }
}

impl Watch for Activity {
    fn received(&self, _bytes: &[u8]) -> io::Result<()> {
        let mut state = lock(&self.0);
        if matches!(state.phase, Phase::Silent | Phase::Idle) {
            state.phase = Phase::Head;
            state.since = Instant::now();
        }
        Ok(())
    }

    fn sent(&self, stuck: bool) {
        let mut state = lock(&self.0);
        state.stuck_since = stuck.then(|| state.stuck_since.unwrap_or_else(Instant::now));
    }
}

/// An answer on its way; dropping it says that the connection has all of it or is gone.
pub(super) struct Answering(pub(super) Arc<Activity>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.enter(Phase::Idle);
    }
}
