//! Who reads a ring: attaching, detaching, throwing out, and how each subscription stands.
//!
//! A subscription holds the producer back whether or not anybody is attached. Next: `control`.

use std::fmt;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use aqueduct_core::layout::{distance, ring_word};
use aqueduct_core::producer::SubscriptionStatus;
use aqueduct_core::{Memory, Start, SubscriptionId, Wake};

use super::{Inner, Ring, bytes};
use crate::handoff::Link;
use crate::mapping::{CursorSegment, MappingError};
use crate::metrics::{Eviction, SubscriptionMetrics};

/// One subscription of the configuration.
pub(super) struct Subscription {
    pub(super) name: String,
    pub(super) id: SubscriptionId,
    reader: Option<AttachedReader>,
    metrics: SubscriptionMetrics,
}

struct AttachedReader {
    attachment: u64,
    link: Arc<Link>,
    /// What its counters stood at when they were last looked at: corrupt, lost, missed wakes.
    counted: [u32; 3],
}

impl Subscription {
    pub(super) fn new(name: String, id: SubscriptionId, metrics: SubscriptionMetrics) -> Self {
        Self { name, id, reader: None, metrics }
    }

    pub(super) fn link(&self) -> Option<Arc<Link>> {
        self.reader.as_ref().map(|reader| Arc::clone(&reader.link))
    }

    /// Ends the connection of a reader that the core has let go of.
    pub(super) fn throw_out(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.link.hang_up();
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
    fn index_of(&self, name: &str) -> Option<usize> {
        self.subscriptions.iter().position(|each| each.name == name)
    }

    /// That nobody reads a subscription; where it stands in the table.
    fn free(&self, name: &str) -> Result<usize, AttachError> {
        let index = self.index_of(name).ok_or(AttachError::NoSubscription)?;
        if self.subscriptions[index].reader.is_some() {
            return Err(AttachError::Busy);
        }
        Ok(index)
    }

    /// Moves a subscription that nobody reads; `oldest_lag` is how far the oldest whole record is
    /// behind the tail, granules.
    fn put(&mut self, index: usize, place: Place, oldest_lag: u32) -> Result<(), AttachError> {
        let id = self.subscriptions[index].id;
        let lag = self.producer.subscription(id).map_or(0, |status| status.lag_granules);
        let start = match place {
            Place::Latest => Start::Latest,
            // What it holds is whole, even before `oldest`, which speaks of whole sectors.
            Place::Oldest if lag < oldest_lag => Start::Oldest,
            Place::Oldest | Place::Here => return Ok(()),
        };
        self.producer.unsubscribe(id);
        // Its place in the table was just freed, and neither start can be out of range.
        let moved = self.producer.subscribe(start);
        debug_assert!(moved.is_ok(), "{moved:?}");
        self.subscriptions[index].id = moved.map_err(|_| AttachError::NoSubscription)?;
        Ok(())
    }

    fn record(&mut self, index: usize) -> Option<SubscriptionStatus> {
        let subscription = self.subscriptions.get_mut(index)?;
        let status = self.producer.subscription(subscription.id)?;
        subscription.record(&status);
        Some(status)
    }
}

/// Where a reader's subscription goes when it attaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It stays where it is.
    Here,
    /// Back to the oldest record that is whole; never forward.
    Oldest,
    /// Behind the last record; what it held is given up.
    Latest,
}

/// How a ring stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingStatus {
    /// Not released by the slowest subscription.
    pub used_bytes: u64,
    /// Nothing fits, or not even the record that was refused last.
    pub full: bool,
    /// Not released by the slowest subscription that has a reader.
    pub attached_lag_bytes: u64,
}

/// A reader that was just attached.
pub struct Attached {
    /// Keep it as long as the reader is there.
    pub attachment: Attachment,
    /// The reader's cursor segment, to be handed over.
    pub cursor: OwnedFd,
}

/// The right of one reader to hold a subscription; dropping it detaches.
pub struct Attachment {
    ring: Arc<Ring>,
    subscription: String,
    number: u64,
}

