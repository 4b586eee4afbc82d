//! What a loop does with events: decodes, parks, ends. It never calls the driver; what it wants of
//! it is written on the connections and done by `attend` when the turn is published.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::io::Errno;

use super::address::Address;
use super::batch::Batch;
use super::clock::NEVER;
use super::connection::{Connection, Parked, Phase};
use super::deadlines::{Armed, Deadlines};
use super::driver::{Buffers, Event, Id, Listener};
use super::held::Verdict;
use super::protocol::Speaker;
use super::shared::{HandedOver, Mailbox, Shared};
use crate::codec::{self, Progress, RingId, Sink, State, Wait};
use crate::limits::{Held, Permit};
use crate::tls::Broken;

/// Most bytes that are read and thrown away after the last answer.
pub(super) const LINGER_BYTES: usize = 64 << 20;
/// Longest linger, ms.
pub(super) const LINGER_MS: u64 = 30_000;
/// How long a linger waits for the next bytes, ms.
pub(super) const LINGER_QUIET_MS: u64 = 1_000;
/// How long a peer that was refused while it sent may pause before our side ends: some clients take
/// the end for that of the connection, and never look at the answer, ms.
pub(super) const LINGER_OPEN_MS: u64 = 200;
/// As `LINGER_QUIET_MS`, for a connection that never was one, and while the process ends.
pub(super) const LINGER_SHORT_MS: u64 = 250;

/// A number for a connection.
pub(super) enum Slot {
    Free,
    /// Given up; the driver has not let go of it yet, so its descriptor still counts.
    Leaving {
        _permit: Permit,
    },
    Taken(Box<Connection>),
}

/// Everything of a loop but its driver.
pub(super) struct Work<'a> {
    pub(super) shared: &'a Shared,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) buffers: Buffers,
    pub(super) slots: Vec<Slot>,
    pub(super) free: Vec<Id>,
    pub(super) batch: Batch<'a>,
    pub(super) deadlines: Deadlines,
    /// Places in the queues for space, by ring, in order: connection and number of its place.
    parked: Vec<VecDeque<(Id, u64)>>,
    places: u64,
    /// To be looked at when the turn is published.
    pub(super) touched: Vec<Id>,
    /// To be decoded in the next turn.
    pub(super) again: Vec<Id>,
    /// Asked for a page in this turn.
    pub(super) paging: Vec<Id>,
    /// With answers that are held.
    pub(super) holding: Vec<Id>,
    /// Those of them for which the rings were not asked to call yet.
    pub(super) unwatched: Vec<Id>,
    /// When cursors are looked at for answers that wait for readers, ms.
    pub(super) look_at_ms: u64,
    /// Broken or expired; to be closed when the turn is published.
    pub(super) lost: Vec<Id>,
    pub(super) accepted: Vec<(Listener, OwnedFd)>,
    pub(super) not_accepted: Vec<(Listener, Errno)>,
    pub(super) woken: bool,
    begun: bool,
    /// How often the rules of the addresses had been replaced when connections got theirs.
    generation: u64,
}

impl<'a> Work<'a> {
    pub(super) fn new(shared: &'a Shared, mailbox: Arc<Mailbox>, buffers: Buffers) -> Self {
        Self {
            shared,
            mailbox,
            buffers,
            slots: Vec::new(),
            free: Vec::new(),
            batch: Batch::new(shared),
            deadlines: Deadlines::default(),
            parked: shared.rings.iter().map(|_| VecDeque::new()).collect(),
            places: 0,
            touched: Vec::new(),
            again: Vec::new(),
            paging: Vec::new(),
            holding: Vec::new(),
            unwatched: Vec::new(),
            look_at_ms: NEVER,
            lost: Vec::new(),
            accepted: Vec::new(),
            not_accepted: Vec::new(),
            woken: false,
            begun: false,
            generation: shared.addresses.generation(),
        }
    }

    /// Begins a turn, at its first event. Makes the wake-ups that are due: the answers of the last
    /// turn are on their way by now, and no ring is locked yet.
    pub(super) fn begin(&mut self) {
        if !std::mem::replace(&mut self.begun, true) {
            debug_assert!(self.batch.is_published(), "readers would be woken under a lock");
            self.batch.wakeups.make_if_due();
            self.batch.begin();
            self.renew();
        }
    }

