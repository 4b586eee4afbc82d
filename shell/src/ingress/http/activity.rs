//! What a connection is doing, and how long it may take: the clock behind its timeouts.
//!
//! It learns this from the bytes that go by, and decides nothing else.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use event_listener::{Event, EventListener};

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
    /// Another connection needs its place.
    is_needed: bool,
}

/// Shared by the stream, the service and the watchdog of one connection.
pub(super) struct Activity {
    state: Mutex<State>,
    /// Its place has become needed.
    needed: Event,
}

impl Activity {
    pub(super) fn new() -> Arc<Self> {
        let state = State {
            phase: Phase::Silent,
            since: Instant::now(),
            stuck_since: None,
            is_needed: false,
        };
        Arc::new(Self { state: Mutex::new(state), needed: Event::new() })
    }

    /// Returns since when it has asked for nothing; `None` if it does.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let state = lock(&self.state);
        let is_idle = matches!(state.phase, Phase::Silent | Phase::Idle);
        // What is not taken yet is still owed.
        (is_idle && state.stuck_since.is_none()).then_some(state.since)
    }

    /// Has the connection end, if it is idle.
    pub(super) fn give_way(&self) {
        lock(&self.state).is_needed = true;
        self.needed.notify(usize::MAX);
    }

    /// Returns whether it is to end now. One that has begun to ask meanwhile is not.
    pub(super) fn gives_way(&self) -> bool {
        let is_needed = std::mem::take(&mut lock(&self.state).is_needed);
        is_needed && self.idle_since().is_some()
    }

    /// Listens for [`give_way`](Self::give_way).
    pub(super) fn needed(&self) -> EventListener {
        self.needed.listen()
    }

    fn enter(&self, phase: Phase) {
        let mut state = lock(&self.state);
        state.phase = phase;
        state.since = Instant::now();
    }

    /// Notes that the head of a request is complete.
    pub(super) fn busy(&self) {
        self.enter(Phase::Busy);
    }

    /// Returns whether the peer takes no bytes.
    pub(super) fn is_stuck(&self) -> bool {
        lock(&self.state).stuck_since.is_some()
    }

    /// Returns when the connection's time is over; `None` while a request is answered.
    pub(super) fn deadline(&self, limits: &HttpLimits) -> Option<Instant> {
        let state = lock(&self.state);
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
        let mut state = lock(&self.state);
        if matches!(state.phase, Phase::Silent | Phase::Idle) {
            state.phase = Phase::Head;
            state.since = Instant::now();
        }
        Ok(())
    }

    fn sent(&self, stuck: bool) {
        let mut state = lock(&self.state);
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    /// A head has an hour, a body two, a pause three.
    fn limits() -> HttpLimits {
        HttpLimits {
            header_timeout: HOUR,
            body_timeout: 2 * HOUR,
            keep_alive_timeout: 3 * HOUR,
            max_header_bytes: 1,
            max_headers: 1,
            max_concurrent_streams: 1,
        }
    }

    /// Hours that are left.
    fn left(activity: &Activity) -> Option<u64> {
        let deadline = activity.deadline(&limits())?;
        Some((deadline.saturating_duration_since(Instant::now()) + HOUR / 2).as_secs() / 3600)
    }

    #[test]
    fn each_phase_has_its_time_and_an_answer_under_way_has_none() {
        let activity = Activity::new();
        assert_eq!((left(&activity), activity.idle_since().is_some()), (Some(1), true), "silent");
        activity.received(b"G").expect("it goes on");
        assert_eq!((left(&activity), activity.idle_since()), (Some(1), None), "a head");
        let answering = Answering(Arc::clone(&activity));
        activity.busy();
        assert_eq!((left(&activity), activity.idle_since()), (None, None), "busy");
        activity.received(b"more").expect("it goes on");
        assert_eq!(left(&activity), None, "bytes of a body begin no head");
        activity.sent(true);
        assert_eq!((left(&activity), activity.is_stuck()), (Some(2), true), "stuck");
        activity.sent(false);
        assert_eq!((left(&activity), activity.is_stuck()), (None, false));
        drop(answering);
        assert_eq!((left(&activity), activity.idle_since().is_some()), (Some(3), true), "idle");
        activity.sent(true);
        assert_eq!((left(&activity), activity.idle_since()), (Some(2), None), "an answer is owed");
        activity.sent(false);
        activity.received(b"G").expect("it goes on");
        assert_eq!(left(&activity), Some(1), "the next head");
    }

    #[test]
    fn the_clock_of_a_head_and_of_a_peer_that_is_stuck_begins_once() {
        let activity = Activity::new();
        activity.received(b"G").expect("it goes on");
        activity.sent(true);
        let before = activity.deadline(&limits());
        let stuck = lock(&activity.state).stuck_since;
        std::thread::sleep(Duration::from_millis(2));
        activity.received(b"E").expect("it goes on");
        activity.sent(true);
        assert_eq!(activity.deadline(&limits()), before, "more bytes give no more time");
        assert_eq!(lock(&activity.state).stuck_since, stuck);
    }

    #[test]
    fn who_has_begun_to_ask_gives_no_way_and_is_not_asked_twice() {
        let activity = Activity::new();
        assert!(!activity.gives_way(), "nobody needs its place");
        let needed = activity.needed();
        activity.give_way();
        smol::block_on(needed);
        assert!(activity.gives_way() && !activity.gives_way());
        activity.give_way();
        activity.received(b"G").expect("it goes on");
        assert!(!activity.gives_way());
    }
}
