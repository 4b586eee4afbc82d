//! What one turn brings into the rings: a [`Sink`] over the turns of all rings, published together.

#[cfg(feature = "otel")]
mod traces;

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use prometheus::IntCounter;

use super::clock::Clock;
use super::held::{Held, Hold, Settled, Until, Verdict};
use super::shared::{Shared, ring_facts};
use super::wakeups::Wakeups;
#[cfg(feature = "otel")]
use crate::codec::TRACEPARENT_BYTES;
use crate::codec::{
    BatchSize, Consumption, Event, Keyed, Outcome, Reason, Recall, Record, Release,
    Ring as RingFacts, RingId, Room, Seen, Sink,
};
use crate::refusal::Refusal;
use crate::ring::{self, Label, Need, Ring, Standing, Ticket, Turn};
use crate::sync::lock;

/// Turns in a row that brought one record each, while nobody else waited, after which such a turn
/// may wait for the disk by itself.
const SINGLE_CLIENT_TURNS: u32 = 4;
/// Statuses that are counted without a look-up each.
const STATUSES: usize = 16;

/// Turns in a row with one record that one client waits for, and nothing else to do.
#[derive(Default)]
pub(super) struct SingleClient(u32);

impl SingleClient {
    /// Notes a turn; returns whether there have been enough.
    pub(super) fn note(&mut self, records: u64, one_waits: bool) -> bool {
        if records > 0 {
            self.0 = if one_waits && records == 1 { self.0.saturating_add(1) } else { 0 };
        }
        records > 0 && self.0 >= SINGLE_CLIENT_TURNS
    }
}

/// The records of one turn.
pub(in crate::ingress) struct Batch<'a> {
    shared: &'a Shared,
    /// By ring; there while something was appended, or asked, in this turn.
    turns: Vec<Option<Turn<'a>>>,
    /// The place in the queue of the connection that is being decoded.
    pub(in crate::ingress) ticket: Option<(RingId, Ticket)>,
    /// That its time is over: space now or a refusal.
    pub(in crate::ingress) expired: bool,
    /// How long it has waited, ms.
    pub(in crate::ingress) waited_ms: Option<u64>,
    /// Whether one client keeps the loop busy alone.
    single_client: SingleClient,
    /// Records of a batch that were promised room.
    granted: u64,
    /// What the answers of the connection that is being decoded wait for.
    holds: Vec<Hold>,
    /// Which of them wait for readers.
    consumptions: Vec<(Range<usize>, Consumption)>,
    /// What the last [`Outcome::Full`] was about: the ring and what there was no room for.
    pub(super) full: Option<(RingId, Need)>,
    /// HTTP responses of this turn, by status, with the counter of each.
    statuses: Vec<(u16, u64, IntCounter)>,
    /// By address: records that came in there in this turn, taken and refused.
    tallies: Vec<[u64; 2]>,
    /// The address of the connection that is being decoded.
    address: usize,
    /// Readers to be woken for what is published.
    pub(super) wakeups: Wakeups<ring::Wakeups<'a>>,
    pub(in crate::ingress) clock: Clock,
    ending: bool,
    #[cfg(feature = "otel")]
    traces: traces::Traces,
}

impl<'a> Batch<'a> {
    pub(in crate::ingress) fn new(shared: &'a Shared) -> Self {
        Self {
            shared,
            turns: shared.rings.iter().map(|_| None).collect(),
            ticket: None,
            expired: false,
            waited_ms: None,
            single_client: SingleClient::default(),
            granted: 0,
            holds: Vec::new(),
            consumptions: Vec::new(),
            full: None,
            statuses: Vec::with_capacity(STATUSES),
            tallies: vec![[0; 2]; shared.by_address.len()],
            address: usize::MAX,
            wakeups: Wakeups::new(shared.wake_interval),
            clock: Clock::new(),
            ending: false,
            #[cfg(feature = "otel")]
            traces: traces::Traces::default(),
        }
    }

    /// Begins a turn: reads the time, and whether the process is ending.
    pub(in crate::ingress) fn begin(&mut self) {
        self.clock.read();
        self.ending = self.shared.shutdown.has_begun();
    }

    /// Publishes everything and counts it. `one_waits` if no more than one client waits for an
    /// answer. Readers are woken later.
    pub(in crate::ingress) fn publish_for(&mut self, one_waits: bool) {
        let records: u64 = self.turns.iter().flatten().map(Turn::records).sum();
        if self.single_client.note(records, one_waits) {
            self.turns.iter_mut().flatten().for_each(Turn::one_waits);
        }
        self.publish();
    }