    /// Takes what a reload has changed, before anything that came since is looked at: what follows
    /// the answer to a reload is judged by the new rules.
    fn renew(&mut self) {
        let addresses = &self.shared.addresses;
        let generation = addresses.generation();
        if generation != self.generation {
            self.generation = generation;
            self.follow(&addresses.now());
        }
    }

    /// Whether connections have the rules as they are.
    #[cfg(test)]
    pub(super) fn follows(&self, addresses: &super::address::Addresses) -> bool {
        self.generation == addresses.generation()
    }

    /// Looks again at what others change, the end of the process and the rules of addresses, once
    /// the wakes are taken: whoever found a wake on its way when this had changed has left no
    /// other.
    pub(super) fn look_again(&mut self) {
        self.batch.begin();
        self.renew();
    }

    /// Returns whether this turn has to do with one connection at most, and no other waits for an
    /// answer.
    pub(super) fn one_waits(&self) -> bool {
        self.holding.is_empty() && self.again.is_empty() && self.touched.len() <= 1
    }

    /// Ends a turn.
    pub(super) fn end(&mut self) {
        self.begun = false;
    }

    /// Takes one event.
    pub(super) fn event(&mut self, event: Event<'_>) {
        self.begin();
        match event {
            Event::Accepted { listener, socket } => self.accepted.push((listener, socket)),
            Event::AcceptFailed { listener, errno } => self.not_accepted.push((listener, errno)),
            Event::Received { id, bytes } => self.arrived(id, bytes),
            Event::Ended { id } => self.ended(id),
            Event::Drained { id } => self.touch(id),
            Event::Failed { id, .. } => self.lose(id),
            Event::Closed { id } => self.vacate(id),
            Event::Released { id, socket } => self.released(id, socket),
            Event::Woken => self.woken = true,
        }
    }

    pub(super) fn connection(&mut self, id: Id) -> Option<&mut Connection> {
        match self.slots.get_mut(id as usize) {
            Some(Slot::Taken(connection)) => Some(connection),
            _ => None,
        }
    }

    pub(super) fn touch(&mut self, id: Id) {
        if let Some(Slot::Taken(connection)) = self.slots.get_mut(id as usize)
            && !std::mem::replace(&mut connection.touched, true)
        {
            self.touched.push(id);
        }
    }

    /// Has a connection decoded in the next turn.
    pub(super) fn decode_again(&mut self, id: Id) {
        if let Some(Slot::Taken(connection)) = self.slots.get_mut(id as usize)
            && !std::mem::replace(&mut connection.again, true)
        {
            self.again.push(id);
        }
    }

    fn vacate(&mut self, id: Id) {
        if let Some(slot) = self.slots.get_mut(id as usize) {
            debug_assert!(matches!(slot, Slot::Leaving { .. }), "connection {id} closed by itself");
            *slot = Slot::Free;
            self.free.push(id);
        }
    }

    fn released(&mut self, id: Id, socket: OwnedFd) {
        let Some(slot) = self.slots.get_mut(id as usize) else { return };
        if let Slot::Taken(mut connection) = std::mem::replace(slot, Slot::Free) {
            self.deadlines.cancel(id, &mut connection.armed);
            if let Speaker::Http(_) = &connection.speaker {
                (self.shared.hand_over)(HandedOver {
                    socket,
                    address: connection.address,
                    read: connection.input.take(),
                    tls: connection.tls.take(),
                    permit: connection.permit,
                });
            }
        }
        self.free.push(id);
    }

