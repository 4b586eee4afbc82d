//! Subscriptions that may lag behind the ring: each has a ring of its own, which a thread fills
//! from the journal.
//!
//! Such a subscription does not hold the producer back; the journal holds what it has not released,
//! up to a bound. Its reader, while there is one, has a ring with the epoch of the ring of all and
//! with each record at its position, so that nothing in a reader is different: it is written to at
//! the reader's own pace. The ring goes with the reader.
//!
//! Why not the ring of all, once a reader has caught up: what a reader has not released may be lent
//! to its program, or be read at this moment, so a slow one cannot be taken off it again.
//!
//! Locks, in this order: the producer's mutex, the log, the followers, the state here.

mod attach;
mod feed;
mod look;
mod work;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use aqueduct_core::layout::GRANULE_BYTES;

pub(super) use self::feed::Feed;
use super::journaled::{Bell, wide};
use super::{Doorbell, Inner, Ring};
use crate::journal::disk::Disk;
use crate::journal::format::SegmentHeader;
use crate::journal::{Follow, Log};
use crate::metrics::SubscriptionMetrics;
use crate::segment::{CursorSegment, FeedSegment};
use crate::sync::{Counter, lock};

/// All subscriptions of a ring that may lag.
pub(super) struct Feeds {
    /// Most granules that one may lag.
    bound: u64,
    epoch: u64,
    state: Mutex<State>,
    /// Up to which position records may be appended: where the farthest comes to the bound.
    limit: Counter,
    /// The limit that was told last to those who append.
    told: Counter,
    /// Rung when there may be something to do for the thread.
    pub(super) bell: Bell,
    /// What reads for each of them. Locked by whoever fills their rings.
    followers: Mutex<Vec<Follow<Disk>>>,
    chain: Mutex<Chain>,
}

/// The segments of the journal.
#[derive(Default)]
struct Chain {
    /// How many there are, of whatever epoch, and the last.
    known: (usize, u64),
    /// Those of the epoch, in order.
    headers: Arc<Vec<SegmentHeader>>,
}

/// What changes.
struct State {
    slots: Vec<Slot>,
    /// Just past the last published record, and the number of the one that comes there.
    published: (u64, u64),
    /// Attachments so far.
    attachments: u64,
    /// The stream has ended: nothing is fed any more.
    closed: bool,
}

/// One subscription.
struct Slot {
    name: String,
    /// Position of the first record that it has not released.
    position: u64,
    /// What the file of the cursors says of it, so that a reader which connects again to the next
    /// process finds its place in the ring that it gets there.
    saved: u64,
    /// Number that this record has at least.
    seq: u64,
    /// That record, if it is known: not while there is a reader.
    head: Option<Head>,
    reader: Option<Fed>,
    /// A reader that attaches makes its memory: nobody else attaches or moves the position.
    claimed: bool,
    /// A failure to read was told.
    told: bool,
    metrics: SubscriptionMetrics,
}

/// What the header of a record says.
#[derive(Clone, Copy)]
struct Head {
    seq: u64,
    timestamp_ns: u64,
}

/// A reader with its ring.
struct Fed {
    attachment: u64,
    doorbell: Arc<dyn Doorbell>,
    feed: Feed<FeedSegment, CursorSegment>,
    /// Number of the record that comes into its ring next, if it is known.
    next_seq: Option<u64>,
    /// Just past the last record in its ring that is no padding.
    data_end: u64,
    /// It was asked for space and has released nothing since.
    stands: bool,
    /// Granules that the next record is known to need.
    least: u64,
    /// Its counters when they were last looked at: corrupt, lost, missed wakes.
    counted: [u32; 3],
}

impl Feeds {
    /// Begins with these subscriptions, by name and position, of a journal that goes up to
    /// `published`, where the record of this number comes.
    pub(super) fn new(
        log: &Log<Disk>,
        bound_bytes: u64,
        subscriptions: Vec<(String, u64, SubscriptionMetrics)>,
        published: (u64, u64),
    ) -> Self {
        let follow = |_: &_| Follow::new(Arc::clone(log.files()), log.epoch());
        let followers = subscriptions.iter().map(follow).collect();
        let slot = |(name, position, metrics)| Slot {
            name,
            position,
            saved: position,
            seq: if position == published.0 { published.1 } else { 0 },
            head: None,
            reader: None,
            claimed: false,
            told: false,
            metrics,
        };
        let slots = subscriptions.into_iter().map(slot).collect();
        let feeds = Self {
            bound: bound_bytes / GRANULE_BYTES as u64,
            epoch: log.epoch(),
            state: Mutex::new(State { slots, published, attachments: 0, closed: false }),
            limit: Counter::new(0),
            told: Counter::new(0),
            bell: Bell::default(),
            followers: Mutex::new(followers),
            chain: Mutex::default(),
        };
        feeds.note_segments(log);
        feeds.set_limit(&lock(&feeds.state));
        // ORDER(none): nobody else knows it yet.
        feeds.told.store(feeds.limit(), Ordering::Relaxed);
        feeds
    }

