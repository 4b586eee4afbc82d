//! How a ring with a journal begins: with what its last life left.

use std::ops::ControlFlow;
use std::sync::Arc;

use aqueduct_core::geometry::low32;
use aqueduct_core::internals::{Framing, Header};
use aqueduct_core::layout::{DATA_OFFSET_MAPPED, GRANULE_BYTES};
use aqueduct_core::recovery::{Bound, Checkpoint, recover};
use aqueduct_core::{AttributeBlock, Memory, MemoryMut, Meta, Producer, Start};

use super::{Journaled, spawn};
use crate::journal::disk::Disk;
use crate::journal::format::{GRANULE, HEADER_BYTES};
use crate::journal::recover::Journal;
use crate::journal::{Facts, Failure, JournalSettings, Opened, Past, Stretch, Taken};
use crate::metrics::{JournalMetrics, Metrics};
use crate::ring::fed::Feeds;
use crate::ring::memory::RingMemory;
use crate::ring::{ClockName, Ring, RingError, RingProducer, RingSettings, now_ns, random_epoch};
use crate::segment::RingSegment;
use crate::sync::lock;

/// Takes position, header and content of a record.
pub(in crate::ring) type Each<'a> = dyn FnMut(u64, &Header, &[u8]) -> Result<(), RingError> + 'a;

/// Where the records of a past are.
pub(in crate::ring) trait Records {
    /// Calls with the records of a stretch, in pieces of whole granules, each with its position.
    /// They are to be checked where they arrive.
    fn copy(&self, stretch: &Stretch, to: &mut dyn FnMut(u64, &[u8])) -> Result<(), RingError>;

    /// Calls with position, header and content of each record, which was checked.
    fn each(&self, stretch: &Stretch, call: &mut Each<'_>) -> Result<(), RingError>;
}

impl Records for Opened<Disk> {
    fn copy(&self, stretch: &Stretch, to: &mut dyn FnMut(u64, &[u8])) -> Result<(), RingError> {
        Self::copy(self, stretch, to).map_err(|failure| RingError::Journal(Arc::new(failure)))
    }

    fn each(&self, stretch: &Stretch, call: &mut Each<'_>) -> Result<(), RingError> {
        let failed = self.walk(stretch, |found| {
            let content = &found.bytes[GRANULE_BYTES..];
            match call(found.position, &found.header, content) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => ControlFlow::Break(error),
            }
        });
        failed.map_err(|failure| RingError::Journal(Arc::new(failure)))?.map_or(Ok(()), Err)
    }
}

/// Records of a past that are in memory: those of its only stretch, checked.
pub(in crate::ring) struct InMemory {
    /// Epoch of the records.
    pub(in crate::ring) epoch: u64,
    /// The records as they were in the ring.
    pub(in crate::ring) bytes: Vec<u8>,
}

impl Records for InMemory {
    fn copy(&self, stretch: &Stretch, to: &mut dyn FnMut(u64, &[u8])) -> Result<(), RingError> {
        to(stretch.start, &self.bytes);
        Ok(())
    }

    fn each(&self, stretch: &Stretch, call: &mut Each<'_>) -> Result<(), RingError> {
        let framing = Framing::new(self.epoch);
        let (mut at, mut rest) = (stretch.start, &self.bytes[..]);
        while let Some((granule, after)) = rest.split_first_chunk::<GRANULE_BYTES>() {
            // They were checked when they were found.
            let Ok(header) = framing.decode(low32(at), granule) else { break };
            let granules = (header.len as usize).div_ceil(GRANULE_BYTES);
            let Some((content, next)) = after.split_at_checked(granules * GRANULE_BYTES) else {
                break;
            };
            call(at, &header, content)?;
            at += 1 + granules as u64;
            rest = next;
        }
        Ok(())
    }
}

/// A ring in the making.
struct Begun {
    producer: RingProducer,
    epoch: u64,
    journal: Journal<Disk>,
    /// Positions of the subscriptions that are known.
    positions: Vec<(String, u64)>,
    /// Just past the last record, and the number of the next one.
    end: (u64, u64),
}