    /// Takes bytes as they came: of TLS, what they say is received.
    fn arrived(&mut self, id: Id, bytes: &mut [u8]) {
        let Self { slots, batch, buffers, .. } = self;
        let Some(Slot::Taken(connection)) = slots.get_mut(id as usize) else { return };
        let Some(tls) = &mut connection.tls else { return self.received(id, bytes) };
        let was_handshaking = tls.is_handshaking();
        let mut plain = buffers.take();
        let outcome = tls.receive(bytes, &mut plain);
        let has_ended = tls.has_ended();
        if was_handshaking && !tls.is_handshaking() {
            connection.deadline_ms = batch.clock.after(connection.timeouts.of(connection.wait));
            // A reload may have come since it began.
            let address = connection.address as usize;
            if self.shared.addresses.now().get(address).is_some_and(|now| !now.accepts(tls)) {
                self.buffers.give(plain);
                return self.turn_out(id);
            }
            if let Some(peer) = tls.peer() {
                connection.speaker.introduce(peer);
            }
        }
        if !plain.is_empty() {
            self.received(id, &mut plain);
        }
        self.buffers.give(plain);
        match outcome {
            Err(Broken) => self.broken(id),
            Ok(()) if has_ended => self.ended(id),
            Ok(()) => {}
        }
        self.touch(id);
    }

    /// Ends a connection whose peer does not speak TLS as it should, after the alert.
    fn broken(&mut self, id: Id) {
        let Self { slots, batch, .. } = self;
        let Some(Slot::Taken(connection)) = slots.get_mut(id as usize) else { return };
        if matches!(connection.phase, Phase::Closing(_) | Phase::Lingering(_)) {
            return;
        }
        batch.note(codec::Event::ProtocolError);
        batch.come_by(connection.address);
        connection.speaker.broken(connection.input.bytes(), batch);
        self.close_after_answers(id);
    }

    /// Ends a connection whose client is not let in any more.
    fn turn_out(&mut self, id: Id) {
        let Self { slots, batch, .. } = self;
        let Some(Slot::Taken(connection)) = slots.get_mut(id as usize) else { return };
        if matches!(connection.phase, Phase::Closing(_) | Phase::Lingering(_)) {
            return;
        }
        tracing::debug!(id, "connection closed: its certificate is good no more");
        batch.come_by(connection.address);
        connection.speaker.broken(connection.input.bytes(), batch);
        self.close_after_answers(id);
        self.touch(id);
    }

    fn received(&mut self, id: Id, bytes: &mut [u8]) {
        let Self { slots, batch, buffers, .. } = self;
        let Some(Slot::Taken(connection)) = slots.get_mut(id as usize) else { return };
        match &mut connection.phase {
            Phase::Open if !connection.again => {
                if connection.input.is_empty() {
                    if connection.out.capacity() == 0 {
                        connection.out = buffers.take();
                    }
                    let from = connection.out.len();
                    batch.come_by(connection.address);
                    let progress = connection.speaker.decode(bytes, batch, &mut connection.out);
                    batch.hold(from, &connection.out, &mut connection.answers);
                    let kept = connection.keep(&bytes[progress.consumed..progress.end], buffers);
                    self.decoded(id, progress);
                    if kept.is_err() {
                        self.out_of_memory(id);
                    }
                    return;
                }
                if connection.keep(bytes, buffers).is_err() {
                    self.out_of_memory(id);
                } else if connection.input.len() >= connection.need {
                    self.decode(id);
                }
            }
            Phase::Open
            | Phase::Parked(_)
            | Phase::Away { .. }
            | Phase::Flushing
            | Phase::Paging(_)
            | Phase::HandingOver
            | Phase::Releasing => {
                if connection.keep(bytes, buffers).is_err() {
                    self.out_of_memory(id);
                }
                // It may have sent enough for now.
                self.touch(id);
            }
            Phase::Closing(_) => {}
            Phase::Lingering(linger) => {
                linger.bytes_left = linger.bytes_left.saturating_sub(bytes.len());
                let pause_ms = if linger.is_open { LINGER_OPEN_MS } else { LINGER_QUIET_MS };
                connection.deadline_ms = if linger.bytes_left == 0 {
                    batch.clock.now()
                } else {
                    (batch.clock.now() + pause_ms).min(linger.until_ms)
                };
                self.touch(id);
            }
        }
    }

    /// There is no memory for what a connection sent: it is told so, and ends.
    fn out_of_memory(&mut self, id: Id) {
        let Self { slots, batch, .. } = self;
        let Some(Slot::Taken(connection)) = slots.get_mut(id as usize) else { return };
        if matches!(connection.phase, Phase::HandingOver | Phase::Releasing) {
            self.lost.push(id);
            return;
        }
        batch.come_by(connection.address);
        connection.speaker.out_of_memory(connection.input.bytes(), batch, &mut connection.out);
        self.close_after_answers(id);
    }

