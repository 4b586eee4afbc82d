//! Exemplars: the trace that was counted last in each bucket, and for each reason of refusal.

use std::sync::Mutex;

use crate::refusal::Refusal;
use crate::sync::lock;

/// Buckets of the time from the receipt of a message to its publication, seconds.
pub(super) const TRACED_BUCKETS_SECONDS: [f64; 12] =
    [1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 1e-3, 5e-3, 2.5e-2, 0.1, 0.5, 2.5, 10.0];
/// Each of them, and what is above.
const BUCKETS: usize = TRACED_BUCKETS_SECONDS.len() + 1;

/// A trace, and what it added to a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exemplar {
    /// The trace.
    pub trace_id: [u8; 16],
    /// The span in it.
    pub span_id: [u8; 8],
    /// Seconds of a latency, or records of a counter.
    pub value: f64,
    /// When it was counted, since 1970, nanoseconds.
    pub at_ns: u64,
}

/// Those of one ring.
#[derive(Default)]
pub struct Exemplars {
    published: Mutex<[Option<Exemplar>; BUCKETS]>,
    refused: Mutex<[Option<Exemplar>; Refusal::LABELS.len()]>,
}

impl Exemplars {
    /// Keeps a message that was published, whose value is its latency.
    pub(super) fn published(&self, exemplar: Exemplar) {
        let bucket = TRACED_BUCKETS_SECONDS.iter().position(|most| exemplar.value <= *most);
        lock(&self.published)[bucket.unwrap_or(BUCKETS - 1)] = Some(exemplar);
    }

    /// Keeps a message that was refused, whose value is its records.
    pub(super) fn refused(&self, reason: &str, exemplar: Exemplar) {
        if let Some(index) = Refusal::LABELS.iter().position(|label| *label == reason) {
            lock(&self.refused)[index] = Some(exemplar);
        }
    }

    /// Returns the last one in a bucket of the latency, by its index; past the last bound, `+Inf`.
    pub(super) fn in_bucket(&self, index: usize) -> Option<Exemplar> {
        lock(&self.published).get(index).copied().flatten()
    }

    /// Returns the last one that was refused for a reason.
    pub(super) fn of_reason(&self, reason: &str) -> Option<Exemplar> {
        let index = Refusal::LABELS.iter().position(|label| *label == reason)?;
        lock(&self.refused)[index]
    }
}
