//! A look at a ring for people: where everything stands, and how far each subscription is behind.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use aqueduct_core::Memory;
use aqueduct_core::internals::{Framing, Header};
use aqueduct_core::layout::{
    DATA_OFFSET_MAPPED, GRANULE_BYTES, KIND_ATTRIBUTES, KIND_DATA, ring_word,
};

use super::attach::Attachment;
use super::{Ring, bytes, now_ns};
use crate::metrics::{Eviction, SubscriptionMetrics};

/// Most headers without a record before the first unread one: padding at the end of the data area,
/// and what readers skip.
const SKIPPED_MAX: usize = 64;

/// A ring as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingLook {
    /// Its stream has been ended.
    pub closed: bool,
    /// Nothing fits, or not even the record that was refused last.
    pub full: bool,
    /// A subscription lags as far as it may, and keeps records out.
    pub kept_out: bool,
    /// Sequence number of the next record: how many there were in this epoch.
    pub next_seq: u64,
    /// Position of the end of the last record, granules, 32 bits. Where publication waits for
    /// something, readers may not see it yet.
    pub tail: u32,
    /// Position of the oldest record that observers may read, granules, 32 bits.
    pub oldest: u32,
    /// Bytes that the slowest subscription has not released.
    pub used_bytes: u64,
    /// Subscriptions, in the order of the configuration.
    pub subscriptions: Vec<SubscriptionLook>,
}

/// A subscription as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionLook {
    /// Its name.
    pub name: String,
    /// Whether a reader has it.
    pub attached: bool,
    /// It may lag behind the ring: it is fed from the journal.
    pub lagging: bool,
    /// Position up to which everything is released, granules, 32 bits.
    pub cursor: u32,
    /// Bytes not released, headers and padding included.
    pub lag_bytes: u64,
    /// Records not released.
    pub lag_records: u64,
    /// Age of the oldest of them, nanoseconds; 0 if there is none.
    pub lag_ns: u64,
    /// Damaged records and stretches that its present reader says it saw.
    pub corrupt: u32,
    /// Records that it says were lost to damage.
    pub lost: u32,
    /// Sleeps that it says ended by timeout with data there.
    pub missed_wakes: u32,
}

/// Why nobody was evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotEvicted {
    /// The ring has no such subscription.
    NoSubscription,
    /// No reader is attached to it.
    NoReader,
}

impl Ring {
    /// Looks at everything at one moment. Records are not appended meanwhile.
    pub fn look(&self) -> RingLook {
        // Evicts readers whose cursors are impossible.
        let status = self.refresh();
        let now = now_ns(self.clock);
        let framing = Framing::new(self.epoch);
        let mut inner = self.lock();
        let inner = &mut *inner;
        let region = self.segment.region();
        // ORDER(none): under the mutex, these words are our own.
        let word = |at| region.load(at, Ordering::Relaxed);
        let (tail, next_seq) = (inner.producer.ring().tail(), inner.producer.next_seq());
        let mut subscriptions = Vec::with_capacity(self.subscription_names.len());
        let mut lagging = self.feeds().map_or_else(Vec::new, |feeds| feeds.look(now));
        for name in &self.subscription_names {
            if let Some(index) = lagging.iter().position(|look| look.name == *name) {
                subscriptions.push(lagging.swap_remove(index));
                continue;
            }
            let index = inner.subscriptions.iter().position(|it| it.name == *name);
            let Some((index, status)) = index.and_then(|at| Some((at, inner.record(at)?))) else {
                continue;
            };
            let lag = status.lag_granules;
            let oldest = first_unread(&region, self.capacity, &framing, tail, lag);
            subscriptions.push(SubscriptionLook {
                name: inner.subscriptions[index].name.clone(),
                attached: status.attached,
                lagging: false,
                cursor: tail.wrapping_sub(lag),
                lag_bytes: bytes(lag),
                lag_records: oldest.map_or(0, |header| next_seq.saturating_sub(header.seq)),
                lag_ns: oldest.map_or(0, |header| now.saturating_sub(header.timestamp_ns)),
                corrupt: status.corrupt,
                lost: status.lost,
                missed_wakes: status.missed_wakes,
            });
        }
        RingLook {
            closed: inner.closed,
            full: status.full,
            kept_out: self.is_kept_out(inner, inner.refused_granules.max(1)),
            next_seq,
            tail,
            oldest: word(ring_word::OLDEST),
            used_bytes: status.used_bytes,
            subscriptions,
        }
    }

    /// Brings all metrics of the ring up to date, also those that cost a look at its records and at
    /// its journal's disk.
    pub fn measure(&self) {
        let look = self.look();
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.metrics.full.set(i64::from(look.full));
        let note = |metrics: &SubscriptionMetrics, seen: &SubscriptionLook| {
            metrics.lag_records.set(gauge(seen.lag_records));
            #[allow(clippy::cast_precision_loss, reason = "for people")]
            metrics.lag_seconds.set(seen.lag_ns as f64 / 1e9);
            // One that went back to the oldest record releases the same again.
            let released = look.next_seq.saturating_sub(seen.lag_records);
            metrics.released.inc_by(released.saturating_sub(metrics.released.get()));
        };
        let inner = self.lock();
        for seen in &look.subscriptions {
            let held = inner.subscriptions.iter().find(|it| it.name == seen.name);
            match (held, self.feeds()) {
                (Some(held), _) => note(&held.metrics, seen),
                (None, Some(feeds)) => feeds.with_metrics(&seen.name, |it| note(it, seen)),
                (None, None) => {}
            }
        }
        drop(inner);
        self.measure_journal();
    }

    /// Ends the connection of the reader of a subscription, which goes on holding records back
    /// until another reader comes.
    pub fn evict(self: &Arc<Self>, name: &str) -> Result<(), NotEvicted> {
        let number = {
            let inner = self.lock();
            let held = inner.subscriptions.iter().find(|it| it.name == name);
            let number = match (held, self.feeds_with(name)) {
                (Some(held), _) => held.reader.as_ref().map(|reader| reader.attachment),
                (None, Some(feeds)) => feeds.attachment(name, false),
                (None, None) => return Err(NotEvicted::NoSubscription),
            };
            number.ok_or(NotEvicted::NoReader)?
        };
        self.metrics.evicted(Eviction::Operator);
        tracing::warn!(ring = %self.name, subscription = name, "reader evicted by an operator");
        drop(Attachment::of(self, name, number));
        Ok(())
    }
}

/// Finds the header of the first record that a subscription has not released. They cannot be
/// overwritten while the producer's mutex is held.
pub(super) fn first_unread(
    memory: &impl Memory,
    capacity: u32,
    framing: &Framing,
    tail: u32,
    mut lag: u32,
) -> Option<Header> {
    for _ in 0..SKIPPED_MAX {
        if lag == 0 {
            return None;
        }
        let position = tail.wrapping_sub(lag);
        let mut header = [0; GRANULE_BYTES];
        let granule = (position % capacity) as usize;
        memory.read(DATA_OFFSET_MAPPED as usize + granule * GRANULE_BYTES, &mut header);
        let header = framing.decode(position, &header).ok()?;
        if header.kind & !KIND_ATTRIBUTES == KIND_DATA {
            return Some(header);
        }
        let granules = 1 + header.len.div_ceil(u32::try_from(GRANULE_BYTES).ok()?);
        lag = lag.saturating_sub(granules);
    }
    None
}
