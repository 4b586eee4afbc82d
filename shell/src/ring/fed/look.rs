//! How far those are that may lag, for people and for whoever waits for them.

use std::sync::atomic::Ordering;

use aqueduct_core::Memory;
use aqueduct_core::geometry::low32;
use aqueduct_core::internals::Framing;
use aqueduct_core::layout::cursor_word;

use super::work::wake_reader;
use super::{Fed, Feeds, Head, Slot};
use crate::metrics::SubscriptionMetrics;
use crate::ring::look::first_unread;
use crate::ring::{Ring, SubscriptionLook, bytes};
use crate::sync::lock;

impl Fed {
    /// The first record that was not released, if its ring has it.
    pub(super) fn first_unreleased(&self, epoch: u64) -> Option<Head> {
        let feed = &self.feed;
        let lag = u32::try_from(feed.tail() - feed.released()).ok()?;
        let framing = Framing::new(epoch);
        let (memory, tail) = (feed.memory(), low32(feed.tail()));
        let header = first_unread(memory, feed.capacity(), &framing, tail, lag)?;
        Some(Head { seq: header.seq, timestamp_ns: header.timestamp_ns })
    }

    /// Number of the first record that was not released.
    fn unreleased(&self, epoch: u64) -> Option<u64> {
        if self.feed.released() == self.feed.tail() {
            return self.next_seq;
        }
        self.first_unreleased(epoch).map(|head| head.seq)
    }
}

impl Slot {
    /// Number of the first record that was not released, or one before it.
    fn unreleased(&mut self, epoch: u64, published: (u64, u64)) -> u64 {
        if self.position >= published.0 {
            return published.1;
        }
        let known = match &self.reader {
            Some(fed) => fed.unreleased(epoch),
            None => self.head.map(|head| head.seq),
        };
        self.seq = self.seq.max(known.unwrap_or(0));
        known.unwrap_or(self.seq)
    }

    /// Brings the metrics up to date; returns what its reader says: damaged, lost, missed wakes.
    fn record(&mut self, published: (u64, u64)) -> [u32; 3] {
        // The thread evicts whoever lies.
        let _ = self.look();
        let lag = bytes(published.0.saturating_sub(self.position));
        self.metrics.lag_bytes.set(i64::try_from(lag).unwrap_or(i64::MAX));
        self.metrics.attached.set(i64::from(self.reader.is_some()));
        let Some(fed) = &mut self.reader else { return [0; 3] };
        let words = [cursor_word::CORRUPT, cursor_word::LOST, cursor_word::MISSED_WAKES];
        // ORDER(none): statistics; nothing is read because of them.
        let now = words.map(|at| fed.feed.words().load(at, Ordering::Relaxed));
        let metrics = [&self.metrics.corrupt, &self.metrics.lost, &self.metrics.missed_wakes];
        for ((counter, now), before) in metrics.into_iter().zip(now).zip(&mut fed.counted) {
            counter.inc_by(u64::from(now.wrapping_sub(*before)));
            *before = now;
        }
        now
    }
}

impl Feeds {
    /// Brings the metrics up to date; returns the most bytes that one with a reader lags.
    pub(in crate::ring) fn refresh(&self) -> u64 {
        let mut state = lock(&self.state);
        let published = state.published;
        let lag = state.slots.iter_mut().map(|slot| {
            slot.record(published);
            let lag = bytes(published.0.saturating_sub(slot.position));
            if slot.reader.is_some() { lag } else { 0 }
        });
        lag.max().unwrap_or(0)
    }

    /// Returns whether so many granules would come too near to the bound, past this position.
    pub(in crate::ring) fn keeps_out(&self, appended: u64, granules: u64) -> bool {
        self.limit().saturating_sub(appended) / 2 < granules
    }

    /// Looks at each; `now` is the time of the ring's clock.
    pub(in crate::ring) fn look(&self, now: u64) -> Vec<SubscriptionLook> {
        let mut state = lock(&self.state);
        let published = state.published;
        let looks = state.slots.iter_mut().map(|slot| {
            let [corrupt, lost, missed_wakes] = slot.record(published);
            let behind = published.0.saturating_sub(slot.position);
            let first = match &slot.reader {
                Some(fed) => fed.first_unreleased(self.epoch),
                None => slot.head,
            };
            let first = first.filter(|_| behind > 0);
            SubscriptionLook {
                name: slot.name.clone(),
                attached: slot.reader.is_some(),
                lagging: true,
                cursor: low32(slot.position),
                lag_bytes: bytes(behind),
                lag_records: published.1.saturating_sub(slot.unreleased(self.epoch, published)),
                lag_ns: first.map_or(0, |head| now.saturating_sub(head.timestamp_ns)),
                corrupt,
                lost,
                missed_wakes,
            }
        });
        looks.collect()
    }

    /// Number of the first record that a subscription has not released, or, without a name, that
    /// any has not; or one before it.
    pub(in crate::ring) fn unreleased(&self, name: Option<&str>) -> u64 {
        let mut state = lock(&self.state);
        let published = state.published;
        let wanted = state.slots.iter_mut().filter(|slot| name.is_none_or(|it| slot.name == it));
        let seqs = wanted.map(|slot| {
            let _ = slot.look();
            slot.unreleased(self.epoch, published)
        });
        seqs.min().unwrap_or(u64::MAX)
    }

    /// Calls with the metrics of a subscription.
    pub(in crate::ring) fn with_metrics(
        &self,
        name: &str,
        call: impl FnOnce(&SubscriptionMetrics),
    ) {
        let state = lock(&self.state);
        if let Some(slot) = state.slots.iter().find(|slot| slot.name == name) {
            call(&slot.metrics);
        }
    }
}

impl Ring {
    /// Ends what is fed: with a mark, if everything that was appended is published, in the rings
    /// that have it all. The readers of others learn of the end by their connections.
    pub(in crate::ring) fn close_feeds(&self, is_whole: bool) {
        let Some(feeds) = self.feeds() else { return };
        let mut state = lock(&feeds.state);
        let published = state.published;
        if std::mem::replace(&mut state.closed, true) || !is_whole {
            return;
        }
        let mut due = Vec::new();
        for fed in state.slots.iter_mut().filter_map(|slot| slot.reader.as_mut()) {
            if fed.feed.tail() == published.0 {
                let wake = fed.feed.close(self.epoch);
                due.push((wake, fed.feed.memory().clone(), fed.doorbell.clone()));
            }
        }
        drop(state);
        for (wake, memory, doorbell) in due {
            wake_reader(&self.metrics, wake, &memory, &*doorbell);
        }
    }
}
