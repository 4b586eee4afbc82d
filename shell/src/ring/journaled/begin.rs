//! How a ring with a journal begins: with what its last life left.

use std::sync::Arc;

use aqueduct_core::geometry::low32;
use aqueduct_core::internals::Framing;
use aqueduct_core::layout::{DATA_OFFSET_MAPPED, GRANULE_BYTES};
use aqueduct_core::recovery::{Bound, Checkpoint, recover};
use aqueduct_core::{AttributeBlock, Memory, MemoryMut, Meta, Producer, Start};

use super::{Journaled, spawn};
use crate::journal::disk::Disk;
use crate::journal::format::GRANULE;
use crate::journal::recover::Journal;
use crate::journal::{Facts, JournalSettings, Opened, Past};
use crate::metrics::Metrics;
use crate::ring::memory::RingMemory;
use crate::ring::{ClockName, Ring, RingError, RingProducer, RingSettings, now_ns, random_epoch};
use crate::segment::RingSegment;

/// A ring in the making.
struct Begun {
    producer: RingProducer,
    epoch: u64,
    journal: Journal<Disk>,
    /// Positions of the subscriptions that are known.
    positions: Vec<(String, u64)>,
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
        let opened =
            Opened::open(disk, facts).map_err(|error| RingError::Journal(Arc::new(error)))?;
        if let Some(past) = &opened.past {
            say(&settings.name, past);
        }
        let segment = Self::make_segment(settings)?;
        let begun = begin(settings, &segment, opened)?;
        let epoch = begun.epoch;
        let mut ring = Self::assemble(settings, metrics, segment, begun.producer, epoch, |name| {
            let known = begun.positions.iter().find(|(other, _)| other == name);
            known.map_or(Start::Latest, |(_, at)| Start::At(low32(*at)))
        })?;
        let metrics = metrics.journal(&settings.name);
        ring.journal = Some(Journaled::new(begun.journal, journals, metrics));
        ring.hold_back()?;
        let ring = Arc::new(ring);
        if let Some(journal) = &ring.journal {
            ring.set_limit(journal);
        }
        let failed = |error: std::io::Error| RingError::Journal(Arc::new(error));
        spawn(&ring, "keeper", Self::keep_for_ever).map_err(failed)?;
        spawn(&ring, "journal", Self::commit_for_ever).map_err(failed)?;
        Ok(ring)
    }
}

fn begin(
    settings: &RingSettings,
    segment: &RingSegment,
    mut opened: Opened<Disk>,
) -> Result<Begun, RingError> {
    let now = now_ns(ClockName::Realtime);
    let failed = |failure| RingError::Journal(Arc::new(failure));
    // The records may be many: they are moved, not copied.
    let stretches = opened.past.as_mut().map(|past| std::mem::take(&mut past.stretches));
    let past = opened.past.clone();
    let past = past.map(|past| Past { stretches: stretches.unwrap_or_default(), ..past });
    if let Some(past) = past.as_ref().filter(|past| past.may_go_on)
        && let Some(producer) = go_on(settings, segment, past)?
    {
        let (epoch, positions) = (past.epoch, past.positions.clone());
        let journal = opened.go_on(now).map_err(failed)?;
        return Ok(Begun { producer, epoch, journal, positions });
    }
    let epoch = random_epoch()?;
    let mut producer = Ring::format(settings, segment, epoch, 0)?;
    let positions = match &past {
        Some(past) => copy_past(settings, &mut producer, past)?,
        None => settings.subscriptions.iter().map(|name| (name.clone(), 0)).collect(),
    };
    let _ = producer.publish();
    // The ring has not wrapped: it was empty, and everything fits.
    let mut records = vec![0; position(&producer) as usize * GRANULE_BYTES];
    segment.region().read(DATA_OFFSET_MAPPED as usize, &mut records);
    let content = (&records[..], producer.next_seq());
    let journal = opened.begin_epoch(epoch, content, positions.clone(), now).map_err(failed)?;
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
    Ok(Begun { producer, epoch, journal, positions })
}

fn position(producer: &RingProducer) -> u32 {
    producer.ring().tail()
}