    /// Publishes everything and counts it. Readers are woken later.
    pub(in crate::ingress) fn publish(&mut self) {
        self.end_turns(0);
        #[cfg(feature = "otel")]
        self.end_spans();
        for (_, count, counter) in self.statuses.iter_mut().filter(|(_, count, _)| *count > 0) {
            counter.inc_by(std::mem::take(count));
        }
        for (tally, metrics) in self.tallies.iter_mut().zip(&*self.shared.by_address) {
            let [taken, refused] = std::mem::take(tally);
            if taken > 0 {
                metrics.records.inc_by(taken);
            }
            if refused > 0 {
                metrics.refused.inc_by(refused);
            }
        }
    }

    /// Says by which address the records come that follow.
    pub(in crate::ingress) fn come_by(&mut self, address: u32) {
        self.address = address as usize;
    }

    /// Counts what became of records, at their address.
    fn tally(&mut self, taken: u64, refused: u64) {
        if let Some(tally) = self.tallies.get_mut(self.address) {
            tally[0] += taken;
            tally[1] += refused;
        }
    }

    /// Holds what a connection was answered since its output had `from` bytes, if the records of
    /// these answers are published later than the turn. To be called after each decoding.
    pub(super) fn hold(&mut self, from: usize, out: &[u8], answers: &mut Held) {
        for hold in self.holds.drain(..) {
            answers.add(from..out.len(), hold);
        }
        for (bytes, wait) in self.consumptions.drain(..) {
            let Consumption { mut of, within, late, statuses, answered } = wait;
            let hold =
                |Release { ring, seq, by }| Hold { ring, seq, until: Until::Consumed { by } };
            let deadline_ms = self.clock.after(within);
            let Some(last) = of.pop() else { continue };
            for each in of {
                let late = late.clone().into();
                answers.add_until(bytes.clone(), hold(each), deadline_ms, late, None);
            }
            // It is settled with the last of its conditions.
            let settled = Some(Settled { statuses, answered });
            answers.add_until(bytes, hold(last), deadline_ms, late.into(), settled);
        }
    }

    /// Returns what the answers since the last time wait for.
    #[cfg(feature = "http2")]
    pub(in crate::ingress) fn take_holds(&mut self) -> Vec<Hold> {
        std::mem::take(&mut self.holds)
    }

    /// Returns what the answers since the last time wait for of readers.
    #[cfg(feature = "http2")]
    pub(in crate::ingress) fn take_consumptions(&mut self) -> Vec<(Range<usize>, Consumption)> {
        std::mem::take(&mut self.consumptions)
    }

    /// Says how a condition stands, for records of turns that have ended.
    pub(super) fn verdict(&self, hold: &Hold) -> Verdict {
        match hold.until {
            Until::Published => match self.ring_of(hold.ring).standing(hold.seq) {
                Standing::Published => Verdict::Met,
                Standing::Coming => Verdict::Open,
                Standing::Lost => Verdict::Never,
            },
            // It locks the ring: not while a turn of ours does.
            Until::Consumed { .. } if self.turns[usize::from(hold.ring.0)].is_some() => {
                Verdict::Open
            }
            Until::Consumed { by } if self.ring_of(hold.ring).unreleased(by) > hold.seq => {
                Verdict::Met
            }
            Until::Consumed { .. } => Verdict::Open,
        }
    }

    /// A record is in a turn: its answer waits for its publication if that comes later.
    fn accepted(&mut self, ring: RingId, seq: u64) -> Outcome {
        if self.ring_of(ring).is_held_back() {
            match self.holds.iter_mut().find(|hold| hold.ring == ring) {
                Some(hold) => hold.seq = hold.seq.max(seq),
                None => self.holds.push(Hold { ring, seq, until: Until::Published }),
            }
        }
        Outcome::Accepted(seq)
    }

    /// Whether everything is published, and so no ring locked.
    pub(super) fn is_published(&self) -> bool {
        self.turns.iter().all(Option::is_none)
    }

    /// Whether the ring of the last [`Outcome::Full`] keeps nobody waiting.
    pub(in crate::ingress) fn refuses_at_once(&self) -> bool {
        self.full.is_some_and(|(ring, _)| self.ring_of(ring).full_wait().is_zero())
    }

    /// Queues for the space that the last [`Outcome::Full`] missed. `None` if the queue is full or
    /// the ring closed: then decoding again is answered.
    pub(in crate::ingress) fn queue(
        &mut self,
        waker: std::task::Waker,
    ) -> Option<(RingId, Ticket)> {
        let (ring, need) = self.full.take()?;
        let ticket = self.turn(ring).wait(need, waker).ok()?;
        Some((ring, ticket))
    }