impl Ring {
    /// Opens the ring's journal and begins with what was not released: in the same epoch where
    /// nobody can have seen more, in a new one otherwise.
    pub fn open(
        settings: &RingSettings,
        journals: &JournalSettings,
        metrics: &Metrics,
    ) -> Result<Arc<Self>, RingError> {
        let capacity = u32::try_from(settings.capacity_bytes / GRANULE).unwrap_or(u32::MAX);
        let facts = Facts {
            ring: settings.name.clone(),
            durability: settings.durability,
            capacity,
            clock_id: settings.clock.id(),
            boot: boot(),
            segment_bytes: journals.segment_bytes.max(settings.capacity_bytes),
        };
        let path = journals.directory.join(&settings.name);
        let disk = Disk::open(&path)
            .map_err(|error| RingError::Directory { path: path.clone(), error: error.into() })?;
        let refused = |error| RingError::Journal(Arc::new(error));
        let taken = Taken::take(disk).map_err(refused)?;
        // The memory of a large ring takes as long to make as its journal to read.
        let (segment, opened) = std::thread::scope(|scope| {
            let making = std::thread::Builder::new()
                .spawn_scoped(scope, || Self::make_segment(settings))
                .ok();
            let opened = Opened::of(taken, facts);
            let made = making.and_then(|making| making.join().ok());
            (made.unwrap_or_else(|| Self::make_segment(settings)), opened)
        });
        let opened = opened.map_err(refused)?;
        let numbers = metrics.journal(&settings.name);
        if let Some(past) = &opened.past {
            say(&settings.name, past);
        }
        let segment = segment?;
        let begun = begin(settings, &segment, opened, &numbers)?;
        let epoch = begun.epoch;
        let mut ring = Self::assemble(settings, metrics, segment, begun.producer, epoch, |name| {
            let known = begun.positions.iter().find(|(other, _)| other == name);
            known.map_or(Start::Latest, |(_, at)| Start::At(low32(*at)))
        })?;
        let mut journal = Journaled::new(begun.journal, journals, numbers);
        journal.feeds = feeds(settings, metrics, &journal, &begun.positions, begun.end);
        ring.journal = Some(journal);
        ring.hold_back()?;
        let ring = Arc::new(ring);
        if let Some(journal) = &ring.journal {
            ring.set_limit(journal);
        }
        let failed = |error: std::io::Error| RingError::Journal(Arc::new(error));
        spawn(&ring, "keeper", Self::keep_for_ever).map_err(failed)?;
        spawn(&ring, "journal", Self::commit_for_ever).map_err(failed)?;
        if let Some(feeds) = ring.feeds() {
            spawn(&ring, "feeder", Self::feed_for_ever).map_err(failed)?;
            // To find out what each has not released, before anything is published.
            feeds.bell.ring(false);
        }
        Ok(ring)
    }
}

/// Puts those together that may lag, each where it is; a new one begins at the end.
fn feeds(
    settings: &RingSettings,
    metrics: &Metrics,
    journal: &Journaled,
    positions: &[(String, u64)],
    end: (u64, u64),
) -> Option<Feeds> {
    let subscriptions = settings.lagging.iter().map(|name| {
        let known = positions.iter().find(|(other, _)| other == name);
        let metrics = metrics.subscription(&settings.name, name);
        (name.clone(), known.map_or(end.0, |(_, at)| *at), metrics)
    });
    let subscriptions: Vec<_> = subscriptions.collect();
    let log = lock(&journal.log);
    (!subscriptions.is_empty()).then(|| Feeds::new(&log, settings.lag_bytes, subscriptions, end))
}

