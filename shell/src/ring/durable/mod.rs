//! Publication that waits for something: the journal's part of a ring.
//!
//! Records are appended as ever and kept back by [`RingMemory`](super::memory::RingMemory). When
//! they are safe, [`Ring::publish_up_to`] shows them to the readers, and those who wait for it look
//! again. A subscription of its own, whose cursor is what is published, keeps the producer from
//! overwriting what is not safe yet, whatever readers claim to have released.

mod progress;
pub(super) mod show;
#[cfg(test)]
mod tests;

use std::task::Waker;

use aqueduct_core::Start;
use aqueduct_core::layout::GRANULE_BYTES;

pub(super) use self::progress::Progress;
pub use self::progress::Standing;
use self::show::Sleeper;
use super::{Inner, Ring, RingError};
use crate::refusal::Refusal;
use crate::segment::CursorSegment;
use crate::sync::lock;

/// Largest buffer that is kept.
const BUFFER_BYTES: usize = 1 << 20;
/// Name of the cursor segment, for people who look at descriptors.
const NAME: &str = "journal";

/// What the producer's mutex guards of it.
pub(super) struct Holding {
    /// Cursor of the subscription that holds back what is not published.
    cursor: CursorSegment,
    /// Nothing is published any more.
    pub(super) failed: bool,
    /// Number of the first record that is not published.
    pub(super) next_seq: u64,
    /// Granules for which there is space where they are to be safe; `u64::MAX` without a limit.
    room: u64,
    /// For whoever commits under the producer's mutex.
    buffer: Vec<u8>,
}

impl Holding {
    /// Whether there is space for so many granules, and for as many that may be lost to padding.
    pub(super) fn has_room(&self, granules: u64) -> bool {
        self.room / 2 >= granules
    }

    /// Takes space for a record of so many bytes.
    fn take_room(&mut self, bytes: usize) -> Result<(), Refusal> {
        if self.room == u64::MAX {
            return Ok(());
        }
        let granules = 1 + bytes.div_ceil(GRANULE_BYTES) as u64;
        if !self.has_room(granules) {
            return Err(Refusal::Full);
        }
        self.room -= 2 * granules;
        Ok(())
    }

    /// Sets how much space there is.
    pub(super) fn set_room(&mut self, granules: u64) {
        self.room = granules;
    }

    pub(super) fn take_buffer(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.buffer)
    }

    pub(super) fn give_buffer(&mut self, buffer: Vec<u8>) {
        if buffer.capacity() <= BUFFER_BYTES {
            self.buffer = buffer;
        }
    }
}

impl Ring {
    /// Keeps back what is appended from now on until it is [published](Self::publish_up_to). To be
    /// called before anyone else knows the ring.
    pub fn hold_back(&mut self) -> Result<(), RingError> {
        let (cursor, _) = CursorSegment::create(NAME)?;
        let inner = self.inner.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        let id = inner.producer.subscribe(Start::Latest)?;
        inner.producer.attach(id, NAME, cursor.clone())?;
        inner.producer.ring().hold();
        let next_seq = inner.producer.next_seq();
        self.progress = Some(Progress::at(next_seq));
        let (room, buffer) = (u64::MAX, Vec::new());
        inner.holding = Some(Holding { cursor, failed: false, next_seq, room, buffer });
        Ok(())
    }

    /// Whether its records are published later than they are appended.
    pub fn is_held_back(&self) -> bool {
        self.progress.is_some()
    }

    /// Says how a record stands that was appended and whose turn has ended.
    pub fn standing(&self, seq: u64) -> Standing {
        self.progress.as_ref().map_or(Standing::Published, |progress| progress.standing(seq))
    }

    /// Calls `waker` once when this record may have another standing than [`Standing::Coming`]; at
    /// once if it has.
    pub fn watch(&self, seq: u64, waker: Waker) {
        match &self.progress {
            Some(progress) => progress.watch(seq, waker),
            None => waker.wake(),
        }
    }

