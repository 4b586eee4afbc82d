//! A reader of a subscription that may lag comes and goes.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use aqueduct_core::geometry::low32;
use aqueduct_core::layout::{DATA_OFFSET_MAPPED, ring_word};
use aqueduct_core::{Memory, Producer, RingConfig, Start};

use super::{Fed, Feed, Feeds, Slot, State};
use crate::metrics::Eviction;
use crate::ring::attach::{AttachError, Attached, Attachment};
use crate::ring::journaled::wide;
use crate::ring::{ClockName, Doorbell, Ring, now_ns};
use crate::segment::{CursorSegment, FeedSegment};
use crate::sync::lock;

impl State {
    /// Finds a subscription that has no reader, and to which none attaches.
    fn free(&self, name: &str) -> Result<usize, AttachError> {
        let index = self.index_of(name).ok_or(AttachError::NoSubscription)?;
        let slot = &self.slots[index];
        if slot.reader.is_some() || slot.claimed {
            return Err(AttachError::Busy);
        }
        Ok(index)
    }
}

/// The right to attach to a subscription while memory is made, which takes too long to be locked.
/// Dropping it, with nothing locked, gives it back.
pub(in crate::ring) struct Claim<'a> {
    feeds: &'a Feeds,
    index: usize,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        lock(&self.feeds.state).slots[self.index].claimed = false;
        // Without a reader, the first record that was not released is looked for again.
        self.feeds.bell.ring(false);
    }
}

impl Feeds {
    /// Claims a subscription that has no reader.
    pub(in crate::ring) fn claim(&self, name: &str) -> Result<Claim<'_>, AttachError> {
        let mut state = lock(&self.state);
        let index = state.free(name)?;
        state.slots[index].claimed = true;
        Ok(Claim { feeds: self, index })
    }

    /// Number of the attachment of a subscription, if it has one and, with `gone`, its reader does
    /// not live any more.
    pub(in crate::ring) fn attachment(&self, name: &str, gone: bool) -> Option<u64> {
        let state = lock(&self.state);
        let fed = state.slots[state.index_of(name)?].reader.as_ref()?;
        (!gone || fed.doorbell.is_gone()).then_some(fed.attachment)
    }

    /// Ends an attachment: what the reader released last counts.
    pub(in crate::ring) fn detach(&self, name: &str, attachment: u64) -> Option<Eviction> {
        let mut state = lock(&self.state);
        let index = state.index_of(name)?;
        let slot = &mut state.slots[index];
        slot.reader.as_ref().filter(|fed| fed.attachment == attachment)?;
        let lied = slot.look().is_err();
        let gone = slot.let_go(self.epoch);
        self.set_limit(&state);
        drop(state);
        drop(gone);
        // To find out what the first record is that was not released, and to let others append.
        self.bell.ring(false);
        lied.then_some(Eviction::Cursor)
    }
}

impl Slot {
    /// Ends the connection of the reader, if there is one, and keeps its place. What is returned is
    /// to be dropped with nothing locked: a whole ring of memory goes with it.
    #[must_use]
    pub(super) fn let_go(&mut self, epoch: u64) -> Option<Fed> {
        self.head = None;
        self.metrics.attached.set(0);
        let fed = self.reader.take()?;
        self.seq = self.seq.max(fed.first_unreleased(epoch).map_or(0, |head| head.seq));
        fed.doorbell.disconnect();
        Some(fed)
    }
}

