//! The thread that fills the rings of readers: from the journal, as far as each has room.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aqueduct_core::Wake;
use aqueduct_core::layout::GRANULE_BYTES;

use super::feed::Lied;
use super::{Feeds, Head, Slot};
use crate::journal::disk::Disk;
use crate::journal::{Failure, Follow, Stop};
use crate::metrics::Eviction;
use crate::ring::{Ring, RingMetrics};
use crate::sync::lock;

/// Most bytes that are put into one ring before the others have their turn.
const PIECE_BYTES: usize = 512 << 10;
/// How soon a reader that goes on is looked at again.
const SOON: Duration = Duration::from_millis(1);
/// How soon one that stands still is, which tells by itself when it has released something.
const LATER: Duration = Duration::from_millis(100);
/// How soon a file is read again that could not be read.
const AGAIN: Duration = Duration::from_secs(1);

/// What is to be done for a subscription next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Next {
    /// There is more.
    Now,
    /// Its reader is releasing.
    Soon,
    /// Its reader has no room.
    Later,
    /// A file could not be read.
    Again,
    /// There is nothing.
    Nothing,
}

/// What to read.
enum Plan {
    /// Nothing: there is no reader.
    Rest,
    /// Nothing, for now.
    Wait(Next),
    /// To have it saved what the reader has released.
    Save,
    /// The first record that was not released, to know it: from this position to that.
    Head(u64, u64),
    /// Records for the reader of this attachment.
    Records(Records),
}

struct Records {
    attachment: u64,
    from: u64,
    to: u64,
    next_seq: Option<u64>,
    room: u64,
    hand: super::feed::Hand<crate::segment::FeedSegment>,
}

impl Ring {
    /// Fills rings until the bell has rung for the last time.
    pub(in crate::ring) fn feed_for_ever(&self) {
        let Some(feeds) = self.feeds() else { return };
        let count = lock(&feeds.state).slots.len();
        let mut pause = None;
        loop {
            let is_last = feeds.bell.wait(pause);
            pause = loop {
                let next = (0..count).map(|index| self.feed_one(feeds, index, false)).min();
                match next.unwrap_or(Next::Nothing) {
                    Next::Now => {}
                    Next::Soon => break Some(SOON),
                    Next::Later => break Some(LATER),
                    Next::Again => break Some(AGAIN),
                    Next::Nothing => break None,
                }
            };
            if is_last {
                break;
            }
        }
        feeds.bell.end();
    }

    /// Fills the ring of one reader as far as it goes, from another thread.
    pub(super) fn feed_now(&self, feeds: &Feeds, index: usize) {
        while self.feed_one(feeds, index, true) == Next::Now {}
    }

    /// Does the next thing for a subscription; `fully`: as far as there is any room at all.
    fn feed_one(&self, feeds: &Feeds, index: usize, fully: bool) -> Next {
        let mut followers = lock(&feeds.followers);
        let Some(follow) = followers.get_mut(index) else { return Next::Nothing };
        let next = match self.plan(feeds, index, fully) {
            Plan::Rest => {
                follow.rest();
                Next::Nothing
            }
            Plan::Wait(next) => next,
            Plan::Save => {
                if let Some(journal) = &self.journal {
                    journal.keeper.ring(false);
                }
                Next::Later
            }
            Plan::Head(from, to) => self.find_head(feeds, index, follow, (from, to)),
            Plan::Records(records) => self.put_records(feeds, index, follow, &records),
        };
        drop(followers);
        self.let_others_append(feeds);
        next
    }

    /// Lets records be appended that the farthest subscription kept out, if it has moved.
    fn let_others_append(&self, feeds: &Feeds) {
        let published = {
            let state = lock(&feeds.state);
            feeds.set_limit(&state);
            state.published.0
        };
        // ORDER(none): only this thread and those that attach tell it, and twice does no harm.
        let told = feeds.told.load(Ordering::Relaxed);
        // Only near the bound does anyone wait for it: where twice the largest batch, which fills
        // the ring, does not fit below it.
        let near = (feeds.bound / 2).max(2 * u64::from(self.capacity));
        let is_near = told.saturating_sub(published) <= near;
        let limit = feeds.limit();
        if limit != told
            && is_near
            && let Some(journal) = &self.journal
        {
            // ORDER(none): as above.
            feeds.told.store(limit, Ordering::Relaxed);
            self.set_limit(journal);
            self.space_released();
        }
    }

