//! One ring's life on a file system, and an oracle that knows what anybody could have seen.
//!
//! It calls the journal as a ring does: what was appended is committed, then published and
//! answered, and cursors and segments are seen to in between.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use aqueduct_core::internals::{Framing, Header};
use aqueduct_core::layout::{KIND_DATA, KIND_PAD};
use aqueduct_core::payload_crc;

use super::sim::{Choice, Sim};
use crate::journal::follow::{Follow, Stop};
use crate::journal::format::{Cursors, Durability, GRANULE};
use crate::journal::log::{Facts, Failure, prepare};
use crate::journal::recover::{Journal, OpenError, Opened, Past};

pub(super) const BOOT: [u8; 16] = [7; 16];
/// Granules of the ring.
pub(super) const CAPACITY: u32 = 32;
const SUBSCRIPTIONS: [&str; 2] = ["a", "b"];
/// The one that may lag.
const FAR: &str = "far";

pub(super) fn facts(durability: Durability) -> Facts {
    Facts {
        ring: "ring".to_owned(),
        durability,
        capacity: CAPACITY,
        clock_id: 0,
        boot: BOOT,
        segment_bytes: u64::from(CAPACITY) * GRANULE,
    }
}

/// Everything that was ever promised or shown.
#[derive(Clone, Default)]
pub(super) struct Oracle {
    /// What was sent under a number: maybe several times, if nobody was told.
    sent: BTreeMap<(u64, u64), Vec<Vec<u8>>>,
    /// What was published and answered.
    published: BTreeMap<(u64, u64), Vec<u8>>,
    /// Where each record is, by number.
    places: BTreeMap<(u64, u64), u64>,
    /// What each subscription has truly released, by position.
    released: [u64; 2],
    /// The same of the one that may lag.
    far: u64,
    epoch: u64,
}

impl Oracle {
    /// Compares what was found with what was promised. `numbers_hold`: nobody can have seen what is
    /// not there, so the epoch must go on.
    pub(super) fn check(
        &self,
        past: Option<&Past>,
        records: &[FoundRecord],
        numbers_hold: bool,
    ) -> Result<(), String> {
        let Some(past) = past else {
            return if self.published.is_empty() {
                Ok(())
            } else {
                Err(format!("nothing is left of {} records", self.published.len()))
            };
        };
        if past.epoch != self.epoch && !self.published.is_empty() {
            let of_now = self.published.keys().any(|(epoch, _)| *epoch == self.epoch);
            if of_now {
                return Err(format!("epoch {} instead of {}", past.epoch, self.epoch));
            }
        }
        let mut found = BTreeMap::new();
        let mut last = None;
        for (seq, position, payload) in records.iter().cloned() {
            let number = (past.epoch, seq);
            if !self.sent.get(&number).is_some_and(|sent| sent.contains(&payload)) {
                return Err(format!("record {seq} is none that was ever sent: {payload:?}"));
            }
            if last.is_some_and(|last| seq != last + 1) || found.contains_key(&seq) {
                return Err(format!("record {seq} after {last:?}"));
            }
            last = Some(seq);
            found.insert(seq, (position, payload));
        }
        let slowest = self.released.iter().min().copied().unwrap_or(0);
        for ((epoch, seq), payload) in &self.published {
            if *epoch != past.epoch {
                continue;
            }
            if past.may_go_on && *seq >= past.next_seq {
                return Err(format!("number {seq} is given again"));
            }
            let released = self.places.get(&(*epoch, *seq)).is_some_and(|at| *at < slowest);
            match found.get(seq) {
                Some((_, found)) if found != payload => {
                    return Err(format!("record {seq} is another one now"));
                }
                None if !released => return Err(format!("record {seq} is lost")),
                _ => {}
            }
        }
        if past.epoch == self.epoch {
            for (name, at) in SUBSCRIPTIONS.iter().zip(self.released) {
                let saved = past.positions.iter().find(|(other, _)| other == name);
                if saved.is_some_and(|(_, saved)| *saved > at) {
                    return Err(format!("subscription {name} is past what it has released"));
                }
            }
            let far = past.lagging.first().map(|(_, at)| *at);
            if far.is_none_or(|far| far > self.far) {
                return Err(format!("the one that lags is at {far:?}, not at {}", self.far));
            }
        }
        if !past.damage.is_empty() {
            return Err(format!("damage is reported where there is none: {:?}", past.damage));
        }
        if numbers_hold && !past.may_go_on {
            return Err("the epoch ends for nothing".to_owned());
        }
        Ok(())
    }
}