/// Puts the records of the past where they were. `None` if this ring is not made as the last one.
pub(in crate::ring) fn go_on(
    settings: &RingSettings,
    segment: &RingSegment,
    past: &Past,
) -> Result<Option<RingProducer>, RingError> {
    let start = past.stretches.first().map_or(past.end, |first| first.start);
    let capacity = settings.capacity_bytes / GRANULE;
    let fits = past.stretches.len() <= 1
        && u64::from(past.capacity) == capacity
        && past.end.saturating_sub(start) < capacity
        && largest(past) <= u64::from(settings.max_payload_bytes);
    if !fits {
        return Ok(None);
    }
    drop(Ring::format(settings, segment, past.epoch, low32(start))?);
    let region = segment.region();
    let mut position = start;
    let mut rest = past.stretches.first().map_or(&[][..], |first| &first.bytes[..]);
    while !rest.is_empty() {
        let granule = usize::try_from(position % capacity).unwrap_or(0);
        let room = usize::try_from(settings.capacity_bytes).unwrap_or(0) - granule * GRANULE_BYTES;
        let (piece, after) = rest.split_at(rest.len().min(room));
        region.write(DATA_OFFSET_MAPPED as usize + granule * GRANULE_BYTES, piece);
        position += (piece.len() / GRANULE_BYTES) as u64;
        rest = after;
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

/// Bytes of the largest record.
fn largest(past: &Past) -> u64 {
    let mut largest = 0;
    each(past, |_, header, _| {
        largest = largest.max(u64::from(header.len));
        Ok(())
    })
    .map_or(u64::MAX, |()| largest)
}

/// Appends the records of the past to a new ring; returns where each subscription is in it.
pub(in crate::ring) fn copy_past(
    settings: &RingSettings,
    producer: &mut RingProducer,
    past: &Past,
) -> Result<Vec<(String, u64)>, RingError> {
    // A subscription of its own, so that a ring that is too small refuses instead of overwriting.
    let guard = producer.subscribe(Start::Latest)?;
    let known = |name: &String| past.positions.iter().find(|(other, _)| other == name);
    let mut positions: Vec<(String, u64, u64)> = settings
        .subscriptions
        .iter()
        .filter_map(|name| known(name).map(|(_, at)| (name.clone(), *at, u64::MAX)))
        .collect();
    let is_new = past.positions.is_empty();
    each(past, |at, header, content| {
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
        producer
            .push_with(meta, payload, attributes)
            .map(drop)
            .map_err(|error| RingError::Unread { error })
    })?;
    producer.unsubscribe(guard);
    let end = u64::from(producer.ring().tail());
    if is_new {
        return Ok(settings.subscriptions.iter().map(|name| (name.clone(), 0)).collect());
    }
    Ok(positions.into_iter().map(|(name, _, found)| (name, found.min(end))).collect())
}

/// Calls with position, header and content of each DATA record.
fn each(
    past: &Past,
    mut call: impl FnMut(u64, &aqueduct_core::internals::Header, &[u8]) -> Result<(), RingError>,
) -> Result<(), RingError> {
    let framing = Framing::new(past.epoch);
    for stretch in &past.stretches {
        let mut rest = &stretch.bytes[..];
        let mut at = stretch.start;
        while let Some((granule, after)) = rest.split_first_chunk::<GRANULE_BYTES>() {
            // They were checked when they were found.
            let Ok(header) = framing.decode(low32(at), granule) else { break };
            let granules = (header.len as usize).div_ceil(GRANULE_BYTES);
            let Some((content, next)) = after.split_at_checked(granules * GRANULE_BYTES) else {
                break;
            };
            if header.is_data() {
                call(at, &header, content)?;
            }
            at += 1 + granules as u64;
            rest = next;
        }
    }
    Ok(())
}

/// Says what was found and what is missing.
fn say(ring: &str, past: &Past) {
    let start = past.stretches.first().map_or(past.end, |first| first.start);
    let unread_bytes: usize = past.stretches.iter().map(|stretch| stretch.bytes.len()).sum();
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