impl Ring {
    /// Gives a subscription to the reader on this connection, on a page that no earlier reader can
    /// write to.
    pub fn attach(
        self: &Arc<Self>,
        name: &str,
        place: Place,
        link: &Arc<Link>,
    ) -> Result<Attached, AttachError> {
        self.let_go_of_the_gone(name);
        // Looked at twice: a memfd takes several system calls, which the mutex is not held for, and
        // is not made for nothing.
        self.lock().free(name)?;
        let (page, cursor) = CursorSegment::create(name).map_err(AttachError::Resource)?;
        let mut inner = self.lock();
        let index = inner.free(name)?;
        // ORDER(none): under the mutex, these words are our own.
        let word = |at| self.segment.region().load(at, Ordering::Relaxed);
        inner.put(index, place, distance(word(ring_word::OLDEST), word(ring_word::TAIL)))?;
        let id = inner.subscriptions[index].id;
        if let Err(error) = inner.producer.attach(id, name, page) {
            debug_assert!(false, "the name and the page's size were checked: {error}");
            return Err(AttachError::NoSubscription);
        }
        inner.attachments += 1;
        let number = inner.attachments;
        let reader = AttachedReader { attachment: number, link: Arc::clone(link), counted: [0; 3] };
        inner.subscriptions[index].reader = Some(reader);
        inner.subscriptions[index].metrics.attached.set(1);
        drop(inner);
        if place == Place::Latest {
            self.space_released();
        }
        Ok(Attached {
            attachment: Attachment {
                ring: Arc::clone(self),
                subscription: name.to_owned(),
                number,
            },
            cursor,
        })
    }

    /// Detaches a reader whose connection has ended though its task has not noticed yet: one that
    /// starts again at once must not find itself busy.
    fn let_go_of_the_gone(self: &Arc<Self>, name: &str) {
        let gone = {
            let inner = self.lock();
            let reader =
                inner.index_of(name).and_then(|index| inner.subscriptions[index].reader.as_ref());
            reader.filter(|reader| reader.link.is_hung_up()).map(|reader| reader.attachment)
        };
        // It detaches when it is dropped, as the one its task holds will; the second of them finds
        // nothing to do.
        drop(gone.map(|number| Attachment {
            ring: Arc::clone(self),
            subscription: name.to_owned(),
            number,
        }));
    }

    /// The ring's bytes, as readers get them.
    pub fn handout(&self) -> (u64, BorrowedFd<'_>) {
        (self.segment.region().size() as u64, self.segment.handout())
    }

    /// How the ring stands, by the cursors as they are now; brings its metrics up to date.
    pub fn status(&self) -> RingStatus {
        let (status, errands) = {
            let mut inner = self.lock();
            let used = inner.producer.backlog();
            let mut attached_lag = 0;
            for index in 0..inner.subscriptions.len() {
                let status = inner.record(index);
                attached_lag = attached_lag.max(
                    status.filter(|status| status.attached).map_or(0, |status| status.lag_granules),
                );
            }
            // One granule is the core's own.
            let free = (self.capacity - 1).saturating_sub(used);
            let status = RingStatus {
                used_bytes: bytes(used),
                full: free < inner.refused_granules.max(1),
                attached_lag_bytes: bytes(attached_lag),
            };
            (status, inner.settle(Wake::NONE))
        };
        self.run(errands);
        self.metrics.used_bytes.set(i64::try_from(status.used_bytes).unwrap_or(i64::MAX));
        status
    }
}

impl Attachment {
    /// The ring.
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Name of the subscription.
    pub fn subscription(&self) -> &str {
        &self.subscription
    }

    /// Counts a reader that is thrown out for what it sent. Dropping the attachment then detaches
    /// it.
    pub fn evict(&self) {
        self.ring.metrics.evicted(Eviction::Packet);
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        let errands = {
            let mut inner = self.ring.lock();
            let Some(index) = inner.index_of(&self.subscription) else { return };
            let mine = |reader: &AttachedReader| reader.attachment == self.number;
            if !inner.subscriptions[index].reader.as_ref().is_some_and(mine) {
                return;
            }
            inner.record(index);
            // One more look at the cursor: what the reader released last counts, or it is caught
            // lying now.
            let id = inner.subscriptions[index].id;
            let page = inner.producer.detach(id);
            let errands = inner.settle(Wake::NONE);
            inner.subscriptions[index].throw_out();
            drop(inner);
            drop(page);
            errands
        };
        self.ring.run(errands);
        self.ring.space_released();
    }
}

/// Why a reader was not attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachError {
    /// No subscription of that name.
    NoSubscription,
    /// It has a reader.
    Busy,
    /// No memory or descriptors for its page.
    Resource(MappingError),
}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSubscription => write!(f, "the ring has no such subscription"),
            Self::Busy => write!(f, "the subscription has a reader already"),
            Self::Resource(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for AttachError {}
