//! What one HTTP/2 connection is doing, and how long it may take: the clock behind its timeouts.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::frames::Frames;
use crate::ingress::http::HttpLimits;
use crate::ingress::watched::Watch;
use crate::sync::lock;

/// Why a connection is looked at when its time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// It has no requests, and may go.
    Idle,
    /// It left something unfinished, or takes no bytes.
    Late(&'static str),
    /// Nothing is due; look again.
    Nothing,
}

struct State {
    frames: Frames,
    /// Set while the peer takes no bytes.
    stuck_since: Option<Instant>,
    /// Streams that are open.
    open: usize,
    /// Streams whose answer the peer has not made room for, since when, in order.
    answered: BTreeMap<u64, Instant>,
    numbers: u64,
    /// Since when no stream has been open, and whether one ever was.
    idle_since: Instant,
    had_requests: bool,
}

/// Shared by the stream of bytes, the requests and the watchdog of one connection.
pub(super) struct Activity(Mutex<State>);

impl Activity {
    pub(super) fn new() -> Arc<Self> {
        let now = Instant::now();
        Arc::new(Self(Mutex::new(State {
            frames: Frames::new(now),
            stuck_since: None,
            open: 0,
            answered: BTreeMap::new(),
            numbers: 0,
            idle_since: now,
            had_requests: false,
        })))
    }

    /// Returns whether no request is being worked on.
    pub(super) fn is_idle(&self) -> bool {
        lock(&self.0).open == 0
    }

    /// Returns whether the peer has sent too many frames that carry nothing.
    pub(super) fn is_flood(&self) -> bool {
        lock(&self.0).frames.is_flood()
    }

    /// Returns what will be due next, and when.
    pub(super) fn due(&self, limits: &HttpLimits) -> (Instant, Due) {
        let state = lock(&self.0);
        let stuck = state.stuck_since.map(|since| since + limits.body_timeout);
        let answer = state.answered.values().next().map(|since| *since + limits.body_timeout);
        let unfinished = state.frames.deadline(limits.header_timeout);
        let quiet = match (state.open, state.had_requests) {
            (0, true) => (state.idle_since + limits.keep_alive_timeout, Due::Idle),
            (0, false) => (state.idle_since + limits.header_timeout, Due::Idle),
            // The last stream may end without any event on the connection: look again.
            (_, _) => (Instant::now() + limits.header_timeout, Due::Nothing),
        };
        [
            unfinished.map(|at| (at, Due::Late("a frame or a head did not come to its end"))),
            stuck.map(|at| (at, Due::Late("its peer takes no bytes"))),
            answer.map(|at| (at, Due::Late("its peer has no room for an answer"))),
            Some(quiet),
        ]
        .into_iter()
        .flatten()
        .min_by_key(|(at, _)| *at)
        .unwrap_or(quiet)
    }
}

impl Watch for Activity {
    fn received(&self, bytes: &[u8]) -> io::Result<()> {
        let mut state = lock(&self.0);
        state.frames.pass(bytes, Instant::now());
        if state.frames.is_flood() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "frames that carry nothing"));
        }
        Ok(())
    }

    fn sent(&self, stuck: bool) {
        let mut state = lock(&self.0);
        state.stuck_since = stuck.then(|| state.stuck_since.unwrap_or_else(Instant::now));
    }
}

/// An open stream of a connection; dropping it says that it is closed.
pub(super) struct OpenStream {
    activity: Arc<Activity>,
    answered: Option<u64>,
}

impl OpenStream {
    pub(super) fn new(activity: Arc<Activity>) -> Self {
        {
            let mut state = lock(&activity.0);
            state.open += 1;
            state.had_requests = true;
        }
        Self { activity, answered: None }
    }

    /// Notes that the answer is made: from now on only the peer keeps the stream open.
    pub(super) fn answered(&mut self) {
        let mut state = lock(&self.activity.0);
        let number = state.numbers;
        state.numbers += 1;
        state.answered.insert(number, Instant::now());
        self.answered = Some(number);
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let mut state = lock(&self.activity.0);
        state.open -= 1;
        if state.open == 0 {
            state.idle_since = Instant::now();
        }
        if let Some(number) = self.answered {
            state.answered.remove(&number);
        }
    }
}
