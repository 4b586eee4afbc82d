//! Attaching readers to subscriptions, and detaching them.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use aqueduct_core::geometry::distance;
use aqueduct_core::layout::ring_word;
use aqueduct_core::{Memory, Start, Wake};

use super::subscription::AttachedReader;
use super::{Doorbell, Inner, Ring};
use crate::metrics::Eviction;
use crate::segment::{CursorSegment, FeedSegment, SegmentError};

impl Inner {
    fn index_of(&self, name: &str) -> Option<usize> {
        self.subscriptions.iter().position(|each| each.name == name)
    }

    /// Finds a subscription that has no reader; returns its place in the table.
    fn free(&self, name: &str) -> Result<usize, AttachError> {
        let index = self.index_of(name).ok_or(AttachError::NoSubscription)?;
        if self.subscriptions[index].reader.is_some() {
            return Err(AttachError::Busy);
        }
        Ok(index)
    }

    /// Moves a subscription that has no reader.
    fn move_to(&mut self, index: usize, start: Option<Start>) -> Result<(), AttachError> {
        let start = match start {
            None => return Ok(()),
            // It could be refused only after the subscription has lost its place.
            Some(Start::At(_)) => return Err(AttachError::Start),
            Some(start) => start,
        };
        let id = self.subscriptions[index].id;
        let lag = self.producer.subscription(id).map_or(0, |status| status.lag_granules);
        let ring = self.producer.ring();
        // ORDER(none): under the mutex, these words are our own.
        let word = |at| ring.load(at, Ordering::Relaxed);
        let (oldest, published) = (word(ring_word::OLDEST), word(ring_word::TAIL));
        let oldest_lag = distance(oldest, ring.tail());
        // `oldest` is rounded up to a sector boundary for observers, so what the subscription holds
        // may be intact even before it.
        if start == Start::Oldest && lag >= oldest_lag {
            return Ok(());
        }
        // What is not published yet cannot be a place to begin.
        let start = match start {
            _ if self.holding.is_none() => start,
            Start::Oldest => Start::At(oldest),
            _ => Start::At(published),
        };
        self.producer.unsubscribe(id);
        // Its place in the table was just freed, and neither end of the ring can be out of range.
        let moved = self.producer.subscribe(start);
        debug_assert!(moved.is_ok(), "{moved:?}");
        self.subscriptions[index].id = moved.map_err(|_| AttachError::NoSubscription)?;
        Ok(())
    }
}

/// A reader that was just attached.
pub struct Attached {
    /// Keep it as long as the reader is there.
    pub attachment: Attachment,
    /// The reader's cursor segment, to be handed over.
    pub cursor: OwnedFd,
    /// Its ring, if it has one of its own.
    pub(super) feed: Option<FeedSegment>,
}

impl Attached {
    /// Returns the size and the descriptor of the reader's ring, as it gets them.
    pub fn handout(&self) -> (u64, BorrowedFd<'_>) {
        match &self.feed {
            Some(feed) => (feed.size() as u64, feed.handout()),
            None => self.attachment.ring.handout(),
        }
    }
}

/// The right of one reader to hold a subscription; dropping it detaches.
pub struct Attachment {
    ring: Arc<Ring>,
    subscription: String,
    number: u64,
}

