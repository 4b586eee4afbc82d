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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_trace_of_each_bucket_and_reason_is_kept() {
        let exemplars = Exemplars::default();
        let of = |value: f64, at_ns| Exemplar { trace_id: [1; 16], span_id: [2; 8], value, at_ns };
        for (at_ns, most) in (0..).zip(TRACED_BUCKETS_SECONDS) {
            exemplars.published(of(most / 2.0 + 1e-9, 100));
            // A bound is in its bucket.
            exemplars.published(of(most, at_ns));
        }
        exemplars.published(of(11.0, 99));
        for (index, most) in TRACED_BUCKETS_SECONDS.into_iter().enumerate() {
            assert_eq!(exemplars.in_bucket(index), Some(of(most, index as u64)));
        }
        let (above, index) = (of(11.0, 99), TRACED_BUCKETS_SECONDS.len());
        assert_eq!(
            (exemplars.in_bucket(index), exemplars.in_bucket(index + 1)),
            (Some(above), None)
        );
        for (index, reason) in Refusal::LABELS.into_iter().enumerate() {
            assert_eq!(exemplars.of_reason(reason), None);
            exemplars.refused(reason, of(1.0, index as u64));
        }
        exemplars.refused("no such reason", of(1.0, 7));
        for (index, reason) in Refusal::LABELS.into_iter().enumerate() {
            assert_eq!(exemplars.of_reason(reason), Some(of(1.0, index as u64)));
        }
        assert_eq!(exemplars.of_reason("no such reason"), None);
    }
}