    pub(super) fn ring_of(&self, ring: RingId) -> &'a Arc<Ring> {
        &self.shared.rings[usize::from(ring.0)]
    }

    /// Publishes the rings from this one on, the last one first: what follows a publication may
    /// lock its ring once more, which must not come after a later one.
    fn end_turns(&mut self, from: usize) {
        for turn in self.turns[from..].iter_mut().rev().filter_map(Option::take) {
            let records = turn.records();
            self.wakeups.add(turn.publish(), records);
        }
    }

    fn turn(&mut self, ring: RingId) -> &mut Turn<'a> {
        let index = usize::from(ring.0);
        if self.turns[index].is_none() {
            // Two threads that lock rings in different orders would wait for each other for ever;
            // tasks of HTTP/2 lock some beside a single loop, too.
            self.end_turns(index + 1);
        }
        let rings = &self.shared.rings;
        self.turns[index].get_or_insert_with(|| rings[index].turn())
    }

    /// Whether the ring of this record is the one that the present connection queued for.
    fn has_ticket(&self, ring: RingId) -> bool {
        self.ticket.as_ref().is_some_and(|(of, _)| *of == ring)
    }

    fn full(&mut self, ring: RingId, need: Need) -> bool {
        self.wakeups.hurry();
        if std::mem::take(&mut self.expired) {
            self.ticket = None;
            return true;
        }
        self.full = Some((ring, need));
        false
    }

    /// A message that may have waited is in.
    fn taken(&mut self, ring: RingId) {
        self.expired = false;
        if let Some(waited_ms) = self.waited_ms.take() {
            let waited = std::time::Duration::from_millis(waited_ms);
            self.ring_of(ring).metrics().wait.observe(waited.as_secs_f64());
        }
    }

    /// Counts an HTTP response.
    pub(in crate::ingress) fn count(&mut self, status: u16) {
        if let Some((_, count, _)) = self.statuses.iter_mut().find(|each| each.0 == status) {
            *count += 1;
            return;
        }
        let counters = &self.shared.metrics.http_requests;
        self.statuses.push((status, 1, counters.with_label_values(&[status.to_string()])));
    }

    /// Appends a record, without a thought of its trace.
    fn put(&mut self, record: Record<'_>) -> Outcome {
        if self.granted > 0 {
            self.granted -= 1;
            let Record { ring, type_tag, payload, attributes } = record;
            let label = Label { type_tag, attributes };
            return match self.turn(ring).append_granted(label, payload) {
                Ok(seq) => self.accepted(ring, seq),
                Err(refusal) => Outcome::Refused(reason(refusal)),
            };
        }
        match self.append(record) {
            Ok(seq) => {
                self.taken(record.ring);
                self.accepted(record.ring, seq)
            }
            Err(Refusal::Full) => {
                if self.full(
                    record.ring,
                    Need::Record(record.payload.len() + record.attributes.as_bytes().len()),
                ) {
                    Outcome::Refused(Reason::Full)
                } else {
                    Outcome::Full
                }
            }
            Err(refusal) => Outcome::Refused(reason(refusal)),
        }
    }

    /// Appends a record to each of several rings, without a thought of its trace.
    fn put_in_all(&mut self, rings: &[RingId], record: Record<'_>, seqs: &mut Vec<u64>) -> Outcome {
        let Record { type_tag, payload, attributes, .. } = record;
        let mut size = BatchSize::default();
        size.add(payload.len() + attributes.as_bytes().len());
        let granules = size.granules + size.largest - 1;
        let has_waited = self.ticket.is_some();
        debug_assert!(rings.is_sorted_by_key(|ring| ring.0), "rings are locked in their order");
        for &ring in rings {
            let ticket = self.ticket.take_if(|(of, _)| *of == ring);
            let expired = self.expired;
            let granted =
                self.turn(ring).grant(ticket.as_ref().map(|(_, it)| it), granules, expired);
            match granted {
                Ok(()) => {}
                Err(Refusal::Full) => {
                    // It keeps its place only where it has one.
                    let refused = has_waited && ticket.is_none();
                    self.ticket = ticket;
                    self.expired |= refused;
                    return if self.full(ring, Need::Batch(granules)) {
                        Outcome::Refused(Reason::Full)
                    } else {
                        Outcome::Full
                    };
                }
                Err(refusal) => return Outcome::Refused(reason(refusal)),
            }
        }
        for &ring in rings {
            let label = Label { type_tag, attributes };
            match self.turn(ring).append_granted(label, payload) {
                Ok(seq) => {
                    seqs.push(seq);
                    self.accepted(ring, seq);
                }
                Err(refusal) => return Outcome::Refused(reason(refusal)),
            }
            self.taken(ring);
        }
        seqs.first().map_or(Outcome::Refused(Reason::Malformed), |seq| Outcome::Accepted(*seq))
    }

    fn append(&mut self, record: Record<'_>) -> Result<u64, Refusal> {
        let Record { ring, type_tag, payload, attributes } = record;
        let label = Label { type_tag, attributes };
        if !self.has_ticket(ring) {
            return self.turn(ring).append(label, payload);
        }
        let expired = self.expired;
        let Some((of, ticket)) = self.ticket.take() else {
            return self.turn(ring).append(label, payload);
        };
        let turn = self.turn(ring);
        let result = if expired {
            turn.append_expired(&ticket, label, payload)
        } else {
            turn.append_waiting(&ticket, label, payload)
        };
        if result == Err(Refusal::Full) {
            self.ticket = Some((of, ticket));
        }
        result
    }
}

