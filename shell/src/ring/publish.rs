//! Publishing: turns for event loops, and a future for everyone else.

use std::pin::Pin;
use std::sync::MutexGuard;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use aqueduct_core::layout::GRANULE_BYTES;
use aqueduct_core::{AttributeBlock, ClaimError, Meta};
use smol::Timer;

use super::waiters::{Need, Ticket};
use super::{Deferred, Inner, Ring, Wakeups, bytes as bytes_of, now_ns};
use crate::refusal::Refusal;
use crate::sync::lock;

/// A record that is in the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// Its sequence number.
    pub seq: u64,
    /// The ring's epoch.
    pub epoch: u64,
}

/// What a record says of itself besides its payload. A type tag alone is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Label<'a> {
    /// The user's tag.
    pub type_tag: u16,
    /// What is kept with it.
    pub attributes: AttributeBlock<'a>,
}

impl From<u16> for Label<'_> {
    fn from(type_tag: u16) -> Self {
        Self { type_tag, attributes: AttributeBlock::NONE }
    }
}

impl Label<'_> {
    /// Bytes of a record with this payload.
    fn bytes_with(&self, payload: &[u8]) -> usize {
        payload.len() + self.attributes.as_bytes().len()
    }
}

/// The exclusive right to append to a ring, for as long as it exists. It locks the producer, so it
/// is short and never held across a wait. Ending it, by [`finish`](Self::finish) or by dropping it,
/// publishes what was appended.
///
/// # What a turn guarantees
/// * Records appended in one turn get consecutive sequence numbers and one timestamp, and become
///   visible together, by one store, when the turn ends. Until then no reader sees any of them.
/// * The end of a turn wakes each sleeping reader at most once, whatever the number of records. The
///   system calls are made after the mutex is released, and later still if the turn ends by
///   [`publish`](Self::publish).
/// * A sequence number that [`append`](Self::append) returned is published when the turn has ended,
///   so an answer may be sent after [`finish`](Self::finish), and not before.
/// * Space is given in order of arrival, to futures and event loops alike: while anyone waits, a
///   new record is refused as [`Refusal::Full`] even if it would fit. [`wait`](Self::wait) gives a
///   place in the queue; its waker is called when the place has become the first and there may be
///   space, and when the ring is closed. [`append_waiting`](Self::append_waiting) then tries.
/// * The ring asks its readers for space on behalf of the first in the queue. Nobody polls.
/// * A place whose [`Ticket`] is dropped is given up, and the next one is told.
/// * The queue holds at most [`WAITING_MAX`](super::WAITING_MAX) records; beyond it a full ring
///   refuses at once.
#[must_use = "a turn keeps all others from publishing"]
pub struct Turn<'a> {
    ring: &'a Ring,
    /// `None` once the turn has ended.
    inner: Option<MutexGuard<'a, Inner>>,
    /// Whether anyone may wait for space. INVARIANT: true if anyone does, because the queue grows
    /// only through a turn.
    queued: bool,
    timestamp_ns: Option<u64>,
    records: u64,
    payload_bytes: u64,
    /// Nobody waits for anything but the sender of this turn's only record.
    one_waits: bool,
}

