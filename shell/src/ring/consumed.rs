//! How far readers have released a ring, by sequence numbers.

use aqueduct_core::internals::Framing;

use super::look::first_unread;
use super::{Inner, Ring};

impl Ring {
    /// Finds a subscription by its name: its place in the configuration. Locks nothing.
    pub fn subscription(&self, name: &str) -> Option<u16> {
        let place = self.subscription_names.iter().position(|each| each == name)?;
        u16::try_from(place).ok()
    }

    /// Returns the sequence number of the oldest record that a subscription has not released, or
    /// that any has not; that of the next record if there is none. Everything before it is
    /// released.
    pub fn unreleased(&self, by: Option<u16>) -> u64 {
        let framing = Framing::new(self.epoch);
        let mut inner = self.lock();
        let next_seq = inner.producer.next_seq();
        let of = |inner: &mut Inner, index: usize| {
            let id = inner.subscriptions.get(index)?.id;
            let lag = inner.producer.subscription(id)?.lag_granules;
            let tail = inner.producer.ring().tail();
            let region = self.segment.region();
            // What cannot be read is not known to be released.
            let oldest = first_unread(&region, self.capacity, &framing, tail, lag);
            Some(oldest.map_or(if lag == 0 { next_seq } else { 0 }, |header| header.seq))
        };
        let Some(index) = by else {
            let held =
                (0..inner.subscriptions.len()).map(|index| of(&mut inner, index).unwrap_or(0));
            let held = held.min().unwrap_or(next_seq);
            return self.feeds().map_or(held, |feeds| held.min(feeds.unreleased(None)));
        };
        let Some(name) = self.subscription_names.get(usize::from(index)) else { return 0 };
        if let Some(feeds) = self.feeds_with(name) {
            return feeds.unreleased(Some(name));
        }
        let index = inner.subscriptions.iter().position(|each| each.name == *name);
        index.and_then(|index| of(&mut inner, index)).unwrap_or(0)
    }
}