    /// Returns up to which position records may be appended.
    pub(super) fn limit(&self) -> u64 {
        // ORDER(none): a bound; whoever goes by an old one is refused a little earlier.
        self.limit.load(Ordering::Relaxed)
    }

    fn set_limit(&self, state: &State) {
        let farthest = state.slots.iter().map(|slot| slot.position).min();
        let limit = farthest.map_or(u64::MAX, |at| at.saturating_add(self.bound));
        // ORDER(none): as above.
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// Notes what was published, by the low bits of its end. Nothing that is fed is not safe: this
    /// comes after the commit.
    pub(super) fn published(&self, end: u32, next_seq: u64) {
        {
            let mut state = lock(&self.state);
            state.published = (wide(state.published.0, end), next_seq);
        }
        self.bell.ring(false);
    }

    /// Notes which segments there are, before anything in a new one is published.
    pub(super) fn note_segments(&self, log: &Log<Disk>) {
        let segments = log.segments();
        let now = (segments.len(), segments.last().map_or(0, |segment| segment.serial));
        let mut chain = lock(&self.chain);
        if chain.known != now {
            *chain = Chain { known: now, headers: Arc::new(log.chain()) };
        }
    }

    /// Returns where each subscription is, by its cursor of this moment.
    pub(super) fn positions(&self) -> Vec<(String, u64)> {
        let mut state = lock(&self.state);
        for slot in &mut state.slots {
            // The thread evicts whoever lies.
            let _ = slot.look();
        }
        state.slots.iter().map(|slot| (slot.name.clone(), slot.position)).collect()
    }

    /// Notes what the file of the cursors says, or what it cannot be made to say.
    pub(super) fn saved(&self, positions: &[(String, u64)]) {
        let mut is_news = false;
        {
            let mut state = lock(&self.state);
            for (name, at) in positions {
                if let Some(index) = state.index_of(name) {
                    is_news |= std::mem::replace(&mut state.slots[index].saved, *at) != *at;
                }
            }
        }
        if is_news {
            self.bell.ring(false);
        }
    }

    /// Returns the position before which none of them needs anything.
    pub(super) fn needed(&self) -> u64 {
        let state = lock(&self.state);
        state.slots.iter().map(|slot| slot.position).min().unwrap_or(u64::MAX)
    }

    /// Returns whether a subscription of this name may lag.
    pub(super) fn has(&self, name: &str) -> bool {
        lock(&self.state).slots.iter().any(|slot| slot.name == name)
    }
}

impl Slot {
    /// Looks at the reader's cursor; returns whether it has moved.
    fn look(&mut self) -> Result<bool, feed::Lied> {
        let Some(fed) = &mut self.reader else { return Ok(false) };
        let moved = fed.feed.look()?;
        self.position = fed.feed.released();
        Ok(moved)
    }
}

impl State {
    fn index_of(&self, name: &str) -> Option<usize> {
        self.slots.iter().position(|slot| slot.name == name)
    }
}

impl Ring {
    /// Returns the subscriptions that may lag, if there are any.
    pub(super) fn feeds(&self) -> Option<&Feeds> {
        self.journal.as_ref()?.feeds.as_ref()
    }

    /// Returns them if one of this name is among them.
    pub(super) fn feeds_with(&self, name: &str) -> Option<&Feeds> {
        self.feeds().filter(|feeds| feeds.has(name))
    }

    /// Returns whether a subscription may lag behind the ring.
    pub fn may_lag(&self, name: &str) -> bool {
        self.feeds_with(name).is_some()
    }

    /// Returns whether so many granules would bring a subscription to the bound.
    pub(super) fn is_kept_out(&self, inner: &Inner, granules: u32) -> bool {
        self.feeds().is_some_and(|feeds| {
            let near = lock(&feeds.state).published.0;
            feeds.keeps_out(wide(near, inner.producer.ring().tail()), granules.into())
        })
    }
}