impl Ring {
    /// Locks the producer for one turn. See [`Turn`] for what it guarantees.
    pub fn turn(&self) -> Turn<'_> {
        let inner = self.lock();
        let queued = !lock(&self.waiters).is_empty();
        Turn {
            ring: self,
            inner: Some(inner),
            queued,
            timestamp_ns: None,
            records: 0,
            payload_bytes: 0,
            one_waits: false,
        }
    }

    /// Publishes one record, waiting for space up to `full_wait`. The record is in the ring exactly
    /// if this returns `Ok`. Dropping the future early gives up the place in the queue; the record
    /// is then not published. A record whose time is over takes whatever space there is, before
    /// those that still wait.
    pub async fn publish(
        &self,
        type_tag: u16,
        payload: &[u8],
        full_wait: Duration,
    ) -> Result<Published, Refusal> {
        let first_try = self.turn().append(type_tag, payload);
        let seq = match first_try {
            Err(Refusal::Full) => self.wait_for_space(type_tag, payload, full_wait).await?,
            other => other?,
        };
        if !self.published(seq).await {
            return Err(Refusal::Journal);
        }
        Ok(Published { seq, epoch: self.epoch })
    }

    async fn wait_for_space(
        &self,
        type_tag: u16,
        payload: &[u8],
        full_wait: Duration,
    ) -> Result<u64, Refusal> {
        let begun = Instant::now();
        let ticket = {
            let mut turn = self.turn();
            turn.wait(Need::Record(payload.len()), Waker::noop().clone())?
        };
        let mut late = Timer::at(begun + full_wait);
        let published = std::future::poll_fn(|cx: &mut Context<'_>| {
            ticket.set_waker(cx.waker());
            match self.turn().append_waiting(&ticket, type_tag, payload) {
                Err(Refusal::Full) => {}
                other => return Poll::Ready(other),
            }
            if Pin::new(&mut late).poll(cx).is_pending() {
                return Poll::Pending;
            }
            Poll::Ready(self.turn().append_expired(&ticket, type_tag, payload))
        });
        let seq = published.await?;
        self.metrics.wait.observe(begun.elapsed().as_secs_f64());
        Ok(seq)
    }
}

impl<'a> Turn<'a> {
    /// Publishes what was appended, and returns the wake-ups that are due, if anyone is to be
    /// woken: whoever sends answers first spares its clients the time that waking takes.
    pub fn publish(mut self) -> Option<Wakeups<'a>> {
        let deferred = self.end()?;
        (!deferred.is_empty()).then(|| Wakeups { ring: self.ring, deferred })
    }

    /// Says that the sender of this turn's only record is the only client that this thread serves
    /// just now: the turn may wait for the disk by itself, which spares the way to another thread
    /// and back.
    pub fn one_waits(&mut self) {
        self.one_waits = self.records == 1;
    }

    /// Publishes, once, and unlocks the producer. What is due afterwards.
    fn end(&mut self) -> Option<Deferred> {
        let mut inner = self.inner.take()?;
        let wake = inner.producer.publish();
        // Readers see nothing of what is held back, so nobody is woken for it.
        let is_held = inner.holding.is_some();
        let (mut deferred, committed) = if is_held {
            let mut committed = self.ring.commit_turn(&mut inner);
            let deferred = committed.deferred(&mut inner);
            (deferred, Some(committed))
        } else {
            (inner.settle(wake), None)
        };
        if self.queued {
            inner.ask_for_space(self.ring, &mut deferred);
        }
        drop(inner);
        if let Some(committed) = committed
            && let Some(more) = self.ring.committed(committed, self.one_waits)
        {
            deferred.add(more);
        }
        if self.records > 0 {
            self.ring.metrics.records.inc_by(self.records);
            self.ring.metrics.payload_bytes.inc_by(self.payload_bytes);
        }
        Some(deferred)
    }
}