fn begin(
    settings: &RingSettings,
    segment: &RingSegment,
    mut opened: Opened<Disk>,
    numbers: &JournalMetrics,
) -> Result<Begun, RingError> {
    let now = now_ns(ClockName::Realtime);
    let failed = |failure: Failure| RingError::Journal(Arc::new(failure));
    let past = opened.past.clone();
    if let Some(past) = past.as_ref().filter(|past| past.may_go_on)
        && let Some(producer) = go_on(settings, segment, past, &opened)?
    {
        let positions = past.positions.iter().chain(&past.lagging).cloned().collect::<Vec<_>>();
        check_held(settings, past)?;
        note_damage(numbers, past);
        let (epoch, end) = (past.epoch, (past.end, past.next_seq));
        let journal = opened.go_on(now).map_err(failed)?;
        return Ok(Begun { producer, epoch, journal, positions, end });
    }
    let past = past.map(|past| reach_back(settings, &mut opened, past)).transpose()?;
    if let Some(past) = &past {
        note_damage(numbers, past);
    }
    let epoch = random_epoch()?;
    let mut producer = Ring::format(settings, segment, epoch, 0)?;
    let (mut spill, mut spilled) = (None, 0);
    let unread_bytes: u64 = past.iter().flat_map(|past| &past.stretches).map(Stretch::bytes).sum();
    let bytes = HEADER_BYTES as u64 + opened.segment_bytes().max(unread_bytes);
    let no_space = |failure: Failure| {
        if failure.is_out_of_space() {
            return RingError::Space { bytes, failure: Arc::new(failure) };
        }
        failed(failure)
    };
    let positions = match &past {
        Some(past) => {
            let mut spill = |end: u32| {
                let file = match &mut spill {
                    Some(file) => file,
                    none => none.insert(opened.spill().map_err(no_space)?),
                };
                file.write(&in_ring(segment, settings, spilled, end)).map_err(no_space)?;
                spilled = end;
                Ok(())
            };
            copy_past(settings, &mut producer, past, &opened, Some(&mut spill))?
        }
        None => settings.subscriptions.iter().map(|name| (name.clone(), 0)).collect(),
    };
    let _ = producer.publish();
    let records = in_ring(segment, settings, spilled, position(&producer));
    let content = (&records[..], producer.next_seq());
    let is_held = |(name, _): &(String, u64)| !settings.lagging.contains(name);
    let places = positions.iter().cloned().partition(is_held);
    let journal = opened.begin_epoch(epoch, spill, content, places, now).map_err(no_space)?;
    if let Some(past) = past {
        let records = producer.next_seq();
        tracing::warn!(
            ring = %settings.name,
            epoch = format!("{epoch:016x}"),
            before = format!("{:016x}", past.epoch),
            records,
            "a new epoch begins with what was not released"
        );
    }
    let end = (u64::from(position(&producer)), producer.next_seq());
    Ok(Begun { producer, epoch, journal, positions, end })
}

/// Has the past say where every subscription begins in a new epoch, and reach as far back as those
/// need it that may lag.
fn reach_back(
    settings: &RingSettings,
    opened: &mut Opened<Disk>,
    mut past: Past,
) -> Result<Past, RingError> {
    let start = past.stretches.first().map_or(past.end, |first| first.start);
    if past.positions.is_empty() && past.lagging.is_empty() && !settings.lagging.is_empty() {
        // Nothing says what was released: what is kept was not, as far back as one may lag.
        let reach = settings.lag_bytes / GRANULE_BYTES as u64;
        let far = opened.segment_before(past.end.saturating_sub(reach)).min(start);
        let place = |name: &String| {
            (name.clone(), if settings.lagging.contains(name) { far } else { start })
        };
        past.positions = settings.subscriptions.iter().map(place).collect();
    }
    past.positions.append(&mut past.lagging);
    let lagging = past.positions.iter().filter(|(name, _)| settings.lagging.contains(name));
    let from = lagging.map(|(_, at)| *at).min().unwrap_or(start);
    if from < start {
        let from = from.max(opened.first_position());
        opened.reach_back(from).map_err(|failure| RingError::Journal(Arc::new(failure)))?;
        if let Some(reached) = &opened.past {
            for damage in reached.damage.iter().skip(past.damage.len()) {
                tracing::error!(ring = %settings.name, %damage, "the journal is damaged");
            }
            past.stretches.clone_from(&reached.stretches);
            past.damage.clone_from(&reached.damage);
        }
    }
    let is_held =
        |name: &String| settings.subscriptions.contains(name) && !settings.lagging.contains(name);
    let far = past.positions.iter().find(|(name, at)| is_held(name) && *at < start);
    match far {
        Some((name, _)) => Err(RingError::Lagging { subscription: name.clone() }),
        None => Ok(past),
    }
}