impl Oracle {
    /// Compares what the one that may lag is fed with what was published.
    pub(super) fn check_fed(&self, opened: &Opened<Sim>) -> Result<(), String> {
        let Some(past) = &opened.past else { return Ok(()) };
        let Some((_, far)) = past.lagging.first() else { return Ok(()) };
        let mut follow = Follow::new(std::sync::Arc::clone(opened.files()), past.epoch);
        let mut found = BTreeMap::new();
        let span = (*far, past.end);
        let stop = follow.read(opened.chain(), span, None, 64, |record| {
            if record.header.is_data() {
                found.insert(record.header.seq, record.content().0.to_vec());
            }
            ControlFlow::Continue(())
        });
        let stop = stop.map_err(|failure| format!("it is not fed: {failure}"))?;
        if stop != Stop::Done {
            return Err(format!("it is not fed from {far} on: {stop:?}"));
        }
        let of_now = self.published.iter().filter(|((epoch, _), _)| *epoch == past.epoch);
        for ((epoch, seq), payload) in of_now {
            let is_released = self.places.get(&(*epoch, *seq)).is_some_and(|at| at < far);
            if !is_released && found.get(seq) != Some(payload) {
                return Err(format!("the one that lags is not fed record {seq}"));
            }
        }
        Ok(())
    }

    /// Whether this was ever sent under this number.
    pub(super) fn was_sent(&self, epoch: u64, seq: u64, payload: &[u8]) -> bool {
        self.sent.get(&(epoch, seq)).is_some_and(|sent| sent.iter().any(|it| it == payload))
    }
}

/// Number, position and payload of a record.
pub(super) type FoundRecord = (u64, u64, Vec<u8>);

/// What was found, as a ring gets it: read once more, and both ways of reading say the same.
pub(super) fn records(opened: &Opened<Sim>) -> Result<Vec<FoundRecord>, Failure> {
    let (mut records, mut walked) = (Vec::new(), Vec::new());
    let Some(past) = &opened.past else { return Ok(records) };
    let framing = Framing::new(past.epoch);
    for stretch in &past.stretches {
        let mut bytes = Vec::new();
        opened.copy(stretch, |position, piece| {
            assert_eq!(position, stretch.start + bytes.len() as u64 / GRANULE);
            bytes.extend_from_slice(piece);
        })?;
        assert_eq!(bytes.len() as u64, stretch.bytes());
        let mut at = 0;
        while at < bytes.len() {
            let position = stretch.start + at as u64 / GRANULE;
            let granule: &[u8; 32] = bytes[at..at + 32].try_into().expect("whole");
            #[allow(clippy::cast_possible_truncation, reason = "positions of the ring")]
            let header = framing.decode(position as u32, granule).expect("it was checked");
            let len = header.len as usize;
            if header.is_data() {
                assert!(header.len <= stretch.largest);
                records.push((header.seq, position, bytes[at + 32..at + 32 + len].to_vec()));
            }
            at += 32 + len.div_ceil(32) * 32;
        }
        let broken: Option<()> = opened.walk(stretch, |found| {
            if found.header.is_data() {
                walked.push((found.header.seq, found.position, found.content().0.to_vec()));
            }
            ControlFlow::Continue(())
        })?;
        assert!(broken.is_none());
    }
    assert_eq!(records, walked);
    Ok(records)
}

/// What is appended and not committed, or committed.
pub(super) struct Batch {
    bytes: Vec<u8>,
    first_seq: u64,
    numbers: Vec<u64>,
}

/// One process.
pub(super) struct Life {
    pub(super) journal: Journal<Sim>,
    sim: Sim,
    epoch: u64,
    framing: Framing,
    /// Just past what was appended, and the number of the next record.
    head: u64,
    seq: u64,
    /// Just past what was published, and the number of the record there.
    pub(super) tail: u64,
    tail_seq: u64,
}

