//! Ids of traces and spans, which traces begin here, and where spans go.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::TRACEPARENT_BYTES;
use super::context::Context;
use super::inbox::{Inbox, SPANS_MAX, Signal};
use super::span::Span;
use crate::sync::Counter;

/// Flags of a trace that begins here: it is recorded.
const SAMPLED: u8 = 1;
/// The increment of `SplitMix64`.
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// What follows traces through this process. Nothing of it ever waits.
pub struct Tracer {
    inbox: Arc<Inbox>,
    seed: u64,
    drawn: Counter,
    /// Spans that wait for a journal.
    waiting: Counter,
    /// A draw below this begins a trace.
    roots_below: u64,
}

impl Tracer {
    pub(super) fn new(inbox: Arc<Inbox>, root_ratio: f64) -> Self {
        let mut seed = [0; 8];
        // Without it, ids repeat those of a process that had none, either.
        let _ = rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::NONBLOCK);
        Self::seeded(inbox, root_ratio, u64::from_ne_bytes(seed))
    }

    fn seeded(inbox: Arc<Inbox>, root_ratio: f64, seed: u64) -> Self {
        // 2^64 becomes the largest number.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1")]
        let roots_below = (root_ratio * 18_446_744_073_709_551_616.0) as u64;
        Self { inbox, seed, drawn: Counter::new(0), waiting: Counter::new(0), roots_below }
    }

    /// Draws a number: `SplitMix64`, so that none comes twice.
    fn draw(&self) -> u64 {
        // ORDER(none): each caller gets a number of its own, whatever the order.
        let turn = self.drawn.fetch_add(1, Ordering::Relaxed);
        let mut z = self.seed.wrapping_add(turn.wrapping_add(1).wrapping_mul(GAMMA));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Makes an id of a span. Not zero.
    pub fn span_id(&self) -> [u8; 8] {
        self.draw().max(1).to_be_bytes()
    }

    /// Says whether a message without a trace begins one, and writes the context that it has until
    /// it gets a span: one that comes from nobody.
    pub fn root(&self) -> Option<[u8; TRACEPARENT_BYTES]> {
        if self.roots_below == 0 || self.draw() > self.roots_below {
            return None;
        }
        let id = (u128::from(self.draw()) << 64) | u128::from(self.draw());
        let trace_id = id.max(1).to_be_bytes();
        Some(Context { trace_id, parent_id: [0; 8], flags: SAMPLED }.written([0; 8]))
    }

    /// Has a span sent that has ended.
    pub fn end(&self, span: Span) {
        self.inbox.push_span(span);
    }

    /// Takes a place for a span that waits for a journal: as many may wait as for the collector.
    /// Returns false, and counts the span as lost, if there is none.
    pub fn take_place(&self) -> bool {
        // ORDER(none): a count of its own; the spans are somewhere else.
        let taken = self.waiting.fetch_add(1, Ordering::Relaxed) < SPANS_MAX as u64;
        if !taken {
            self.give_place();
            self.inbox.lose(Signal::Spans, 1);
        }
        taken
    }

    /// Gives a place back.
    pub fn give_place(&self) {
        // ORDER(none): as above.
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_traces_begin_as_the_ratio_says() {
        for (ratio, least, most) in
            [(0.0, 0, 0), (0.01, 50, 200), (0.5, 4700, 5300), (1.0, 10_000, 10_000)]
        {
            let tracer = Tracer::seeded(Arc::default(), ratio, 7);
            let begun = (0..10_000).filter(|_| tracer.root().is_some()).count();
            assert!((least..=most).contains(&begun), "{begun} of 10,000 at {ratio}");
        }
    }

    #[test]
    fn as_many_spans_wait_for_a_journal_as_for_the_collector() {
        let inbox = Arc::<Inbox>::default();
        let tracer = Tracer::seeded(Arc::clone(&inbox), 1.0, 7);
        assert!((0..SPANS_MAX).all(|_| tracer.take_place()));
        assert!(!tracer.take_place() && !tracer.take_place());
        assert_eq!(inbox.counts(Signal::Spans).lost, 2);
        tracer.give_place();
        assert!(tracer.take_place() && !tracer.take_place());
    }

    #[test]
    fn a_trace_that_begins_is_recorded_and_has_no_parent() {
        let tracer = Tracer::seeded(Arc::default(), 1.0, 7);
        let (first, second) = (tracer.root().expect("all"), tracer.root().expect("all"));
        let context = Context::parse(&first).expect("well formed");
        assert_eq!((context.parent_id, context.flags), ([0; 8], 1));
        assert_ne!(first, second);
        assert_ne!(tracer.span_id(), tracer.span_id());
    }

    #[test]
    fn numbers_are_those_of_splitmix64_and_each_is_drawn_once() {
        // Of the reference implementation, for this seed.
        const DRAWN: [u64; 5] = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ];
        let tracer = Tracer::seeded(Arc::default(), 1.0, 1_234_567);
        assert_eq!(DRAWN.map(|_| u64::from_be_bytes(tracer.span_id())), DRAWN);
        // One decides whether a trace begins, two are its id.
        let tracer = Tracer::seeded(Arc::default(), 1.0, 1_234_567);
        let root = Context::parse(&tracer.root().expect("all")).expect("well formed");
        let id = (u128::from(DRAWN[1]) << 64) + u128::from(DRAWN[2]);
        assert_eq!(root.trace_id, id.to_be_bytes());
        // A process does not repeat another one's.
        let of_a_process = || Tracer::new(Arc::default(), 1.0).span_id();
        assert_ne!(of_a_process(), of_a_process());
    }

    #[test]
    fn a_span_that_has_ended_waits_to_be_sent() {
        let inbox = Arc::<Inbox>::default();
        Tracer::seeded(Arc::clone(&inbox), 0.0, 7).end(Span::default());
        assert_eq!(inbox.take(std::time::Instant::now(), (true, true)).spans.len(), 1);
    }
}