/// Copies records out of a ring that is not in use yet.
fn in_ring(segment: &RingSegment, settings: &RingSettings, from: u32, to: u32) -> Vec<u8> {
    let capacity = usize::try_from(settings.capacity_bytes).unwrap_or(usize::MAX);
    let mut records = vec![0; to.wrapping_sub(from) as usize * GRANULE_BYTES];
    let first = from as usize * GRANULE_BYTES % capacity;
    let to_end = records.len().min(capacity - first);
    let (front, back) = records.split_at_mut(to_end);
    segment.region().read(DATA_OFFSET_MAPPED as usize + first, front);
    if !back.is_empty() {
        segment.region().read(DATA_OFFSET_MAPPED as usize, back);
    }
    records
}

/// Checks that a subscription that may not lag any more is where the ring holds its records.
fn check_held(settings: &RingSettings, past: &Past) -> Result<(), RingError> {
    let start = past.stretches.first().map_or(past.end, |first| first.start);
    let is_held =
        |name: &String| settings.subscriptions.contains(name) && !settings.lagging.contains(name);
    let far = past.lagging.iter().find(|(name, at)| is_held(name) && *at < start);
    far.map_or(Ok(()), |(name, _)| Err(RingError::Lagging { subscription: name.clone() }))
}

fn position(producer: &RingProducer) -> u32 {
    producer.ring().tail()
}

/// Puts the records of the past where they were. `None` if this ring is not made as the last one.
pub(in crate::ring) fn go_on(
    settings: &RingSettings,
    segment: &RingSegment,
    past: &Past,
    records: &impl Records,
) -> Result<Option<RingProducer>, RingError> {
    let start = past.stretches.first().map_or(past.end, |first| first.start);
    let capacity = settings.capacity_bytes / GRANULE;
    let fits = past.stretches.len() <= 1
        && u64::from(past.capacity) == capacity
        && past.end.saturating_sub(start) < capacity
        && past.stretches.iter().all(|each| each.largest <= settings.max_payload_bytes);
    if !fits {
        return Ok(None);
    }
    drop(Ring::format(settings, segment, past.epoch, low32(start))?);
    let region = segment.region();
    for stretch in &past.stretches {
        records.copy(stretch, &mut |mut position, mut rest| {
            while !rest.is_empty() {
                let granule = usize::try_from(position % capacity).unwrap_or(0);
                let at = granule * GRANULE_BYTES;
                let room = usize::try_from(settings.capacity_bytes).unwrap_or(0) - at;
                let (piece, after) = rest.split_at(rest.len().min(room));
                region.write(DATA_OFFSET_MAPPED as usize + at, piece);
                position += (piece.len() / GRANULE_BYTES) as u64;
                rest = after;
            }
        })?;
    }
    let is_empty = past.end == start;
    let seq = is_empty.then_some(past.next_seq);
    let checkpoint = Checkpoint { position: low32(start), seq };
    let found = recover(&region, checkpoint, Bound::Longest).map_err(RingError::Recover)?;
    if (found.end, found.next_seq) != (low32(past.end), Some(past.next_seq)) {
        return Ok(None);
    }
    let producer = Producer::resume(RingMemory::new(region), &found);
    producer.map(Some).map_err(RingError::Recover)
}

/// Takes what a ring holds up to a position, so that it may be written over.
pub(in crate::ring) type Spilling<'a> = dyn FnMut(u32) -> Result<(), RingError> + 'a;