fn refusal(reason: Reason) -> Refusal {
    match reason {
        Reason::Full => Refusal::Full,
        Reason::TooLarge => Refusal::TooLarge { bytes: 0, limit: 0 },
        Reason::BadType => Refusal::BadType,
        Reason::Malformed => Refusal::Malformed,
        Reason::Timeout => Refusal::Timeout,
        Reason::Disconnected => Refusal::Disconnected,
        Reason::Denied => Refusal::Denied,
        Reason::RateLimited => Refusal::RateLimited,
        Reason::NoMemory => Refusal::NoMemory,
        Reason::ShuttingDown => Refusal::ShuttingDown,
        Reason::Journal => Refusal::Journal,
    }
}

fn reason(refusal: Refusal) -> Reason {
    match refusal {
        Refusal::Full => Reason::Full,
        Refusal::TooLarge { .. } => Reason::TooLarge,
        Refusal::BadType => Reason::BadType,
        Refusal::Malformed => Reason::Malformed,
        Refusal::Timeout => Reason::Timeout,
        Refusal::Disconnected => Reason::Disconnected,
        Refusal::Denied => Reason::Denied,
        Refusal::RateLimited => Reason::RateLimited,
        Refusal::NoMemory => Reason::NoMemory,
        Refusal::ShuttingDown => Reason::ShuttingDown,
        Refusal::Journal => Reason::Journal,
    }
}

