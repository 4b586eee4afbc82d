//! What waits to be sent: bounded, and pushing never waits for the collector.
//!
//! The mutex is held for a push, or for taking everything; never while something is encoded or
//! sent.

use std::sync::atomic::Ordering;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::messages::LogRecord;
use super::span::Span;
use crate::sync::{Counter, lock};

/// Most spans that wait: to be sent, and beside them for a journal.
pub(super) const SPANS_MAX: usize = 4096;
/// Most lines that wait.
const LINES_MAX: usize = 4096;
/// As many of one kind are sent before their time.
const ENOUGH: usize = 1024;

/// What is sent, and the value of the label `signal`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Spans.
    Spans,
    /// Values of metrics.
    Points,
    /// Lines of the log.
    Lines,
}

impl Signal {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Spans, Self::Points, Self::Lines];

    /// Its name in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Spans => "spans",
            Self::Points => "points",
            Self::Lines => "lines",
        }
    }
}

/// What became of one signal so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Taken by the collector.
    pub sent: u64,
    /// Lost: no room while the collector was slow or gone, or it refused them.
    pub lost: u64,
    /// Requests that failed; the same may have been sent again.
    pub failures: u64,
}

/// Waiting spans and lines.
#[derive(Default)]
pub(super) struct Inbox {
    state: Mutex<State>,
    /// Notified when there is enough to be sent, and at the end.
    enough: Condvar,
    /// Notified when the last of it was sent.
    finished: Condvar,
    counts: [[Counter; 3]; 3],
}

#[derive(Default)]
struct State {
    spans: Vec<Span>,
    lines: Vec<LogRecord>,
    is_ending: bool,
    has_finished: bool,
}

/// What was taken to be sent.
#[derive(Default)]
pub(super) struct Taken {
    pub(super) spans: Vec<Span>,
    pub(super) lines: Vec<LogRecord>,
    pub(super) is_ending: bool,
}

impl Inbox {
    /// Adds a span, or loses it.
    pub(super) fn push_span(&self, span: Span) {
        let mut state = lock(&self.state);
        if state.spans.len() >= SPANS_MAX {
            drop(state);
            self.lose(Signal::Spans, 1);
            return;
        }
        state.spans.push(span);
        let is_enough = state.spans.len() == ENOUGH;
        drop(state);
        if is_enough {
            self.enough.notify_one();
        }
    }

    /// Adds a line, or loses it.
    pub(super) fn push_line(&self, line: LogRecord) {
        let mut state = lock(&self.state);
        if state.lines.len() >= LINES_MAX {
            drop(state);
            self.lose(Signal::Lines, 1);
            return;
        }
        state.lines.push(line);
        let is_enough = state.lines.len() == ENOUGH;
        drop(state);
        if is_enough {
            self.enough.notify_one();
        }
    }

