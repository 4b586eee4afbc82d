//! What an earlier process left of a ring, and what of it can be believed.

use std::mem::offset_of;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;

use aqueduct_core::Memory;
use aqueduct_core::geometry::distance;
use aqueduct_core::layout::{
    DATA_OFFSET_MAPPED, GRANULE_BYTES, RingHeader, cursor_word, ring_word,
};
use aqueduct_core::recovery::{Bound, Checkpoint, RecoverError, recover};

use super::page::Noted;
use crate::journal::{Past, Stretch};
use crate::ring::journaled::{InMemory, Records};
use crate::segment::KeptSegment;
use crate::supervisor::Supervisor;

/// Descriptors of a ring that a service manager kept.
#[derive(Default)]
pub struct Left {
    /// The latest life of the ring that is there.
    pub(super) generation: Option<u32>,
    /// Names of all of them, to be forgotten.
    pub(super) names: Vec<String>,
    /// By generation, the latest first.
    lives: Vec<(u32, Life)>,
}

#[derive(Default)]
struct Life {
    ring: Option<OwnedFd>,
    page: Option<OwnedFd>,
    /// Attachment, subscription, cursor segment.
    cursors: Vec<(u64, String, OwnedFd)>,
}

/// The records of an earlier life.
pub(super) struct Before {
    pub(super) past: Past,
    pub(super) records: InMemory,
    /// How many processes in a row ended without a word.
    pub(super) crashes: u32,
}

impl Left {
    /// Takes what there is of a ring of this name.
    pub fn take(supervisor: &Supervisor, ring: &str) -> Self {
        let mut left = Self::default();
        for kind in ["ring", "page", "cursor"] {
            let prefix = format!("{kind}/{ring}/");
            for (rest, descriptor) in supervisor.take_stored(&prefix) {
                left.names.push(format!("{prefix}{rest}"));
                left.add(kind, &rest, descriptor);
            }
        }
        left.lives.sort_by_key(|(generation, _)| std::cmp::Reverse(*generation));
        left.generation = left.lives.first().map(|(generation, _)| *generation);
        left
    }

    fn add(&mut self, kind: &str, rest: &str, descriptor: OwnedFd) -> Option<()> {
        let mut parts = rest.splitn(3, '/');
        let generation = parts.next()?.parse().ok()?;
        let index = self.lives.iter().position(|(known, _)| *known == generation);
        let index = index.unwrap_or_else(|| {
            self.lives.push((generation, Life::default()));
            self.lives.len() - 1
        });
        let life = &mut self.lives[index].1;
        match kind {
            "ring" => life.ring = Some(descriptor),
            "page" => life.page = Some(descriptor),
            _ => {
                let attachment = parts.next()?.parse().ok()?;
                life.cursors.push((attachment, parts.next()?.to_owned(), descriptor));
            }
        }
        Some(())
    }

    /// Reads the records of the latest life that is whole; `None` if there is none.
    pub(super) fn past(&self) -> Result<Option<Before>, String> {
        self.lives.iter().find_map(|(_, life)| life.past().transpose()).transpose()
    }
}

impl Life {
    fn past(&self) -> Result<Option<Before>, String> {
        let (Some(ring), Some(page)) = (&self.ring, &self.page) else { return Ok(None) };
        let said = |error: crate::segment::SegmentError| error.to_string();
        let Some(noted) = Noted::read(&KeptSegment::open(page.as_fd()).map_err(said)?) else {
            return Ok(None);
        };
        let crashes = if noted.ended { 0 } else { noted.crashes.saturating_add(1) };
        let memory = KeptSegment::open(ring.as_fd()).map_err(said)?;
        let (past, records) = self.records(&memory, noted)?;
        Ok(Some(Before { past, records, crashes }))
    }

    fn records(&self, memory: &KeptSegment, noted: Noted) -> Result<(Past, InMemory), String> {
        let data = memory.size().saturating_sub(DATA_OFFSET_MAPPED as usize);
        let capacity = u32::try_from(data / GRANULE_BYTES).unwrap_or(0);
        if capacity == 0 {
            return Err("the segment is too small for a ring".to_owned());
        }
        let mut epoch = [0; 8];
        memory.read(offset_of!(RingHeader, epoch), &mut epoch);
        if u64::from_le_bytes(epoch) != noted.epoch {
            return Err("the ring and its page are not of one epoch".to_owned());
        }
        // ORDER(none): nobody writes it any more.
        let word = |at| memory.load(at, Ordering::Relaxed);
        let (tail, oldest) = (word(ring_word::TAIL), word(ring_word::OLDEST));
        // Every lag below is this one or less than the capacity, and memory is asked for by it.
        if distance(oldest, tail) > capacity {
            return Err(format!(
                "its oldest record, at {oldest:#x}, is more than the ring from its tail, {tail:#x}"
            ));
        }
        let mut lags: Vec<(String, u32)> = Vec::with_capacity(noted.positions.len());
        for (name, noted) in noted.positions {
            let lag = self.lag(&name, noted, tail, capacity);
            lags.push((name, lag.unwrap_or_else(|| distance(oldest, tail))));
        }
        let next_seq = intact(memory, tail, oldest, &mut lags)?;
        pass_over(memory, tail, &mut lags);
        // Where there is no record, the number comes from the word in the header, which has its low
        // half, and from the page, which is a little older.
        let next_seq = next_seq.unwrap_or_else(|| {
            #[allow(clippy::cast_possible_truncation, reason = "the low half")]
            let ahead = word(ring_word::NEXT_SEQ).wrapping_sub(noted.seq as u32).cast_signed();
            noted.seq.saturating_add_signed(ahead.into())
        });
        // Positions of 64 bits, far enough from 0 that nothing is before it.
        let end = (1 << 32) + u64::from(tail);
        let lag = lags.iter().map(|(_, lag)| *lag).max().unwrap_or(0);
        let first = end - u64::from(lag);
        let records = InMemory { epoch: noted.epoch, bytes: copied(memory, first, lag, capacity) };
        let largest = largest(&records, first);
        let stretch = Stretch { start: first, end, largest };
        let positions = lags.into_iter().map(|(name, lag)| (name, end - u64::from(lag))).collect();
        let past = Past {
            epoch: noted.epoch,
            capacity,
            stretches: if lag == 0 { Vec::new() } else { vec![stretch] },
            end,
            next_seq,
            positions,
            lagging: Vec::new(),
            may_go_on: true,
            torn: None,
            damage: Vec::new(),
        };
        Ok((past, records))
    }

