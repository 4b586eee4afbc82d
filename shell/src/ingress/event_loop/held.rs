//! Answers that may not be sent yet: their records are not safe, or not where they were to go.
//!
//! Answers of one connection are sent in the order in which they were made. So whatever was made
//! after one that is held waits with it.

use std::collections::VecDeque;
use std::ops::Range;

use super::clock::NEVER;
use crate::codec::{Answered, RingId};

/// What an answer waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ingress) enum Until {
    /// The record is published. Of a ring with a journal: it is as safe as the ring promises.
    Published,
    /// A subscription, by its place, has released it, or all have.
    Consumed {
        /// Whose release is awaited; everyone's without.
        by: Option<u16>,
    },
}

/// One condition of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ingress) struct Hold {
    /// Ring of the record.
    pub(in crate::ingress) ring: RingId,
    /// Its sequence number.
    pub(in crate::ingress) seq: u64,
    /// What is to happen to it.
    pub(in crate::ingress) until: Until,
}

/// How a condition stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ingress) enum Verdict {
    /// It is met.
    Met,
    /// Not yet.
    Open,
    /// It can never be met: nothing true can be said any more.
    Never,
}

/// Answers under one condition.
#[derive(Debug)]
struct Span {
    /// Bytes of the connection's output.
    bytes: Range<usize>,
    hold: Hold,
    /// When `late` is sent instead, ms; [`NEVER`] without a limit.
    deadline_ms: u64,
    late: Box<[u8]>,
    settled: Option<Settled>,
}

/// Who learns how an answer was settled: statuses if it is sent, and if it is late.
#[derive(Debug)]
pub(in crate::ingress) struct Settled {
    pub(in crate::ingress) statuses: (u16, u16),
    pub(in crate::ingress) answered: Answered,
}

impl Settled {
    /// Says so; returns the status.
    pub(in crate::ingress) fn tell(self, is_late: bool) -> u16 {
        let status = if is_late { self.statuses.1 } else { self.statuses.0 };
        if let Some(answered) = self.answered.0 {
            answered(status);
        }
        status
    }
}

/// What of a connection's output is held, in order. Empty, it costs nothing but its own bytes.
#[derive(Debug, Default)]
pub(in crate::ingress) struct Held {
    /// INVARIANT: by `bytes.start`, and none beyond the output.
    spans: VecDeque<Span>,
    /// Statuses of answers that were settled and are to be counted.
    statuses: Vec<u16>,
}

/// The connection cannot be answered.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::ingress) struct Unanswerable;

impl Held {
    /// Whether nothing is held.
    pub(in crate::ingress) fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Holds these bytes of the output. No answer, nothing to be held.
    pub(in crate::ingress) fn add(&mut self, bytes: Range<usize>, hold: Hold) {
        self.add_until(bytes, hold, NEVER, Box::default(), None);
    }

    /// Holds these bytes up to a time, after which `late` takes their place.
    pub(in crate::ingress) fn add_until(
        &mut self,
        bytes: Range<usize>,
        hold: Hold,
        deadline_ms: u64,
        late: Box<[u8]>,
        settled: Option<Settled>,
    ) {
        debug_assert!(self.spans.back().is_none_or(|last| last.bytes.start <= bytes.start));
        if !bytes.is_empty() {
            self.spans.push_back(Span { bytes, hold, deadline_ms, late, settled });
        }
    }

    /// Returns whether the first of them waits for readers.
    pub(in crate::ingress) fn waits_for_readers(&self) -> bool {
        self.first().is_some_and(|hold| matches!(hold.until, Until::Consumed { .. }))
    }

    /// Takes the statuses of answers that were settled since the last time.
    pub(in crate::ingress) fn take_statuses(&mut self) -> Vec<u16> {
        std::mem::take(&mut self.statuses)
    }

    /// Returns what the first of them waits for.
    pub(in crate::ingress) fn first(&self) -> Option<&Hold> {
        self.spans.front().map(|span| &span.hold)
    }

    /// Returns the first time at which something is late, ms.
    pub(in crate::ingress) fn deadline_ms(&self) -> u64 {
        self.spans.iter().map(|span| span.deadline_ms).min().unwrap_or(NEVER)
    }

    /// Takes what may be sent off the front of the output.
    pub(in crate::ingress) fn take(
        &mut self,
        out: &mut Vec<u8>,
        now_ms: u64,
        mut judge: impl FnMut(&Hold) -> Verdict,
    ) -> Result<Vec<u8>, Unanswerable> {
        while let Some(first) = self.spans.front() {
            match judge(&first.hold) {
                Verdict::Never => return Err(Unanswerable),
                Verdict::Open if first.deadline_ms > now_ms => break,
                Verdict::Open => self.replace_first(out),
                Verdict::Met => {
                    let settled = self.spans.pop_front().and_then(|span| span.settled);
                    self.statuses.extend(settled.map(|settled| settled.tell(false)));
                }
            }
        }
        let Some(first) = self.spans.front() else { return Ok(std::mem::take(out)) };
        let sent = first.bytes.start;
        if sent == 0 {
            return Ok(Vec::new());
        }
        let rest = out.split_off(sent);
        for span in &mut self.spans {
            span.bytes = span.bytes.start - sent..span.bytes.end - sent;
        }
        Ok(std::mem::replace(out, rest))
    }