impl Ring {
    /// Gives a subscription to the reader that this doorbell reaches, with a cursor segment that no
    /// earlier reader can write to. The subscription stays where it is, unless `start` moves it:
    /// back to the oldest intact record, and never forward, or past the last one, which gives up
    /// what it held.
    pub fn attach(
        self: &Arc<Self>,
        name: &str,
        start: Option<Start>,
        doorbell: Arc<dyn Doorbell>,
    ) -> Result<Attached, AttachError> {
        self.detach_if_gone(name);
        if let Some(feeds) = self.feeds_with(name) {
            return self.attach_fed(feeds, name, start, doorbell);
        }
        // Looked at twice: a memfd takes several system calls, which the mutex is not held for, and
        // is not made for nothing.
        self.lock().free(name)?;
        let (segment, cursor) = CursorSegment::create(name).map_err(AttachError::Resource)?;
        let mut inner = self.lock();
        let index = inner.free(name)?;
        inner.move_to(index, start)?;
        let id = inner.subscriptions[index].id;
        if let Err(error) = inner.producer.attach(id, name, segment.clone()) {
            debug_assert!(false, "the name and the page's size were checked: {error}");
            return Err(AttachError::NoSubscription);
        }
        inner.attachments += 1;
        let number = inner.attachments;
        let reader = AttachedReader {
            attachment: number,
            doorbell,
            words: segment,
            woken: 0,
            counted: [0; 3],
        };
        inner.subscriptions[index].reader = Some(reader);
        inner.subscriptions[index].metrics.attached.set(1);
        if let Some(kept) = &self.kept {
            kept.note(&mut inner);
        }
        drop(inner);
        if let Some(kept) = &self.kept {
            kept.keep_cursor(number, name, cursor.as_fd());
        }
        if start == Some(Start::Latest) {
            self.space_released();
        }
        Ok(Attached { attachment: Attachment::of(self, name, number), cursor, feed: None })
    }

    /// Detaches a reader whose connection has closed but whose task has not run yet, so that an
    /// immediate restart is not refused as busy.
    fn detach_if_gone(self: &Arc<Self>, name: &str) {
        let gone = if let Some(feeds) = self.feeds_with(name) {
            feeds.attachment(name, true)
        } else {
            let inner = self.lock();
            let reader =
                inner.index_of(name).and_then(|index| inner.subscriptions[index].reader.as_ref());
            reader.filter(|reader| reader.doorbell.is_gone()).map(|reader| reader.attachment)
        };
        // It detaches when it is dropped, as the one its task holds will; the second of them finds
        // nothing to do.
        drop(gone.map(|number| Attachment::of(self, name, number)));
    }
}

impl Attachment {
    /// The attachment of this number, to be dropped.
    pub(super) fn of(ring: &Arc<Ring>, subscription: &str, number: u64) -> Self {
        Self { ring: Arc::clone(ring), subscription: subscription.to_owned(), number }
    }

    /// The ring.
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Name of the subscription.
    pub fn subscription(&self) -> &str {
        &self.subscription
    }

    /// Notes that the reader says that it has released something.
    pub fn space_released(&self) {
        match self.ring.feeds_with(&self.subscription) {
            Some(feeds) => feeds.bell.ring(false),
            None => self.ring.space_released(),
        }
    }

    /// Counts a reader that is evicted for what it sent. Dropping the attachment then detaches it.
    pub fn evict(&self) {
        self.ring.metrics.evicted(Eviction::Packet);
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        self.detach();
        if let Some(kept) = &self.ring.kept {
            kept.forget_cursor(self.number, &self.subscription);
        }
    }
}

impl Attachment {
    fn detach(&self) {
        if let Some(feeds) = self.ring.feeds_with(&self.subscription) {
            if let Some(eviction) = feeds.detach(&self.subscription, self.number) {
                let (ring, subscription) = (&self.ring.name, &self.subscription);
                self.ring.metrics.evicted(eviction);
                tracing::warn!(%ring, %subscription, "reader evicted: no cursor");
            }
            return;
        }
        let deferred = {
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
            let segment = inner.producer.detach(id);
            let deferred = inner.settle(Wake::NONE);
            inner.subscriptions[index].evict();
            if let Some(kept) = &self.ring.kept {
                kept.note(&mut inner);
            }
            drop(inner);
            drop(segment);
            deferred
        };
        self.ring.run(deferred);
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
    /// Only the oldest and the latest record can be asked for.
    Start,
    /// No memory or descriptors for its page.
    Resource(SegmentError),
}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSubscription => write!(f, "the ring has no such subscription"),
            Self::Start => write!(f, "a subscription moves to the oldest or latest record only"),
            Self::Busy => write!(f, "the subscription has a reader already"),
            Self::Resource(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for AttachError {}
