//! One subscription: its reader, if any, and what that reader reports.
//!
//! A subscription holds the producer back whether or not a reader is attached.

use std::sync::Arc;

use aqueduct_core::SubscriptionId;
use aqueduct_core::SubscriptionStatus;

use super::{Doorbell, Inner, bytes};
use crate::metrics::SubscriptionMetrics;
use crate::segment::CursorSegment;

/// One subscription of the configuration.
pub(super) struct Subscription {
    pub(super) name: String,
    pub(super) id: SubscriptionId,
    pub(super) reader: Option<AttachedReader>,
    pub(super) metrics: SubscriptionMetrics,
}

/// The reader of a subscription.
pub(super) struct AttachedReader {
    pub(super) attachment: u64,
    pub(super) doorbell: Arc<dyn Doorbell>,
    /// Its cursor segment.
    pub(super) words: CursorSegment,
    /// The sleep from which it was woken last, where publication waits.
    pub(super) woken: u32,
    /// Its counters when they were last looked at: corrupt, lost, missed wakes.
    pub(super) counted: [u32; 3],
}

impl Subscription {
    pub(super) fn new(name: String, id: SubscriptionId, metrics: SubscriptionMetrics) -> Self {
        Self { name, id, reader: None, metrics }
    }

    pub(super) fn doorbell(&self) -> Option<Arc<dyn Doorbell>> {
        self.reader.as_ref().map(|reader| Arc::clone(&reader.doorbell))
    }

    /// Ends the connection of a reader that the core has let go of.
    pub(super) fn evict(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.doorbell.disconnect();
        }
        self.metrics.attached.set(0);
    }

    /// Brings the metrics up to date. The reader's counters wrap and are its own; what is counted
    /// is how far they went.
    fn record(&mut self, status: &SubscriptionStatus) {
        self.metrics.lag_bytes.set(i64::try_from(bytes(status.lag_granules)).unwrap_or(i64::MAX));
        self.metrics.attached.set(i64::from(status.attached));
        let Some(reader) = self.reader.as_mut().filter(|_| status.attached) else { return };
        let now = [status.corrupt, status.lost, status.missed_wakes];
        for ((counter, now), before) in
            [&self.metrics.corrupt, &self.metrics.lost, &self.metrics.missed_wakes]
                .into_iter()
                .zip(now)
                .zip(&mut reader.counted)
        {
            counter.inc_by(u64::from(now.wrapping_sub(*before)));
            *before = now;
        }
    }
}

impl Inner {
    /// Brings the metrics of one subscription up to date.
    pub(super) fn record(&mut self, index: usize) -> Option<SubscriptionStatus> {
        let subscription = self.subscriptions.get_mut(index)?;
        let status = self.producer.subscription(subscription.id)?;
        subscription.record(&status);
        Some(status)
    }
}
