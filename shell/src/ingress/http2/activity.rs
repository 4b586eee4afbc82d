//! What one HTTP/2 connection is doing, and how long it may take: the clock behind its timeouts.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use hyper::body::Incoming;

use super::body::Asked;
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
    /// Streams that there have been.
    opened: u64,
    end: End,
    /// Since when no stream has been open, and whether one ever was.
    idle_since: Instant,
    had_requests: bool,
}

/// The end of what the peer sends. hyper takes it for that of the connection, and drops what is
/// owed; so it is told when nothing is.
#[derive(Default)]
struct End {
    has_come: bool,
    /// How many streams there had been when none was open, when that was looked at last.
    at_rest: Option<u64>,
    /// Who is to be told.
    reads: Option<Waker>,
    /// Who waits for more of a body, by the numbers of their streams.
    bodies: BTreeMap<u64, Waker>,
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
            opened: 0,
            end: End::default(),
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

    /// Returns whether nothing comes any more.
    pub(super) fn has_ended(&self) -> bool {
        lock(&self.0).end.has_come
    }

    /// Wakes the stream of this number when nothing comes any more.
    pub(super) fn tell_end(&self, number: u64, waker: &Waker) {
        let mut state = lock(&self.0);
        if state.end.has_come {
            waker.wake_by_ref();
        } else {
            state.end.bodies.insert(number, waker.clone());
        }
    }

    /// The stream of this number does not ask any more.
    pub(super) fn forget(&self, number: u64) {
        lock(&self.0).end.bodies.remove(&number);
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

    /// Ready when every request that came whole is answered, and the peer has taken the answers.
    fn ends(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = lock(&self.0);
        let waiting = if state.end.has_come {
            BTreeMap::new()
        } else {
            state.end.has_come = true;
            std::mem::take(&mut state.end.bodies)
        };
        // At the first look, requests that have come may wait to be begun, and answers to be sent:
        // both happens before the second.
        let at_rest = (state.open == 0 && state.stuck_since.is_none()).then_some(state.opened);
        if at_rest.is_some() && state.end.at_rest == at_rest {
            return Poll::Ready(());
        }
        state.end.at_rest = at_rest;
        state.end.reads = Some(cx.waker().clone());
        drop(state);
        if at_rest.is_some() {
            cx.waker().wake_by_ref();
        }
        waiting.into_values().for_each(Waker::wake);
        Poll::Pending
    }
}

/// An open stream of a connection; dropping it says that it is closed.
pub(super) struct OpenStream {
    activity: Arc<Activity>,
    number: u64,
    answered: Option<u64>,
}

impl OpenStream {
    pub(super) fn new(activity: Arc<Activity>) -> Self {
        let number = {
            let mut state = lock(&activity.0);
            state.open += 1;
            state.opened += 1;
            state.had_requests = true;
            state.opened
        };
        Self { activity, number, answered: None }
    }

    /// Has the body of its request break off when nothing comes any more.
    pub(super) fn body(&self, body: Incoming) -> Asked {
        Asked::new(body, Arc::clone(&self.activity), self.number)
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
        let reads = if state.open == 0 { state.end.reads.take() } else { None };
        drop(state);
        if let Some(reads) = reads {
            reads.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    /// What is due, and in how many hours: a head has one, a body two, a pause three.
    fn due(activity: &Activity) -> (u64, Due) {
        let limits = HttpLimits {
            header_timeout: HOUR,
            body_timeout: 2 * HOUR,
            keep_alive_timeout: 3 * HOUR,
            max_header_bytes: 1,
            max_headers: 1,
            max_concurrent_streams: 1,
        };
        let (at, due) = activity.due(&limits);
        let left = at.saturating_duration_since(Instant::now());
        ((left + HOUR / 2).as_secs() / 3600, due)
    }

    #[test]
    fn what_is_due_follows_the_streams_and_what_the_peer_takes() {
        let activity = Activity::new();
        let unfinished = (1, Due::Late("a frame or a head did not come to its end"));
        assert_eq!(due(&activity), unfinished, "the preface");
        activity.received(&[b'P'; 24]).expect("it goes on");
        assert_eq!((due(&activity), activity.is_idle()), ((1, Due::Idle), true), "no request yet");
        activity.sent(true);
        assert_eq!(due(&activity), (1, Due::Idle), "what is due first");
        let mut first = OpenStream::new(Arc::clone(&activity));
        let mut second = OpenStream::new(Arc::clone(&activity));
        assert_eq!((due(&activity), activity.is_idle()), ((1, Due::Nothing), false));
        drop((activity.sent(false), activity.received(&[0])));
        assert_eq!(due(&activity), unfinished, "a frame");
        // The rest of a PING.
        activity.received(b"\0\x08\x06\0\0\0\0\0________").expect("it goes on");
        assert_eq!(due(&activity), (1, Due::Nothing));
        // What was answered first is late first, whichever ends.
        let of =
            |activity: &Activity| lock(&activity.0).answered.values().copied().collect::<Vec<_>>();
        first.answered();
        second.answered();
        let since = of(&activity);
        assert_eq!(since.len(), 2);
        drop(first);
        assert_eq!((of(&activity), activity.is_idle()), (vec![since[1]], false));
        drop(second);
        assert_eq!((of(&activity), activity.is_idle()), (Vec::new(), true));
        assert_eq!(due(&activity), (3, Due::Idle), "between requests");
        activity.sent(true);
        assert_eq!(due(&activity), (2, Due::Late("its peer takes no bytes")));
        activity.sent(false);
        assert_eq!(due(&activity), (3, Due::Idle));
    }

    #[test]
    fn an_answer_that_has_no_room_is_late_in_its_time_and_a_pause_begins_with_the_last_stream() {
        let activity = Activity::new();
        activity.received(&[b'P'; 24]).expect("it goes on");
        let mut open = OpenStream::new(Arc::clone(&activity));
        open.answered();
        let long_ago = Instant::now().checked_sub(HOUR).expect("it runs longer");
        for since in lock(&activity.0).answered.values_mut() {
            *since = long_ago;
        }
        let late = (1, Due::Late("its peer has no room for an answer"));
        assert_eq!(due(&activity), late);
        lock(&activity.0).idle_since = long_ago;
        let other = OpenStream::new(Arc::clone(&activity));
        drop(other);
        assert_eq!(lock(&activity.0).idle_since, long_ago, "one is open still");
        drop(open);
        assert_eq!(due(&activity), (3, Due::Idle));
    }

    #[test]
    fn the_clock_of_a_peer_that_is_stuck_begins_once_and_a_flood_ends_it() {
        let activity = Activity::new();
        activity.sent(true);
        let since = lock(&activity.0).stuck_since;
        std::thread::sleep(Duration::from_millis(2));
        activity.sent(true);
        assert_eq!(lock(&activity.0).stuck_since, since);
        activity.received(&[b'P'; 24]).expect("it goes on");
        assert!(!activity.is_flood());
        // 10,000 frames that carry nothing.
        let flood = b"\0\0\0\x04\x01\0\0\0\0".repeat(10_000);
        assert!(activity.received(&flood[..90]).is_ok());
        let error = activity.received(&flood).expect_err("too many").kind();
        assert_eq!((error, activity.is_flood()), (io::ErrorKind::InvalidData, true));
    }
}