impl Sink for Batch<'_> {
    fn ring(&self, name: &[u8]) -> Option<RingFacts> {
        let index = self.shared.rings.iter().position(|ring| ring.name().as_bytes() == name)?;
        ring_facts(&self.shared.rings, index)
    }

    fn name(&self, ring: RingId) -> &str {
        self.ring_of(ring).name()
    }

    fn is_out_of_space(&self, ring: RingId) -> bool {
        self.ring_of(ring).is_out_of_space()
    }

    fn record(&mut self, record: Record<'_>) -> Outcome {
        #[cfg(feature = "otel")]
        let trace = self.trace_of(&record);
        #[cfg(feature = "otel")]
        let outcome = match &trace {
            Some(trace) => self.put_traced(trace, record),
            None => self.put(record),
        };
        #[cfg(not(feature = "otel"))]
        let outcome = self.put(record);
        self.tally(u64::from(matches!(outcome, Outcome::Accepted(_))), 0);
        outcome
    }

    fn room(&mut self, ring: RingId, batch: BatchSize) -> Room {
        // Where the batch wraps, up to one granule less than a record may be lost to padding.
        let granules = batch.granules + batch.largest.saturating_sub(1);
        let ticket = self.ticket.take_if(|(of, _)| *of == ring);
        let expired = self.expired;
        let result = self.turn(ring).grant(ticket.as_ref().map(|(_, it)| it), granules, expired);
        match result {
            Ok(()) => {
                self.taken(ring);
                self.granted = batch.records;
                #[cfg(feature = "otel")]
                self.traces.begin_batch();
                Room::Yes
            }
            Err(Refusal::Full) => {
                self.ticket = ticket;
                if self.full(ring, Need::Batch(granules)) {
                    Room::Refused(Reason::Full)
                } else {
                    Room::Full
                }
            }
            Err(refusal) => Room::Refused(reason(refusal)),
        }
    }

    fn fan_out(&mut self, rings: &[RingId], record: Record<'_>, seqs: &mut Vec<u64>) -> Outcome {
        #[cfg(feature = "otel")]
        let trace = self.trace_of(&record);
        #[cfg(feature = "otel")]
        let outcome = match &trace {
            Some(trace) => self.put_traced_in_all(trace, rings, record, seqs),
            None => self.put_in_all(rings, record, seqs),
        };
        #[cfg(not(feature = "otel"))]
        let outcome = self.put_in_all(rings, record, seqs);
        // One came in, however many rings it is in.
        self.tally(u64::from(matches!(outcome, Outcome::Accepted(_))), 0);
        outcome
    }

    #[cfg(feature = "otel")]
    fn root(&mut self) -> Option<[u8; TRACEPARENT_BYTES]> {
        self.shared.tracer.as_ref()?.root()
    }

    fn recall(&mut self, ring: RingId, keyed: &Keyed<'_>) -> Recall {
        // Whoever appended it has published it once the ring is ours.
        self.turn(ring);
        let now = self.now();
        let recall = lock(&self.shared.windows[usize::from(ring.0)]).recall(keyed, now);
        let metrics = self.ring_of(ring).metrics();
        match recall {
            Recall::New | Recall::Off => {}
            Recall::Seen(seen) => {
                metrics.keys_repeated.inc();
                // Its answer waits for the same as the first one.
                self.accepted(ring, seen.last);
            }
            Recall::Conflict => metrics.keys_conflicting.inc(),
        }
        recall
    }

    fn remember(&mut self, ring: RingId, keyed: &Keyed<'_>, seen: Seen) {
        let now = self.now();
        let forgotten =
            lock(&self.shared.windows[usize::from(ring.0)]).remember(keyed, seen, &[], now);
        self.ring_of(ring).metrics().keys_forgotten.inc_by(forgotten);
    }

    fn recall_all(&mut self, keyed: &Keyed<'_>, seqs: &mut Vec<u64>) -> Recall {
        let Some(&first) = keyed.rings.first() else { return Recall::Off };
        let recall = self.recall(first, keyed);
        if let Recall::Seen(_) = recall {
            // The window of a ring changes only under its turn, which `recall` has begun: the entry
            // is still there.
            let window = &self.shared.windows[usize::from(first.0)];
            seqs.extend_from_slice(lock(window).seqs(keyed));
            debug_assert_eq!(seqs.len(), keyed.rings.len());
            for (&ring, &seq) in keyed.rings.iter().zip(&*seqs).skip(1) {
                // Rings publish one after the other: it is in this one, too, once that is ours.
                self.turn(ring);
                self.accepted(ring, seq);
            }
        }
        recall
    }

    fn remember_all(&mut self, keyed: &Keyed<'_>, seqs: &[u64]) {
        let (Some(&first), Some(&seq), now) = (keyed.rings.first(), seqs.first(), self.now())
        else {
            return;
        };
        let seen = Seen { first: seq, last: seq, records: 1 };
        let window = &self.shared.windows[usize::from(first.0)];
        let forgotten = lock(window).remember(keyed, seen, seqs, now);
        self.ring_of(first).metrics().keys_forgotten.inc_by(forgotten);
    }

    fn subscription(&self, ring: RingId, name: &str) -> Option<u16> {
        self.ring_of(ring).subscription(name)
    }

    fn hold_until_consumed(&mut self, bytes: Range<usize>, wait: Consumption) {
        self.consumptions.push((bytes, wait));
    }

    fn next_seq(&self, ring: RingId) -> u64 {
        let open = self.turns[usize::from(ring.0)].as_ref();
        let of = self.ring_of(ring);
        of.first_seq() + of.metrics().records.get() + open.map_or(0, Turn::records)
    }

    fn note(&mut self, event: Event) {
        match event {
            Event::HttpStatus(status) => self.count(status),
            Event::Rejected { ring, reason, records } => {
                let refusal = refusal(reason);
                self.tally(0, records);
                let ring = ring.map(|ring| self.ring_of(ring));
                if let Some(ring) = ring {
                    ring.metrics().refused_many(refusal, records);
                }
                let ring = ring.map(|ring| ring.name());
                tracing::debug!(ring, records, reason = refusal.label(), "record refused");
            }
            Event::ProtocolError => {
                self.shared.metrics.protocol_errors.inc();
                tracing::debug!("connection closed: its peer broke the protocol");
            }
        }
    }

    fn is_ending(&self) -> bool {
        self.ending
    }

    fn now(&self) -> Instant {
        self.clock.instant()
    }

    fn date(&self) -> [u8; 29] {
        self.clock.date()
    }
}