impl Life {
    /// Starts, as a ring does. `epoch` is for a new one.
    pub(super) fn start(
        sim: &Sim,
        durability: Durability,
        boot: [u8; 16],
        epoch: u64,
        oracle: &mut Oracle,
    ) -> Result<Self, OpenError> {
        let opened = Opened::open(sim.clone(), Facts { boot, ..facts(durability) })?;
        let found = records(&opened).map_err(OpenError::Failed)?;
        let go_on = opened.past.as_ref().filter(|past| past.may_go_on);
        let (journal, epoch, head, seq) = if let Some(past) = go_on {
            let (epoch, head, seq) = (past.epoch, past.end, past.next_seq);
            let past = past.clone();
            let journal = opened.go_on(0).map_err(OpenError::Failed)?;
            // What was not published before is now.
            for (seq, position, payload) in found {
                oracle.published.insert((epoch, seq), payload);
                oracle.places.insert((epoch, seq), position);
            }
            for (released, name) in oracle.released.iter_mut().zip(SUBSCRIPTIONS) {
                let saved = past.positions.iter().find(|(other, _)| other == name);
                *released = saved.map_or(*released, |(_, saved)| *saved);
            }
            oracle.far = past.lagging.first().map_or(oracle.far, |(_, saved)| *saved);
            (journal, epoch, head, seq)
        } else {
            let (mut bytes, mut seq) = (Vec::new(), 0);
            let framing = Framing::new(epoch);
            for (_, _, payload) in found {
                let position = bytes.len() as u64 / GRANULE;
                bytes.extend(data(&framing, position, seq, &payload));
                oracle.sent.entry((epoch, seq)).or_default().push(payload.clone());
                oracle.published.insert((epoch, seq), payload);
                oracle.places.insert((epoch, seq), position);
                seq += 1;
            }
            let positions = SUBSCRIPTIONS.map(|name| (name.to_owned(), 0)).to_vec();
            let journal = opened
                .begin_epoch(epoch, None, (&bytes, seq), (positions, vec![(FAR.to_owned(), 0)]), 0)
                .map_err(OpenError::Failed)?;
            (oracle.released, oracle.far) = ([0; 2], 0);
            (journal, epoch, bytes.len() as u64 / GRANULE, seq)
        };
        oracle.epoch = epoch;
        let framing = Framing::new(epoch);
        let sim = sim.clone();
        Ok(Self { journal, sim, epoch, framing, head, seq, tail: head, tail_seq: seq })
    }

    /// Appends records with payloads of these sizes, as far as the ring has room.
    pub(super) fn append(
        &mut self,
        sizes: &[usize],
        content: &mut impl Choice,
        oracle: &mut Oracle,
    ) -> Batch {
        let mut batch = Batch { bytes: Vec::new(), first_seq: self.seq, numbers: Vec::new() };
        let capacity = u64::from(CAPACITY);
        for &size in sizes {
            let granules = 1 + (size as u64).div_ceil(GRANULE);
            let room = capacity - self.head % capacity;
            let pad = if granules > room { room } else { 0 };
            let slowest = oracle.released.iter().min().copied().unwrap_or(0);
            if self.head + pad + granules > slowest + capacity - 1 {
                break;
            }
            if pad > 0 {
                let len = u32::try_from((pad - 1) * GRANULE).expect("small");
                let header = Header::padding(KIND_PAD, len, self.seq);
                batch.bytes.extend(encode(&self.framing, self.head, &header));
                // Whatever lies there.
                batch.bytes.resize(batch.bytes.len() + len as usize, 0xa5);
                self.head += pad;
            }
            let payload: Vec<u8> =
                (0..size).map(|_| u8::try_from(content.choose(256)).unwrap_or(0)).collect();
            batch.bytes.extend(data(&self.framing, self.head, self.seq, &payload));
            oracle.sent.entry((self.epoch, self.seq)).or_default().push(payload);
            oracle.places.insert((self.epoch, self.seq), self.head);
            batch.numbers.push(self.seq);
            self.head += granules;
            self.seq += 1;
        }
        batch
    }

    /// Commits a batch; what is committed is published and answered.
    pub(super) fn commit(&mut self, batch: &Batch, oracle: &mut Oracle) -> Result<(), Failure> {
        self.journal.log.commit(&batch.bytes, batch.first_seq, 0)?;
        for seq in &batch.numbers {
            let sent = &oracle.sent[&(self.epoch, *seq)];
            let payload = sent.last().expect("it was sent").clone();
            oracle.published.insert((self.epoch, *seq), payload);
        }
        self.tail += batch.bytes.len() as u64 / GRANULE;
        self.tail_seq += batch.numbers.len() as u64;
        Ok(())
    }

    /// One subscription releases up to so many records.
    pub(super) fn release(&self, which: usize, records: usize, oracle: &mut Oracle) {
        let places = oracle.places.iter().filter(|((epoch, _), at)| {
            *epoch == self.epoch && **at >= oracle.released[which] && **at < self.tail
        });
        let after: Vec<u64> = places.map(|(_, at)| *at).collect();
        oracle.released[which] = after.get(records).copied().unwrap_or(self.tail);
    }