impl Turn<'_> {
    /// Appends one record and returns its sequence number. The record is published when the turn
    /// ends.
    ///
    /// # Errors
    /// [`Refusal::Full`] if there is no space, or others wait for it: send the client away, or take
    /// a place in the queue with [`wait`](Self::wait). [`Refusal::TooLarge`] and
    /// [`Refusal::ShuttingDown`] are final. What was appended before stays appended.
    pub fn append<'l>(
        &mut self,
        label: impl Into<Label<'l>>,
        payload: &[u8],
    ) -> Result<u64, Refusal> {
        let label = label.into();
        if self.queued && !lock(&self.ring.waiters).is_empty() {
            // What can never succeed is refused for good at once.
            self.check_size(label.bytes_with(payload))?;
            let inner = self.inner();
            let closed = inner.closed;
            inner.check_holding(None)?;
            return Err(if closed { Refusal::ShuttingDown } else { Refusal::Full });
        }
        self.push(label, payload)
    }

    /// Takes a place in the queue for space. `waker` is called whenever this place may try again;
    /// it may also be called for nothing.
    ///
    /// # Errors
    /// [`Refusal::Full`] if the queue is full too, [`Refusal::ShuttingDown`] if the ring is closed.
    pub fn wait(&mut self, need: Need, waker: Waker) -> Result<Ticket, Refusal> {
        if self.inner().closed {
            return Err(Refusal::ShuttingDown);
        }
        let ticket = Ticket::enter(&self.ring.waiters, need, waker);
        self.queued = true;
        ticket.ok_or(Refusal::Full)
    }

    /// Tries again for a record that waits. Ends the wait if it succeeds.
    ///
    /// # Errors
    /// [`Refusal::Full`] if others are before it or there is still no space: the place is kept, and
    /// its waker will be called. Other refusals are final.
    pub fn append_waiting<'l>(
        &mut self,
        ticket: &Ticket,
        label: impl Into<Label<'l>>,
        payload: &[u8],
    ) -> Result<u64, Refusal> {
        let label = label.into();
        self.is_first(ticket, Need::Record(label.bytes_with(payload)))?;
        let result = self.append_expired(ticket, label, payload);
        if result == Err(Refusal::Full) {
            // What was asked for on its behalf is used up by this try.
            self.inner().asked_for = None;
        }
        result
    }

    /// Tries a last time for a record whose time is over, without regard to those before it. Ends
    /// the wait if it succeeds; drop the ticket if it does not.
    ///
    /// # Errors
    /// As [`append_waiting`](Self::append_waiting).
    pub fn append_expired<'l>(
        &mut self,
        ticket: &Ticket,
        label: impl Into<Label<'l>>,
        payload: &[u8],
    ) -> Result<u64, Refusal> {
        let label = label.into();
        let seq = self.push(label, payload)?;
        let removed = lock(&self.ring.waiters).remove(ticket.number());
        drop(removed);
        Ok(seq)
    }

    /// Returns the sequence number that the next record will get.
    pub fn next_seq(&mut self) -> u64 {
        self.inner().producer.next_seq()
    }

    /// Grants room to a whole batch of so many granules: each of its records is accepted by
    /// [`append_granted`](Self::append_granted) in this turn, if nothing else is appended before.
    /// Count one granule less than the largest record on top of those of all records: so much may
    /// be lost where the batch wraps. Ends the wait of `ticket` if it succeeds; `expired` as for
    /// [`append_expired`](Self::append_expired).
    ///
    /// # Errors
    /// [`Refusal::Full`] if there is no room, or others wait for it. [`Refusal::TooLarge`] and
    /// [`Refusal::ShuttingDown`] are final.
    pub fn grant(
        &mut self,
        ticket: Option<&Ticket>,
        granules: u64,
        expired: bool,
    ) -> Result<(), Refusal> {
        let limit = u64::from(self.ring.capacity - 1);
        if granules > limit {
            let limit = u32::try_from(bytes_of(limit)).unwrap_or(u32::MAX);
            return Err(Refusal::TooLarge { bytes: bytes_of(granules), limit });
        }
        let waits = match ticket {
            Some(_) if expired => false,
            Some(ticket) => self.is_first(ticket, Need::Batch(granules)).map(|()| false)?,
            None => self.queued && !lock(&self.ring.waiters).is_empty(),
        };
        let inner = self.inner();
        if inner.closed {
            return Err(Refusal::ShuttingDown);
        }
        inner.check_holding(None)?;
        let waits = waits || inner.holding.as_ref().is_some_and(|it| !it.has_room(granules));
        if waits || !inner.producer.has_room(granules) {
            inner.refused_granules = u32::try_from(granules).unwrap_or(u32::MAX);
            if ticket.is_some() {
                // What was asked for on its behalf is used up by this try.
                inner.asked_for = None;
            }
            return Err(Refusal::Full);
        }
        if let Some(ticket) = ticket {
            let removed = lock(&self.ring.waiters).remove(ticket.number());
            drop(removed);
        }
        Ok(())
    }

    /// Appends one record of a batch that was granted room. Returns its sequence number.
    ///
    /// # Errors
    /// [`Refusal::TooLarge`] if no record may be so large.
    pub fn append_granted<'l>(
        &mut self,
        label: impl Into<Label<'l>>,
        payload: &[u8],
    ) -> Result<u64, Refusal> {
        let label = label.into();
        let result = self.push(label, payload);
        debug_assert!(result != Err(Refusal::Full), "a granted batch found no room");
        result
    }

    /// Returns how many records this turn has appended.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Ends the turn: publishes what was appended, once, then wakes each reader that sleeps, once.
    pub fn finish(self) {
        // Dropping it does all of that.
    }

    fn inner(&mut self) -> &mut Inner {
        self.inner.as_deref_mut().expect("a turn has its lock until it is dropped")
    }

    /// Whether this place is the one that may try; remembers what it tries.
    fn is_first(&mut self, ticket: &Ticket, need: Need) -> Result<(), Refusal> {
        let first = {
            let mut waiters = lock(&self.ring.waiters);
            waiters.resize(ticket.number(), need);
            waiters.first().is_some_and(|(number, _)| number == ticket.number())
        };
        match (first, self.inner().closed) {
            (true, _) => Ok(()),
            (false, true) => Err(Refusal::ShuttingDown),
            (false, false) => Err(Refusal::Full),
        }
    }

    fn check_size(&self, bytes: usize) -> Result<(), Refusal> {
        let limit = self.ring.max_payload_bytes;
        if bytes as u64 > u64::from(limit) {
            return Err(Refusal::TooLarge { bytes: bytes as u64, limit });
        }
        Ok(())
    }

    fn push(&mut self, label: Label<'_>, payload: &[u8]) -> Result<u64, Refusal> {
        let clock = self.ring.clock;
        let timestamp_ns = *self.timestamp_ns.get_or_insert_with(|| now_ns(clock));
        let inner = self.inner();
        let bytes = label.bytes_with(payload);
        if let Err(refusal) = inner.check_holding(Some(bytes)) {
            if refusal == Refusal::Full {
                let granules = 1 + bytes.div_ceil(GRANULE_BYTES);
                inner.refused_granules = u32::try_from(granules).unwrap_or(u32::MAX);
            }
            return Err(refusal);
        }
        let Label { type_tag, attributes } = label;
        let meta = Meta { type_tag, timestamp_ns };
        let result = inner.producer.append_with(meta, payload, attributes);
        match result {
            Ok(seq) => {
                inner.refused_granules = 0;
                self.records += 1;
                self.payload_bytes += payload.len() as u64;
                Ok(seq)
            }
            Err(ClaimError::TooLarge { bytes, limit }) => {
                Err(Refusal::TooLarge { bytes: bytes as u64, limit })
            }
            Err(ClaimError::Closed) => Err(Refusal::ShuttingDown),
            Err(ClaimError::Full { needed, .. }) => {
                inner.refused_granules = needed;
                Err(Refusal::Full)
            }
            // A single producer is never busy; a reason of a later version says not now either.
            Err(_) => Err(Refusal::Full),
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(deferred) = self.end() {
            self.ring.run(deferred);
        }
    }
}

impl Inner {
    /// Asks the readers for the space that the first in the queue needs, once per try; lets it try
    /// at once if the space is there already.
    fn ask_for_space(&mut self, ring: &Ring, deferred: &mut Deferred) {
        let waiters = lock(&ring.waiters);
        let Some((number, need)) = waiters.first() else {
            if self.asked_for.take().is_some() {
                // Takes the request back if anything fits; one that stays costs a message.
                let _ = self.producer.want_space(0);
            }
            return;
        };
        if self.asked_for == Some(number) {
            return;
        }
        self.asked_for = Some(number);
        let granules = match need {
            Need::Record(bytes) => 1 + bytes.div_ceil(GRANULE_BYTES) as u64,
            Need::Batch(granules) => granules,
        };
        if self.holding.as_ref().is_some_and(|it| !it.failed && !it.has_room(granules)) {
            // Whoever makes room in the journal calls.
            self.asked_for = None;
            return;
        }
        let must_wait = match need {
            Need::Record(payload_bytes) => {
                matches!(self.producer.want_space(payload_bytes), Ok(false))
            }
            Need::Batch(granules) => !self.producer.want_room(granules) && !self.closed,
        };
        if !must_wait {
            deferred.waiting.extend(waiters.first_waker());
        }
    }
}