impl Ring {
    /// Gives a reader of a subscription that may lag a ring of its own, as [`attach`](Self::attach)
    /// does for others. Takes as long as it takes to make its memory and to fill it.
    pub(in crate::ring) fn attach_fed(
        self: &Arc<Self>,
        feeds: &Feeds,
        name: &str,
        start: Option<Start>,
        doorbell: Arc<dyn Doorbell>,
    ) -> Result<Attached, AttachError> {
        if matches!(start, Some(Start::At(_))) {
            return Err(AttachError::Start);
        }
        let claim = feeds.claim(name)?;
        let index = claim.index;
        let (words, cursor) = CursorSegment::create(name).map_err(AttachError::Resource)?;
        let bytes = self.segment.region().size();
        let segment = FeedSegment::create(&self.name, bytes).map_err(AttachError::Resource)?;
        if start == Some(Start::Oldest) {
            self.go_to_oldest(feeds, index);
        }
        let (position, next_seq, seq) = {
            let mut state = lock(&feeds.state);
            if start == Some(Start::Latest) {
                let (position, seq) = state.published;
                let slot = &mut state.slots[index];
                (slot.position, slot.seq, slot.head) = (position, seq, None);
                feeds.set_limit(&state);
            }
            let slot = &state.slots[index];
            let (position, head) = (slot.position, slot.head.map(|head| head.seq));
            let is_last = position == state.published.0;
            let next_seq = if is_last { Some(state.published.1) } else { head };
            (position, next_seq, next_seq.unwrap_or(slot.seq))
        };
        self.format_fed(&segment, &words, name, position)?;
        let area = (DATA_OFFSET_MAPPED as usize, self.capacity);
        let feed = Feed::new((segment.clone(), words), area, (position, seq));
        let number = {
            let mut state = lock(&feeds.state);
            state.attachments += 1;
            let attachment = state.attachments;
            let slot = &mut state.slots[index];
            slot.reader = Some(Fed {
                attachment,
                doorbell,
                feed,
                next_seq,
                data_end: position,
                stands: false,
                least: 1,
                counted: [0; 3],
            });
            slot.metrics.attached.set(1);
            attachment
        };
        drop(claim);
        let attachment = Attachment::of(self, name, number);
        // What is there is in the ring before its reader looks.
        self.feed_now(feeds, index);
        feeds.bell.ring(false);
        Ok(Attached { attachment, cursor, feed: Some(segment) })
    }

    /// Has a claimed subscription go back to the oldest record that the ring has, and never
    /// forward.
    fn go_to_oldest(&self, feeds: &Feeds, index: usize) {
        let inner = self.lock();
        // ORDER(none): under the mutex, this word is our own.
        let oldest = inner.producer.ring().load(ring_word::OLDEST, Ordering::Relaxed);
        // Segments are removed under the log's mutex.
        let log = self.journal.as_ref().map(|journal| lock(&journal.log));
        let first = log.as_ref().and_then(|log| log.chain().first().map(|it| it.first_position));
        let mut state = lock(&feeds.state);
        let oldest = wide(state.published.0, oldest).max(first.unwrap_or(0));
        let slot = &mut state.slots[index];
        if slot.position > oldest {
            (slot.position, slot.seq, slot.head) = (oldest, 0, None);
            feeds.set_limit(&state);
        }
    }

    /// Formats the memory of a reader: an empty ring as the one of all, and a cursor at the
    /// position.
    fn format_fed(
        &self,
        segment: &FeedSegment,
        words: &CursorSegment,
        name: &str,
        position: u64,
    ) -> Result<(), AttachError> {
        let data = usize::try_from(self.capacity_bytes()).unwrap_or(usize::MAX);
        let mut config = RingConfig::new(&self.name, self.epoch, data);
        config.max_payload_bytes = Some(self.max_payload_bytes);
        config.data_offset_bytes = DATA_OFFSET_MAPPED;
        config.created_ns = now_ns(ClockName::Realtime);
        config.clock_id = self.clock.id();
        config.first_position = low32(position);
        let made = Producer::<_, _, 1>::create(segment.clone(), &config);
        let formatted = made.ok().and_then(|mut producer| {
            let id = producer.subscribe(Start::Latest).ok()?;
            producer.attach(id, name, words.clone()).ok()
        });
        debug_assert!(formatted.is_some(), "the ring of all has the same properties");
        formatted.ok_or(AttachError::NoSubscription)
    }
}