    /// The one that may lag releases up to so many records.
    pub(super) fn release_far(&self, records: usize, oracle: &mut Oracle) {
        let places = oracle.places.iter().filter(|((epoch, _), at)| {
            *epoch == self.epoch && **at >= oracle.far && **at < self.tail
        });
        let after: Vec<u64> = places.map(|(_, at)| *at).collect();
        oracle.far = after.get(records).copied().unwrap_or(self.tail);
    }

    /// Writes the cursors, and makes them durable if `sync`.
    pub(super) fn save(&mut self, sync: bool, oracle: &Oracle) -> std::io::Result<()> {
        let positions = SUBSCRIPTIONS.map(str::to_owned).into_iter().zip(oracle.released);
        let cursors = Cursors {
            epoch: self.epoch,
            published: self.tail,
            next_seq: self.tail_seq,
            is_end: false,
            positions: positions.collect(),
            lagging: vec![(FAR.to_owned(), oracle.far)],
        };
        self.journal.cursors.write(&cursors)?;
        if sync {
            self.journal.cursors.sync()?;
        }
        Ok(())
    }

    /// Saves the cursors as a process does that ends in order.
    pub(super) fn end(&mut self, oracle: &Oracle) -> std::io::Result<()> {
        self.journal.log.sync().map_err(std::io::Error::other)?;
        let positions = SUBSCRIPTIONS.map(str::to_owned).into_iter().zip(oracle.released);
        let (epoch, published, next_seq) = (self.epoch, self.tail, self.tail_seq);
        let (positions, lagging) = (positions.collect(), vec![(FAR.to_owned(), oracle.far)]);
        let is_end = true;
        let cursors = Cursors { epoch, published, next_seq, is_end, positions, lagging };
        self.journal.cursors.write(&cursors)?;
        self.journal.cursors.sync()
    }

    /// Removes what nobody needs.
    pub(super) fn tidy(&mut self) -> Result<(), Failure> {
        self.journal.log.retain(&self.journal.cursors, |_, _| true).map(drop)
    }

    /// Reserves the next segment.
    pub(super) fn prepare(&mut self) -> Result<(), Failure> {
        if self.journal.log.needs_segment() {
            let prepared = prepare(&self.sim, self.journal.log.facts())?;
            self.journal.log.spare(prepared);
        }
        Ok(())
    }
}

/// The records of the past as a new epoch has them, and how many.
pub(super) fn renumbered(records: &[FoundRecord], epoch: u64) -> (Vec<u8>, u64) {
    let (framing, mut bytes) = (Framing::new(epoch), Vec::new());
    for (seq, (_, _, payload)) in (0..).zip(records) {
        bytes.extend(data(&framing, bytes.len() as u64 / GRANULE, seq, payload));
    }
    (bytes, records.len() as u64)
}

/// A segment, its header included, of so many granules: see the test that walks it.
pub(super) fn reaching_far(granules: u64) -> Vec<u8> {
    let framing = Framing::new(1);
    let mut bytes = vec![0; crate::journal::format::HEADER_BYTES];
    for position in 0..granules - 1 {
        let len = u32::try_from((granules - position - 1) * GRANULE / 2).expect("small");
        let header = Header {
            len,
            kind: KIND_DATA,
            flags: 0,
            type_tag: 0,
            seq: 0,
            timestamp_ns: 0,
            payload_crc: 0xbad,
        };
        bytes.extend(encode(&framing, position, &header));
    }
    bytes.extend(data(&framing, granules - 1, 7, &[]));
    bytes
}

fn encode(framing: &Framing, position: u64, header: &Header) -> [u8; 32] {
    #[allow(clippy::cast_possible_truncation, reason = "positions of the ring")]
    framing.encode(position as u32, header)
}

fn data(framing: &Framing, position: u64, seq: u64, payload: &[u8]) -> Vec<u8> {
    let header = Header {
        len: u32::try_from(payload.len()).expect("small"),
        kind: KIND_DATA,
        flags: 0,
        type_tag: 0,
        seq,
        timestamp_ns: seq * 1000,
        payload_crc: payload_crc(payload),
    };
    let mut bytes = encode(framing, position, &header).to_vec();
    bytes.extend_from_slice(payload);
    bytes.resize(bytes.len().next_multiple_of(32), 0);
    bytes
}