    /// Looks at the reader of a subscription; returns what to read for it.
    fn plan(&self, feeds: &Feeds, index: usize, fully: bool) -> Plan {
        let mut state = lock(&feeds.state);
        let (published, closed) = (state.published, state.closed);
        let slot = &mut state.slots[index];
        if closed {
            return Plan::Rest;
        }
        match slot.plan(self.capacity, published, fully) {
            Ok(plan) => plan,
            Err(Lied { cursor }) => {
                let name = slot.name.clone();
                let gone = slot.let_go(self.epoch);
                drop(state);
                drop(gone);
                self.metrics.evicted(Eviction::Cursor);
                let ring = &self.name;
                tracing::warn!(%ring, subscription = name, cursor, "reader evicted: no cursor");
                Plan::Wait(Next::Now)
            }
        }
    }

    /// Finds the first record that a subscription without a reader has not released.
    fn find_head(
        &self,
        feeds: &Feeds,
        index: usize,
        follow: &mut Follow<Disk>,
        (from, to): (u64, u64),
    ) -> Next {
        let mut head = None;
        let chain = Arc::clone(&lock(&feeds.chain).headers);
        if chain.is_empty() {
            // There was no space for the first segment: its records are in memory.
            return Next::Again;
        }
        let read = follow.read(&chain, (from, to), None, GRANULE_BYTES, |found| {
            if !found.header.is_data() {
                return ControlFlow::Continue(());
            }
            let (seq, timestamp_ns) = (found.header.seq, found.header.timestamp_ns);
            head = Some(Head { seq, timestamp_ns });
            ControlFlow::Break(())
        });
        let mut state = lock(&feeds.state);
        let slot = &mut state.slots[index];
        if slot.reader.is_some() || slot.claimed || slot.position != from {
            return Next::Now;
        }
        match read {
            Ok(Stop::Done) => {
                slot.told = false;
                // Nothing but padding: it is passed over.
                let Some(head) = head else {
                    slot.position = to;
                    return Next::Now;
                };
                (slot.seq, slot.head) = (head.seq, Some(head));
                Next::Nothing
            }
            Ok(Stop::Damage { cut, next }) => {
                self.tell_damage(slot, cut, next);
                slot.position = next;
                Next::Now
            }
            Err(failure) => {
                self.tell_failure(slot, &failure);
                Next::Again
            }
        }
    }