    /// Decodes what a connection keeps.
    pub(super) fn decode(&mut self, id: Id) {
        let Self { slots, batch, buffers, .. } = self;
        let Some(Slot::Taken(connection)) = slots.get_mut(id as usize) else { return };
        if connection.out.capacity() == 0 {
            connection.out = buffers.take();
        }
        let progress = connection.decode(batch);
        connection.input.consume(progress.consumed, progress.end, buffers);
        self.decoded(id, progress);
    }

    /// Does what decoding led to.
    fn decoded(&mut self, id: Id, progress: Progress) {
        self.touch(id);
        let Self { slots, batch, .. } = self;
        let Some(Slot::Taken(connection)) = slots.get_mut(id as usize) else { return };
        match progress.state {
            State::More { need, wait } => {
                connection.phase = Phase::Open;
                connection.need = need;
                if progress.messages > 0
                    || wait != connection.wait
                    || connection.deadline_ms == NEVER
                {
                    connection.wait = wait;
                    connection.deadline_ms = batch.clock.after(connection.timeouts.of(wait));
                }
                if connection.ended {
                    self.finish_input(id);
                }
            }
            State::Parked => self.park(id),
            State::Away => self.send_away(id),
            State::Flush => connection.phase = Phase::Flushing,
            State::Page(page) => {
                connection.phase = Phase::Paging(page);
                self.paging.push(id);
            }
            State::HandOver => connection.phase = Phase::HandingOver,
            State::Close => self.close_after_answers(id),
        }
    }

    /// Gives the work that a connection waits for to a worker.
    fn send_away(&mut self, id: Id) {
        let Self { slots, shared, mailbox, .. } = self;
        let Some(Slot::Taken(connection)) = slots.get_mut(id as usize) else { return };
        connection.deadline_ms = NEVER;
        let Some(job) = connection.speaker.take_job() else {
            debug_assert!(false, "a connection waits for no work");
            self.lost.push(id);
            return;
        };
        self.places += 1;
        let number = self.places;
        let mut held = Held::nothing(&shared.buffered);
        let entered = job.enter(&mut held);
        connection.phase = Phase::Away { number, _held: held };
        let mailbox = Arc::clone(mailbox);
        let done = Box::new(move || mailbox.work_is_done(id, number));
        match entered {
            Some(job) => shared.workers.run(job, done),
            None => done(),
        }
    }

    /// Goes on with a connection whose work is done.
    pub(super) fn back(&mut self, id: Id, number: u64) {
        let Some(connection) = self.connection(id) else { return };
        if matches!(connection.phase, Phase::Away { number: awaited, .. } if awaited == number) {
            connection.phase = Phase::Open;
            self.decode(id);
        }
    }

    /// Sends what is in `out`, then ends the connection.
    pub(super) fn close_after_answers(&mut self, id: Id) {
        let Self { slots, buffers, batch, .. } = self;
        if let Some(Slot::Taken(connection)) = slots.get_mut(id as usize) {
            connection.close_after_answers(batch.clock.now(), buffers);
        }
        self.touch(id);
    }

    /// The peer has ended its side: everything complete is answered, then the connection ends.
    fn ended(&mut self, id: Id) {
        let Some(connection) = self.connection(id) else { return };
        connection.ended = true;
        let decodes = matches!(connection.phase, Phase::Open) && !connection.again;
        if decodes {
            self.finish_input(id);
        }
        self.touch(id);
    }

    fn finish_input(&mut self, id: Id) {
        let Self { slots, batch, .. } = self;
        if let Some(Slot::Taken(connection)) = slots.get_mut(id as usize) {
            batch.come_by(connection.address);
            let Connection { speaker, input, out, .. } = &mut **connection;
            speaker.end_of_input(input.bytes(), batch, out);
        }
        self.close_after_answers(id);
    }