/// Appends the records of the past to a new ring; returns where each subscription is in it. What
/// only those need that may lag is spilled when the ring is full.
pub(in crate::ring) fn copy_past(
    settings: &RingSettings,
    producer: &mut RingProducer,
    past: &Past,
    records: &impl Records,
    mut spill: Option<&mut Spilling<'_>>,
) -> Result<Vec<(String, u64)>, RingError> {
    // A subscription of its own, so that a ring that is too small refuses instead of overwriting.
    let mut guard = producer.subscribe(Start::Latest)?;
    let known = |name: &String| past.positions.iter().find(|(other, _)| other == name);
    let mut positions: Vec<(String, u64, u64)> = settings
        .subscriptions
        .iter()
        .filter_map(|name| known(name).map(|(_, at)| (name.clone(), *at, u64::MAX)))
        .collect();
    let is_new = past.positions.is_empty();
    let mut append = |at: u64, header: &Header, content: &[u8]| {
        if !header.is_data() {
            return Ok(());
        }
        let place = u64::from(producer.ring().tail());
        for (_, wanted, found) in &mut positions {
            if *found == u64::MAX && *wanted <= at {
                *found = place;
            }
        }
        let bytes = &content[..header.len as usize];
        let (payload, block) = bytes.split_at(bytes.len().saturating_sub(header.attribute_bytes()));
        let meta = Meta { type_tag: header.type_tag, timestamp_ns: header.timestamp_ns };
        let attributes = AttributeBlock::from_bytes(block).unwrap_or(AttributeBlock::NONE);
        let refused = match producer.push_with(meta, payload, attributes) {
            Ok(_) => return Ok(()),
            Err(error) => RingError::Unread { error },
        };
        let Some(spill) = &mut spill else { return Err(refused) };
        // Up to where somebody holds the ring back.
        let tail = producer.ring().tail();
        let held = positions
            .iter()
            .filter(|(name, _, at)| *at != u64::MAX && !settings.lagging.contains(name));
        let held = held.map(|(_, _, at)| low32(*at)).min().unwrap_or(tail);
        spill(tail)?;
        producer.unsubscribe(guard);
        guard = producer.subscribe(Start::At(held))?;
        producer.push_with(meta, payload, attributes).map(drop).map_err(|_| refused)
    };
    for stretch in &past.stretches {
        records.each(stretch, &mut append)?;
    }
    producer.unsubscribe(guard);
    let end = u64::from(producer.ring().tail());
    if is_new {
        return Ok(settings.subscriptions.iter().map(|name| (name.clone(), 0)).collect());
    }
    Ok(positions.into_iter().map(|(name, _, found)| (name, found.min(end))).collect())
}

/// Counts what is missing, until the next start.
fn note_damage(numbers: &JournalMetrics, past: &Past) {
    let gauge = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    numbers.damaged_places.set(gauge(past.damage.len() as u64));
    numbers.missing_records.set(gauge(past.missing_records()));
}

/// Says what was found and what is missing.
fn say(ring: &str, past: &Past) {
    let start = past.stretches.first().map_or(past.end, |first| first.start);
    let unread_bytes: u64 = past.stretches.iter().map(Stretch::bytes).sum();
    let epoch = format!("{:016x}", past.epoch);
    let (end, next_seq) = (past.end, past.next_seq);
    tracing::info!(ring, epoch, start, end, next_seq, unread_bytes, "journal recovered");
    if let Some(cut) = past.torn {
        tracing::warn!(ring, position = end, %cut, "the journal ends in a write that was never answered: it is cut");
    }
    for damage in &past.damage {
        tracing::error!(ring, %damage, "the journal is damaged");
    }
}

/// Boot of the machine; zeros where the system does not say.
fn boot() -> [u8; 16] {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let mut boot = [0; 16];
    let digits: Vec<u8> = text
        .bytes()
        .filter_map(|digit| char::from(digit).to_digit(16))
        .filter_map(|digit| u8::try_from(digit).ok())
        .collect();
    for (byte, pair) in boot.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = pair[0] << 4 | pair[1];
    }
    boot
}