    /// Returns once a record is published, or `false` once it never will be.
    pub async fn published(&self, seq: u64) -> bool {
        std::future::poll_fn(|cx| match self.standing(seq) {
            Standing::Published => std::task::Poll::Ready(true),
            Standing::Lost => std::task::Poll::Ready(false),
            Standing::Coming => {
                self.watch(seq, cx.waker().clone());
                std::task::Poll::Pending
            }
        })
        .await
    }

    /// Returns just past the last record of a turn that has ended, and the sequence number of the
    /// next one: what the next publication may go up to.
    pub fn appended(&self) -> (u32, u64) {
        let inner = self.lock();
        (inner.producer.ring().tail(), inner.producer.next_seq())
    }

    /// Publishes everything up to a record boundary, where the record `next_seq` will be.
    pub fn publish_up_to(&self, position: u32, next_seq: u64) {
        if let Some(deferred) = self.show_up_to(position, next_seq) {
            self.run(deferred);
            self.space_released();
        }
    }

    /// Publishes as [`publish_up_to`](Self::publish_up_to) does; returns what is due afterwards,
    /// and `None` if nothing is published any more.
    pub(super) fn show_up_to(&self, position: u32, next_seq: u64) -> Option<super::Deferred> {
        let deferred = {
            let mut inner = self.lock();
            if inner.holding.as_ref().is_none_or(|holding| holding.failed) {
                return None;
            }
            let deferred = inner.publish_held(position, next_seq);
            self.feed_up_to(position, next_seq);
            deferred
        };
        self.advance(next_seq);
        Some(deferred)
    }

    /// Lets those be fed that may lag, under the producer's mutex, so that what was published
    /// comes in order.
    pub(super) fn feed_up_to(&self, position: u32, next_seq: u64) {
        if let Some(feeds) = self.feeds() {
            feeds.published(position, next_seq);
        }
    }

    /// Lets those who wait for a publication know of it.
    pub(super) fn advance(&self, next_seq: u64) {
        if let Some(progress) = &self.progress {
            progress.advance(next_seq);
        }
    }

    /// Publishes nothing more, ever: what was appended and is not published is lost to the readers
    /// of this process.
    pub fn fail(&self) {
        let waiting = {
            let mut inner = self.lock();
            if let Some(holding) = &mut inner.holding {
                holding.failed = true;
            }
            lock(&self.waiters).all_wakers()
        };
        // Whoever waits for a publication learns that there will be none.
        if let Some(progress) = &self.progress {
            progress.fail();
        }
        for waker in waiting {
            waker.wake();
        }
    }
}

impl Inner {
    /// Refuses what could never be published, and for now what finds no space where it is to be
    /// safe: a record of so many bytes, or, without one, what could be any.
    #[inline]
    pub(super) fn check_holding(&mut self, bytes: Option<usize>) -> Result<(), Refusal> {
        let Some(holding) = &mut self.holding else { return Ok(()) };
        if holding.failed {
            return Err(Refusal::Journal);
        }
        if self.closed {
            return Err(Refusal::ShuttingDown);
        }
        bytes.map_or(Ok(()), |bytes| holding.take_room(bytes))
    }

    /// Lets the producer publish again, for the end of the stream. False if something was appended
    /// that may not be published.
    pub(super) fn stop_holding(&mut self) -> bool {
        let Some(holding) = &self.holding else { return true };
        let whole = !holding.failed && self.producer.ring().is_whole();
        if whole {
            self.producer.ring().let_go();
            self.holding = None;
        }
        whole
    }

    /// Publishes up to a record boundary. What is due afterwards.
    pub(super) fn publish_held(&mut self, position: u32, next_seq: u64) -> super::Deferred {
        let Some(holding) = &mut self.holding else { return super::Deferred::default() };
        holding.next_seq = next_seq;
        let readers = self.subscriptions.iter_mut().filter_map(|subscription| {
            let reader = subscription.reader.as_mut()?;
            let (words, index) = (&reader.words, subscription.id.index());
            Some(Sleeper { words, woken: &mut reader.woken, index })
        });
        let (memory, end) = (self.producer.ring(), (position, next_seq));
        let wake = show::publish(memory, &holding.cursor, end, readers);
        self.settle(wake)
    }
}