    /// The connection is broken.
    fn lose(&mut self, id: Id) {
        let Self { slots, batch, .. } = self;
        let Some(Slot::Taken(connection)) = slots.get_mut(id as usize) else { return };
        if !matches!(connection.phase, Phase::Closing(_) | Phase::Lingering(_)) {
            batch.come_by(connection.address);
            connection.speaker.broken(connection.input.bytes(), batch);
        }
        self.lost.push(id);
    }

    /// Puts a connection into the queue for space.
    fn park(&mut self, id: Id) {
        let waker = std::task::Waker::from(Arc::clone(&self.mailbox));
        let Self { slots, batch, .. } = self;
        let Some(Slot::Taken(connection)) = slots.get_mut(id as usize) else { return };
        let gives_up = connection.speaker.gives_up_when_full();
        let at_once = gives_up && batch.refuses_at_once();
        let place = if at_once { None } else { batch.queue(waker) };
        let Some((ring, ticket)) = place else {
            if gives_up {
                // Nowhere to wait: the next look refuses.
                batch.expired = true;
                self.decode(id);
                self.batch.expired = false;
            } else {
                connection.phase = Phase::Open;
                self.decode_again(id);
            }
            return;
        };
        self.places += 1;
        let now = batch.clock.now();
        connection.deadline_ms =
            if gives_up { batch.clock.after(batch.ring_of(ring).full_wait()) } else { NEVER };
        connection.phase =
            Phase::Parked(Parked { ring, ticket, number: self.places, since_ms: now });
        self.parked[usize::from(ring.0)].push_back((id, self.places));
    }

    /// Decodes the front of a queue again; whether it moved.
    fn unpark(&mut self, id: Id, expired: bool) -> bool {
        let Some(connection) = self.connection(id) else { return true };
        let Phase::Parked(parked) = std::mem::replace(&mut connection.phase, Phase::Open) else {
            return true;
        };
        let Parked { ring, ticket, number, since_ms } = parked;
        self.batch.ticket = Some((ring, ticket));
        self.batch.expired = expired;
        // A connection that is still at the front must not queue anew.
        self.batch.waited_ms = Some(self.batch.clock.now() - since_ms);
        let moved = self.decode_parked(id, number, since_ms);
        self.batch.ticket = None;
        self.batch.expired = false;
        moved
    }

    fn decode_parked(&mut self, id: Id, number: u64, since_ms: u64) -> bool {
        let Self { slots, batch, buffers, .. } = self;
        let Some(Slot::Taken(connection)) = slots.get_mut(id as usize) else { return true };
        if connection.out.capacity() == 0 {
            connection.out = buffers.take();
        }
        let progress = connection.decode(batch);
        connection.input.consume(progress.consumed, progress.end, buffers);
        // After a reload the message may be one for another ring, where it queues anew; here it
        // gives its place up.
        let is_for = |ring| batch.full.as_ref().is_none_or(|(full, _)| *full == ring);
        if progress.state == State::Parked
            && batch.ticket.as_ref().is_some_and(|(ring, _)| is_for(*ring))
            && let Some((ring, ticket)) = batch.ticket.take()
        {
            batch.full = None;
            connection.phase = Phase::Parked(Parked { ring, ticket, number, since_ms });
            self.touch(id);
            return false;
        }
        drop(batch.ticket.take());
        self.decoded(id, progress);
        true
    }

    /// Lets those who wait for space try, in their order, until one finds none.
    pub(super) fn retry(&mut self) {
        for ring in 0..self.parked.len() {
            while let Some(&(id, number)) = self.parked[ring].front() {
                if self.is_parked(id, number) && !self.unpark(id, false) {
                    break;
                }
                // It may be in the queue anew, at its end.
                self.parked[ring].pop_front();
            }
        }
    }

    fn is_parked(&mut self, id: Id, number: u64) -> bool {
        let phase = self.connection(id).map(|connection| &connection.phase);
        matches!(phase, Some(Phase::Parked(parked)) if parked.number == number)
    }

    /// Looks at the connections whose time may be over.
    pub(super) fn expire(&mut self) {
        let now = self.batch.clock.now();
        while let Some(id) = self.deadlines.due(now) {
            let Some(connection) = self.connection(id) else { continue };
            connection.armed = Armed::NOT;
            if connection.deadline_ms <= now {
                self.expired(id);
            }
            // Whether it is stuck, `attend` finds out.
            self.touch(id);
        }
    }