    /// Puts what is said of a late record in the place of its answer. Other conditions of the same
    /// answer no longer matter.
    fn replace_first(&mut self, out: &mut Vec<u8>) {
        let Some(Span { bytes, late, mut settled, .. }) = self.spans.pop_front() else { return };
        while self.spans.front().is_some_and(|next| next.bytes.start < bytes.end) {
            settled = settled.or(self.spans.pop_front().and_then(|span| span.settled));
        }
        self.statuses.extend(settled.map(|settled| settled.tell(true)));
        for span in &mut self.spans {
            span.bytes = span.bytes.start - bytes.len() + late.len()
                ..span.bytes.end - bytes.len() + late.len();
        }
        out.splice(bytes, late);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(seq: u64) -> Hold {
        Hold { ring: RingId(0), seq, until: Until::Published }
    }

    /// Everything before `next` is published.
    fn published(next: u64) -> impl FnMut(&Hold) -> Verdict {
        move |hold| if hold.seq < next { Verdict::Met } else { Verdict::Open }
    }

    fn output(held: &mut Held) -> Vec<u8> {
        held.add(0..3, hold(0));
        held.add(3..5, hold(1));
        held.add(3..5, hold(7));
        b"oneTW later".to_vec()
    }

    #[test]
    fn answers_are_sent_in_order_as_their_conditions_are_met() {
        let mut held = Held::default();
        let mut out = output(&mut held);
        assert_eq!(held.take(&mut out, 0, published(0)), Ok(vec![]));
        assert_eq!(
            (held.take(&mut out, 0, published(1)), held.is_empty()),
            (Ok(b"one".into()), false)
        );
        assert_eq!(held.take(&mut out, 0, published(2)), Ok(vec![]), "one condition is not enough");
        assert_eq!(out, b"TW later");
        out.extend_from_slice(b" and later");
        assert_eq!(held.take(&mut out, 0, published(8)), Ok(b"TW later and later".into()));
        assert!(held.is_empty() && out.is_empty());
    }

    #[test]
    fn a_later_answer_waits_for_an_earlier_one() {
        let (mut held, mut out) = (Held::default(), b"ab".to_vec());
        held.add(0..1, hold(9));
        held.add(1..2, hold(0));
        assert_eq!((held.take(&mut out, 0, published(1)), out.len()), (Ok(vec![]), 2));
    }

    #[test]
    fn a_late_answer_is_replaced_and_the_others_are_not() {
        let (mut held, mut out) = (Held::default(), b"okOK!".to_vec());
        held.add_until(0..2, hold(0), 50, b"too late".as_slice().into(), None);
        held.add(0..2, hold(3));
        held.add(2..4, hold(1));
        assert_eq!((held.deadline_ms(), held.take(&mut out, 49, published(0))), (50, Ok(vec![])));
        assert_eq!(held.take(&mut out, 50, published(0)), Ok(b"too late".into()));
        assert_eq!((held.deadline_ms(), &out[..]), (NEVER, &b"OK!"[..]));
        assert_eq!(held.take(&mut out, 60, published(2)), Ok(b"OK!".into()));
    }

    #[test]
    fn an_answer_of_several_conditions_is_settled_once_with_the_last_of_them() {
        let settled = || Some(Settled { statuses: (202, 504), answered: Answered::default() });
        let with_two = || {
            let mut held = Held::default();
            held.add_until(0..2, hold(0), 50, b"late".as_slice().into(), None);
            held.add_until(0..2, hold(3), 50, b"late".as_slice().into(), settled());
            (held, b"ok!".to_vec())
        };
        let (mut held, mut out) = with_two();
        assert_eq!(
            (held.take(&mut out, 0, published(1)), held.take_statuses()),
            (Ok(vec![]), vec![])
        );
        assert_eq!(held.take(&mut out, 50, published(1)), Ok(b"late!".into()));
        assert_eq!(held.take_statuses(), [504]);
        let (mut held, mut out) = with_two();
        assert_eq!(held.take(&mut out, 50, published(0)), Ok(b"late!".into()));
        assert_eq!(held.take_statuses(), [504]);
        let (mut held, mut out) = with_two();
        assert_eq!(held.take(&mut out, 50, published(4)), Ok(b"ok!".into()));
        assert_eq!(held.take_statuses(), [202]);
    }

    #[test]
    fn what_can_never_be_met_is_never_answered() {
        let (mut held, mut out) = (Held::default(), b"202".to_vec());
        held.add(0..3, hold(0));
        assert_eq!(held.take(&mut out, 0, |_| Verdict::Never), Err(Unanswerable));
    }

    #[test]
    fn nothing_is_held_where_there_is_no_answer() {
        let mut held = Held::default();
        held.add(0..0, hold(0));
        assert!(held.is_empty());
    }
}