    /// How far before `tail` a subscription is, granules. Its last reader's cursor counts if it is
    /// one that an honest reader can have, for that reader may have released since; otherwise what
    /// was noted. `None` if that was overwritten since.
    fn lag(&self, name: &str, noted: u32, tail: u32, capacity: u32) -> Option<u32> {
        let noted_lag = distance(noted, tail);
        let cursors = self.cursors.iter().filter(|(_, subscription, _)| subscription == name);
        let latest = cursors.max_by_key(|(attachment, ..)| *attachment);
        let cursor = latest.and_then(|(_, _, cursor)| KeptSegment::open(cursor.as_fd()).ok());
        let cursor_lag = cursor.map(|cursor| {
            // ORDER(none): its reader may still write it; any value is as good.
            distance(cursor.load(cursor_word::CURSOR, Ordering::Relaxed), tail)
        });
        let lag = cursor_lag.filter(|&lag| lag <= noted_lag).unwrap_or(noted_lag);
        (lag < capacity).then_some(lag)
    }
}

/// Bytes after the header of the largest DATA record.
fn largest(records: &InMemory, start: u64) -> u32 {
    let (stretch, mut largest) = (Stretch { start, ..Stretch::default() }, 0);
    let seen = records.each(&stretch, &mut |_, header, _| {
        largest = largest.max(if header.is_data() { header.len } else { 0 });
        Ok(())
    });
    seen.map_or(u32::MAX, |()| largest)
}

/// Looks whether everything from the subscription that is farthest back is intact, and moves those
/// whose place is no record boundary any more to `oldest`: what they had there was overwritten, so
/// they had released it. Returns the number that follows the last record, if a record says it.
fn intact(
    memory: &KeptSegment,
    tail: u32,
    oldest: u32,
    lags: &mut [(String, u32)],
) -> Result<Option<u64>, String> {
    let oldest_lag = distance(oldest, tail);
    loop {
        let farthest = lags.iter().map(|(_, lag)| *lag).max().unwrap_or(0);
        let position = tail.wrapping_sub(farthest);
        // An empty stretch may still have a record before it, which knows its number.
        let from = if farthest == 0 { oldest } else { position };
        let found = recover(memory, Checkpoint { position: from, seq: None }, Bound::Tail);
        let reason = match found {
            Ok(found) if found.end == tail => return Ok(found.next_seq),
            Err(RecoverError::Geometry(error)) => return Err(error.to_string()),
            _ if farthest == 0 => return Ok(None),
            Ok(found) => format!("{:?} at {:#x}", found.cut, found.end),
            Err(error) => error.to_string(),
        };
        // From `oldest` on, nothing was overwritten: it is damaged.
        if farthest <= oldest_lag {
            return Err(reason);
        }
        for (_, lag) in lags.iter_mut().filter(|(_, lag)| *lag == farthest) {
            *lag = oldest_lag;
        }
    }
}

/// Moves subscriptions that have no record before them to `tail`. Readers release with the records
/// that they read, so that what closes a ring, or was given up in it, stays unreleased: an end in
/// order would wait for it.
fn pass_over(memory: &KeptSegment, tail: u32, lags: &mut [(String, u32)]) {
    let mut nearest: Vec<&mut u32> = lags.iter_mut().map(|(_, lag)| lag).collect();
    nearest.sort();
    for lag in nearest.into_iter().filter(|lag| **lag > 0) {
        let position = tail.wrapping_sub(*lag);
        let found = recover(memory, Checkpoint { position, seq: None }, Bound::Tail);
        if !found.is_ok_and(|found| found.end == tail && found.records == 0) {
            // Those farther back have this record before them, too.
            return;
        }
        *lag = 0;
    }
}

/// Copies granules as they lie.
fn copied(memory: &KeptSegment, first: u64, granules: u32, capacity: u32) -> Vec<u8> {
    let mut bytes = vec![0; granules as usize * GRANULE_BYTES];
    #[allow(clippy::cast_possible_truncation, reason = "less than the capacity")]
    let begin = (first % u64::from(capacity)) as usize;
    let before_end = ((capacity as usize - begin) * GRANULE_BYTES).min(bytes.len());
    let (front, back) = bytes.split_at_mut(before_end);
    memory.read(DATA_OFFSET_MAPPED as usize + begin * GRANULE_BYTES, front);
    memory.read(DATA_OFFSET_MAPPED as usize, back);
    bytes
}