    /// Waits until there is enough, until then, or for the end. Takes spans and lines if they are
    /// wanted; what is not stays.
    pub(super) fn take(&self, until: Instant, (spans, lines): (bool, bool)) -> Taken {
        let mut state = lock(&self.state);
        loop {
            let is_enough = spans && state.spans.len() >= ENOUGH
                || lines && state.lines.len() >= ENOUGH
                || state.is_ending;
            let left = until.saturating_duration_since(Instant::now());
            if is_enough || left.is_zero() {
                break;
            }
            let waited = self.enough.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        Taken {
            spans: if spans { std::mem::take(&mut state.spans) } else { Vec::new() },
            lines: if lines { std::mem::take(&mut state.lines) } else { Vec::new() },
            is_ending: state.is_ending,
        }
    }

    /// Has what is left be sent, and waits for that, but not longer than this.
    pub(super) fn end(&self, patience: Duration) {
        let mut state = lock(&self.state);
        state.is_ending = true;
        self.enough.notify_one();
        let is_open = |state: &mut State| !state.has_finished;
        let waited = self.finished.wait_timeout_while(state, patience, is_open);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Says that the last of it was sent.
    pub(super) fn finish(&self) {
        lock(&self.state).has_finished = true;
        self.finished.notify_all();
    }

    pub(super) fn sent(&self, signal: Signal, count: u64) {
        self.add(signal, 0, count);
    }

    pub(super) fn lose(&self, signal: Signal, count: u64) {
        self.add(signal, 1, count);
    }

    pub(super) fn failed(&self, signal: Signal) {
        self.add(signal, 2, 1);
    }

    fn add(&self, signal: Signal, which: usize, count: u64) {
        // ORDER(none): a statistic; nothing is read because of it.
        self.counts[signal as usize][which].fetch_add(count, Ordering::Relaxed);
    }

    /// Returns what became of a signal.
    pub(super) fn counts(&self, signal: Signal) -> Counts {
        // ORDER(none): a statistic.
        let count = |which: usize| self.counts[signal as usize][which].load(Ordering::Relaxed);
        Counts { sent: count(0), lost: count(1), failures: count(2) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn what_finds_no_room_is_lost_and_counted() {
        let inbox = Inbox::default();
        let begun = Instant::now();
        for _ in 0..SPANS_MAX + 10 {
            inbox.push_span(Span::default());
            inbox.push_line(LogRecord::default());
        }
        assert_eq!((inbox.counts(Signal::Spans).lost, inbox.counts(Signal::Lines).lost), (10, 10));
        let taken = inbox.take(begun, (true, false));
        assert_eq!((taken.spans.len(), taken.lines.len()), (SPANS_MAX, 0));
        let taken = inbox.take(begun, (true, true));
        assert_eq!((taken.spans.len(), taken.lines.len()), (0, LINES_MAX));
    }

    #[test]
    fn the_end_is_waited_for_but_not_for_ever() {
        let inbox = Arc::new(Inbox::default());
        let begun = Instant::now();
        inbox.end(Duration::from_millis(20));
        assert!(begun.elapsed() >= Duration::from_millis(20), "nobody has finished");
        let sending = Arc::clone(&inbox);
        let sender = std::thread::spawn(move || {
            let far = Instant::now() + Duration::from_secs(3600);
            assert!(sending.take(far, (true, true)).is_ending);
            sending.finish();
        });
        inbox.end(Duration::from_secs(3600));
        sender.join().expect("it ended");
    }

    /// Whether something is taken long before its time, and how much, once so much was pushed.
    fn taken(
        pushed: (usize, usize),
        wanted: (bool, bool),
        patience: Duration,
    ) -> Option<(usize, usize)> {
        let inbox = Arc::new(Inbox::default());
        let (tell, told) = std::sync::mpsc::channel();
        let taking = Arc::clone(&inbox);
        let taker = std::thread::spawn(move || {
            let all = taking.take(Instant::now() + Duration::from_secs(3600), wanted);
            tell.send((all.spans.len(), all.lines.len())).expect("somebody waits for it");
        });
        // What is pushed while it waits wakes it.
        std::thread::sleep(Duration::from_millis(10));
        for last in [false, true] {
            let so_many = |all: usize| if last { all.min(1) } else { all.saturating_sub(1) };
            for _ in 0..so_many(pushed.0) {
                inbox.push_span(Span::default());
            }
            for _ in 0..so_many(pushed.1) {
                inbox.push_line(LogRecord::default());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let before_its_time = told.recv_timeout(patience).ok();
        inbox.finish();
        inbox.end(Duration::ZERO);
        taker.join().expect("the end wakes it");
        before_its_time
    }

    #[test]
    fn enough_of_what_is_wanted_is_sent_before_its_time_and_less_is_not() {
        let (soon, long) = (Duration::from_millis(20), Duration::from_secs(10));
        assert_eq!(taken((ENOUGH, 0), (true, true), long), Some((ENOUGH, 0)));
        assert_eq!(taken((0, ENOUGH), (true, true), long), Some((0, ENOUGH)));
        assert_eq!(taken((ENOUGH - 1, ENOUGH - 1), (true, true), soon), None);
        assert_eq!(taken((ENOUGH, 0), (false, true), soon), None);
        assert_eq!(taken((0, ENOUGH), (true, false), soon), None);
    }

    #[test]
    fn what_became_of_each_signal_is_counted_by_itself() {
        let inbox = Inbox::default();
        for (count, signal) in (1..).zip(Signal::ALL) {
            inbox.sent(signal, count);
            inbox.lose(signal, 10 * count);
            (0..count + 3).for_each(|_| inbox.failed(signal));
        }
        for (count, signal) in (1..).zip(Signal::ALL) {
            let counts = Counts { sent: count, lost: 10 * count, failures: count + 3 };
            assert_eq!(inbox.counts(signal), counts, "{}", signal.label());
        }
        assert_eq!(Signal::ALL.map(Signal::label), ["spans", "points", "lines"]);
    }
}