    fn put_records(
        &self,
        feeds: &Feeds,
        index: usize,
        follow: &mut Follow<Disk>,
        records: &Records,
    ) -> Next {
        let Records { from, to, next_seq, room, .. } = *records;
        let (mut end, mut seq, mut least, mut too_large) = (from, next_seq, 1, None);
        let mut data_end = None;
        let room_bytes = usize::try_from(room).unwrap_or(usize::MAX).saturating_mul(GRANULE_BYTES);
        let bytes = room_bytes.min(PIECE_BYTES);
        let chain = Arc::clone(&lock(&feeds.chain).headers);
        if chain.is_empty() {
            return Next::Again;
        }
        let read = follow.read(&chain, (from, to), next_seq, bytes, |found| {
            if found.header.is_data() && found.header.len > self.max_payload_bytes {
                too_large = Some(found.header.seq);
                return ControlFlow::Break(());
            }
            if found.end() - from > room {
                least = found.end() - found.position;
                return ControlFlow::Break(());
            }
            records.hand.put(found.position, found.bytes);
            end = found.end();
            data_end = Some(end).filter(|_| found.header.is_data()).or(data_end);
            seq = Some(found.header.seq + u64::from(found.header.is_data()));
            let piece = PIECE_BYTES as u64 / GRANULE_BYTES as u64;
            if end - from < piece { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        let mut state = lock(&feeds.state);
        let closed = state.closed;
        let slot = &mut state.slots[index];
        let Some(fed) = slot.reader.as_mut().filter(|fed| fed.attachment == records.attachment)
        else {
            return Next::Now;
        };
        if closed {
            return Next::Nothing;
        }
        (fed.least, fed.next_seq) = (least, seq);
        fed.data_end = data_end.unwrap_or(fed.data_end);
        let wake = if end > from {
            let next_seq = seq.unwrap_or_else(|| fed.feed.next_seq());
            let wake = fed.feed.publish(end, next_seq);
            Some((wake, fed.feed.memory().clone(), fed.doorbell.clone()))
        } else {
            None
        };
        let mut gone = None;
        let next = match read {
            Ok(_) if too_large.is_some() => {
                self.tell_too_large(slot, too_large);
                Next::Again
            }
            Ok(Stop::Done) => {
                slot.told = false;
                Next::Now
            }
            // What was put before it is read first; nobody releases padding alone.
            Ok(Stop::Damage { .. }) if fed.feed.released() < fed.data_end => {
                fed.least = u64::from(self.capacity - 1) - (end - fed.data_end);
                Next::Now
            }
            Ok(Stop::Damage { cut, next }) => {
                self.tell_damage(slot, cut, next);
                // Its ring has no place for the gap: the next one begins past it.
                gone = slot.let_go(self.epoch);
                slot.position = next;
                Next::Now
            }
            Err(failure) => {
                self.tell_failure(slot, &failure);
                Next::Again
            }
        };
        drop(state);
        drop(gone);
        if let Some((wake, memory, doorbell)) = wake {
            wake_reader(&self.metrics, wake, &memory, &*doorbell);
        }
        next
    }

    fn tell_damage(&self, slot: &Slot, cut: crate::journal::walk::Cut, next: u64) {
        let (ring, subscription, position) = (&self.name, &slot.name, slot.position);
        tracing::error!(%ring, subscription, position, next, %cut, "the journal is damaged: a subscription goes on past it");
    }

    fn tell_too_large(&self, slot: &mut Slot, seq: Option<u64>) {
        if !std::mem::replace(&mut slot.told, true) {
            let (ring, subscription, limit) = (&self.name, &slot.name, self.max_payload_bytes);
            tracing::error!(%ring, subscription, seq, limit, "a subscription is not fed: begin with the max_payload_bytes that the ring had");
        }
    }

    fn tell_failure(&self, slot: &mut Slot, failure: &Failure) {
        if !std::mem::replace(&mut slot.told, true) {
            let (ring, subscription) = (&self.name, &slot.name);
            tracing::error!(%ring, subscription, %failure, "a subscription is not fed: tried again");
        }
    }
}

/// Makes the system calls that are due.
pub(super) fn wake_reader(
    metrics: &RingMetrics,
    wake: Wake,
    memory: &crate::segment::FeedSegment,
    doorbell: &dyn crate::ring::Doorbell,
) {
    if wake.futex {
        memory.wake_sleepers();
        metrics.wakes_futex.inc();
    }
    if wake.sockets != 0 && doorbell.ring() {
        metrics.wakes_socket.inc();
    }
}

impl Slot {
    /// What to read for it; `fully`: if there is any room.
    fn plan(&mut self, capacity: u32, published: (u64, u64), fully: bool) -> Result<Plan, Lied> {
        let moved = self.look()?;
        let Some(fed) = &mut self.reader else {
            let is_known = self.claimed || self.head.is_some() || self.position >= published.0;
            let plan = Plan::Head(self.position, published.0);
            return Ok(if is_known { Plan::Rest } else { plan });
        };
        let (from, to) = (fed.feed.tail(), published.0);
        if from >= to {
            return Ok(Plan::Wait(Next::Nothing));
        }
        // Whatever happens to this process, the ring that the reader gets next begins where it is
        // saved to be, and has room for as much.
        let reach = u64::from(capacity) - 1;
        let room = fed.feed.room().min((self.saved + reach).saturating_sub(from));
        // Many at once, or the last ones; as many as there is room for if the reader has read all
        // and will not release more before it gets more.
        fed.stands &= !moved;
        let is_in_need = fully || fed.stands || fed.feed.is_slept_on();
        let many = if is_in_need { 1 } else { u64::from(capacity) / 4 };
        if room >= many.min(to - from).max(fed.least) {
            let (attachment, next_seq, hand) = (fed.attachment, fed.next_seq, fed.feed.hand());
            return Ok(Plan::Records(Records { attachment, from, to, next_seq, room, hand }));
        }
        if self.saved < self.position {
            return Ok(Plan::Save);
        }
        if moved {
            return Ok(Plan::Wait(Next::Soon));
        }
        let moved = fed.feed.want_space()?;
        fed.stands = !moved;
        self.position = fed.feed.released();
        Ok(Plan::Wait(if moved { Next::Soon } else { Next::Later }))
    }
}