    fn expired(&mut self, id: Id) {
        let Self { slots, batch, buffers, .. } = self;
        let Some(Slot::Taken(connection)) = slots.get_mut(id as usize) else { return };
        connection.deadline_ms = NEVER;
        match connection.phase {
            Phase::Parked(_) => {
                self.unpark(id, true);
            }
            // There is nobody yet who could be told.
            Phase::Open if connection.is_handshaking() => self.lost.push(id),
            // It says nothing, but takes an answer. Whether it does is another clock's business.
            Phase::Open if connection.wait == Wait::Idle && connection.unsent > 0 => {
                connection.deadline_ms = batch.clock.after(connection.timeouts.of(Wait::Idle));
            }
            Phase::Open if !connection.again => {
                if connection.out.capacity() == 0 {
                    connection.out = buffers.take();
                }
                batch.come_by(connection.address);
                let Connection { speaker, input, out, .. } = &mut **connection;
                speaker.timed_out(input.bytes(), batch, out);
                if out.is_empty() {
                    self.lost.push(id);
                } else {
                    self.close_after_answers(id);
                }
            }
            // The peer pauses: now our side ends, too.
            Phase::Lingering(linger)
                if linger.is_open
                    && linger.bytes_left > 0
                    && batch.clock.now() < linger.until_ms =>
            {
                connection.phase = Phase::Closing(linger);
            }
            Phase::Lingering(_) => self.lost.push(id),
            Phase::Open
            | Phase::Away { .. }
            | Phase::Flushing
            | Phase::Paging(_)
            | Phase::HandingOver
            | Phase::Releasing
            | Phase::Closing(_) => {}
        }
    }

    /// Looks at the connections whose answers are held, because a ring has moved.
    pub(super) fn look_at_held(&mut self) {
        for id in std::mem::take(&mut self.holding) {
            if let Some(connection) = self.connection(id) {
                connection.holding = false;
            }
            self.touch(id);
        }
    }

    /// Looks at the answers that wait for readers, if it is time to.
    pub(super) fn look_at_readers(&mut self) {
        if self.look_at_ms <= self.batch.clock.now() {
            self.look_at_ms = NEVER;
            self.look_at_held();
        }
    }

    /// Has the rings call when the answers that are held may be sent.
    pub(super) fn watch_held(&mut self) {
        // A ring that was asked in this turn calls at its next move, whatever the record.
        let mut watched: Option<RingId> = None;
        for id in self.unwatched.drain(..) {
            let Some(Slot::Taken(connection)) = self.slots.get(id as usize) else { continue };
            let Some(hold) = connection.answers.first() else { continue };
            if watched == Some(hold.ring) && self.batch.verdict(hold) == Verdict::Open {
                continue;
            }
            let waker = std::task::Waker::from(Arc::clone(&self.mailbox));
            self.batch.ring_of(hold.ring).watch(hold.seq, waker);
            watched = Some(hold.ring);
        }
    }

    /// Renews what connections know of their addresses, after a reload. Ends those whose clients
    /// would not be let in any more by what they have shown.
    fn follow(&mut self, addresses: &[Address]) {
        let mut turned_out = Vec::new();
        for (index, slot) in self.slots.iter_mut().enumerate() {
            if let Slot::Taken(connection) = slot
                && let Some(address) = addresses.get(connection.address as usize)
            {
                connection.speaker.follow(&address.protocol);
                connection.timeouts = Arc::clone(&address.timeouts);
                if let Some(tls) = &connection.tls
                    && !tls.is_handshaking()
                    && !address.accepts(tls)
                {
                    turned_out.push(Id::try_from(index).unwrap_or(Id::MAX));
                }
            }
        }
        for id in turned_out {
            self.turn_out(id);
        }
    }

    /// Ends every connection that has nothing to do.
    pub(super) fn end_idle(&mut self) {
        for index in 0..self.slots.len() {
            if let Slot::Taken(connection) = &self.slots[index]
                && connection.is_idle()
                && !connection.again
            {
                self.close_after_answers(Id::try_from(index).unwrap_or(Id::MAX));
            }
        }
    }
}
