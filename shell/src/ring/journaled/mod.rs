//! A ring with a journal: what is appended is written, and synced if so configured, and then
//! published.
//!
//! With `process`, the turn that appends writes by itself, because a hand-over costs more than the
//! write. With `disk`, a thread takes what all turns have appended, syncs it once and publishes it,
//! while the next turns append; but where one client waits for one record at a time, nothing would
//! be done meanwhile, and the turn syncs by itself, as long as the disk is quick. Another thread
//! reserves space, saves cursors and removes segments, so that no record waits for that.

mod begin;
mod handover;
mod keep;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aqueduct_core::layout::{DATA_OFFSET_MAPPED, GRANULE_BYTES};
use aqueduct_core::{Memory, Wake};

pub(super) use self::begin::{InMemory, Records, copy_past, go_on};
pub(super) use self::handover::Bell;
use self::handover::Stage;
pub use self::keep::JournalLook;
use super::durable::Holding;
use super::fed::Feeds;
use super::{ClockName, Deferred, Inner, Ring, now_ns};
use crate::journal::disk::{Disk, File};
use crate::journal::recover::Journal;
use crate::journal::{CursorFile, Cursors, Durability, Failure, JournalSettings, Log};
use crate::metrics::JournalMetrics;
use crate::sync::{Counter, lock};

/// A turn waits for a sync by itself only if the last ones took less: everything else that its
/// event loop has to do waits with it, and by a slow disk nothing is gained.
const QUICK: Duration = Duration::from_millis(1);
/// How often cursors, space and the directory are looked at.
const TICK: Duration = Duration::from_millis(50);
/// How long an end waits for readers to be fed.
const FEED_PATIENCE: Duration = Duration::from_secs(2);
/// How long an end waits for the disk.
const END_PATIENCE: Duration = Duration::from_secs(10);

/// The journal of a ring, and who works on it.
pub(super) struct Journaled {
    durability: Durability,
    settings: JournalSettings,
    pub(super) log: Mutex<Log<Disk>>,
    /// Subscriptions that may lag behind the ring.
    pub(super) feeds: Option<Feeds>,
    cursors: Mutex<CursorFile<File>>,
    /// Cursors that a new epoch begins with, as long as there is no space for its first segment.
    first_cursors: Mutex<Option<Cursors>>,
    /// Held for as long as the process lives.
    _lock: std::os::fd::OwnedFd,
    committer: Bell,
    pub(super) keeper: Bell,
    /// Why nothing is taken, if the journal failed.
    failure: Mutex<Option<Failure>>,
    /// Why no space could be reserved, if that is so.
    short: Mutex<Option<Failure>>,
    /// The longest of the last commits, ns; it is forgotten by an eighth with each.
    slowest_ns: Counter,
    /// When the commit that is under way began, ns of the monotonic clock; 0 if none is.
    committing_since_ns: Counter,
    metrics: JournalMetrics,
}

/// Notes how many segments there are, and what they and one to spare take. To be called wherever
/// that changes, so that nobody who wants to know it waits for a commit, which has the log.
fn note_size(metrics: &JournalMetrics, log: &Log<Disk>) {
    let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let segments = log.segments().len() as u64;
    let all = segments + u64::from(!log.needs_segment());
    metrics.segments.set(gauge(segments));
    metrics.size_bytes.set(gauge(log.facts().segment_bytes.saturating_mul(all)));
}

/// What is to be committed.
struct Batch {
    /// Where it ends, and the number of the record that comes there.
    end: (u32, u64),
    /// Where it begins.
    begin: (u32, u64),
}

impl Journaled {
    fn new(journal: Journal<Disk>, settings: &JournalSettings, metrics: JournalMetrics) -> Self {
        let Journal { log, cursors, first_cursors, lock } = journal;
        let short = log.waits_for().cloned();
        metrics.short.set(i64::from(short.is_some()));
        note_size(&metrics, &log);
        Self {
            durability: log.facts().durability,
            settings: settings.clone(),
            log: Mutex::new(log),
            feeds: None,
            cursors: Mutex::new(cursors),
            first_cursors: Mutex::new(first_cursors),
            _lock: lock,
            committer: Bell::default(),
            keeper: Bell::default(),
            failure: Mutex::default(),
            short: Mutex::new(short),
            slowest_ns: Counter::new(2 * nanoseconds(QUICK)),
            committing_since_ns: Counter::new(0),
            metrics,
        }
    }

    /// Notes which segments there are. To be called wherever that changes, as `note_size`.
    fn note_segments(&self, log: &Log<Disk>) {
        note_size(&self.metrics, log);
        if let Some(feeds) = &self.feeds {
            feeds.note_segments(log);
        }
    }

    /// Writes records, syncs them if so configured, and counts.
    fn commit(&self, records: &[u8], first: u64, count: u64) -> Result<(), Failure> {
        let begun = Instant::now();
        // ORDER(none): a statistic; nothing is read because of it.
        self.committing_since_ns.store(now_ns(ClockName::Monotonic), Ordering::Relaxed);
        let (result, needs_segment) = {
            let mut log = lock(&self.log);
            let result = log.commit(records, first, now_ns(ClockName::Realtime));
            self.note_segments(&log);
            (result, log.needs_segment())
        };
        // ORDER(none): as above.
        self.committing_since_ns.store(0, Ordering::Relaxed);
        if needs_segment {
            self.keeper.ring(false);
        }
        if result.is_ok() {
            let took = begun.elapsed();
            self.note_time(took);
            self.metrics.commit.observe(took.as_secs_f64());
            #[allow(clippy::cast_precision_loss, reason = "a statistic")]
            self.metrics.batch.observe(count as f64);
            self.metrics.bytes.inc_by(records.len() as u64);
        }
        result
    }

    fn note_time(&self, took: Duration) {
        // ORDER(none): a guess at how long the next one takes; one commits at a time.
        let before = self.slowest_ns.load(Ordering::Relaxed);
        let now = nanoseconds(took).max(before - before / 8);
        self.slowest_ns.store(now, Ordering::Relaxed);
    }

    /// Whether the last commits were so quick that a turn may wait for one.
    fn is_quick(&self) -> bool {
        // ORDER(none): as above.
        self.slowest_ns.load(Ordering::Relaxed) < nanoseconds(QUICK)
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The position near another one that has these low 32 bits.
pub(super) fn wide(near: u64, position: u32) -> u64 {
    #[allow(clippy::cast_possible_truncation, reason = "the low bits are what is compared")]
    let ahead = position.wrapping_sub(near as u32).cast_signed();
    near.saturating_add_signed(ahead.into())
}

impl Ring {
    /// Says why records are not taken, if the journal is why.
    pub fn journal_trouble(&self) -> Option<String> {
        let journal = self.journal.as_ref()?;
        if let Some(failure) = &*lock(&journal.failure) {
            return Some(format!("the journal of ring {} failed: {failure}", self.name));
        }
        // Not locked together with the producer's mutex, under which it is locked elsewhere.
        let failure = lock(&journal.short).clone()?;
        // As long as the last segment has room, nothing is refused.
        let largest = 1 + u64::from(self.max_payload_bytes).div_ceil(GRANULE_BYTES as u64);
        let has_room =
            { self.lock().holding.as_ref().is_none_or(|holding| holding.has_room(largest)) };
        (!has_room).then(|| format!("no space for the journal of ring {}: {failure}", self.name))
    }

    /// Returns whether there is no space for another segment of its journal.
    pub fn is_out_of_space(&self) -> bool {
        self.journal.as_ref().is_some_and(|journal| lock(&journal.short).is_some())
    }

    /// What a turn does when it ends, while it has the lock: writes by itself, if it need not sync.
    pub(super) fn commit_turn(&self, inner: &mut Inner) -> Committed {
        let (Some(journal), Some(batch)) = (&self.journal, inner.uncommitted()) else {
            return Committed::Nothing;
        };
        if journal.durability == Durability::Disk {
            return Committed::Later;
        }
        let mut records = inner.holding.as_mut().map(Holding::take_buffer).unwrap_or_default();
        self.copy(&batch, &mut records);
        let count = batch.end.1 - batch.begin.1;
        let result = journal.commit(&records, batch.begin.1, count);
        if let Some(holding) = &mut inner.holding {
            holding.give_buffer(records);
            holding.failed |= result.is_err();
        }
        match result {
            Ok(()) => {
                inner.set_limit(&lock(&journal.log), journal.feeds.as_ref());
                let deferred = inner.publish_held(batch.end.0, batch.end.1);
                self.feed_up_to(batch.end.0, batch.end.1);
                Committed::Now(Some(deferred), batch.end.1)
            }
            Err(failure) => Committed::Never(failure),
        }
    }

    /// Lets others know what came of a turn, and has synced what is to be synced: here if
    /// `one_waits` for the turn's only record and nobody else for anything, by the thread
    /// otherwise. Returns what is due for what was published here. Nothing is locked.
    pub(super) fn committed(&self, committed: Committed, one_waits: bool) -> Option<Deferred> {
        match committed {
            Committed::Nothing => {}
            Committed::Now(_, next_seq) => self.advance(next_seq),
            Committed::Never(failure) => self.note_failure(&failure),
            Committed::Later => return self.sync_turn(one_waits),
        }
        None
    }

    fn sync_turn(&self, one_waits: bool) -> Option<Deferred> {
        let journal = self.journal.as_ref()?;
        if one_waits && journal.is_quick() {
            let stage = Here { of: Committer::new(self, journal), deferred: RefCell::default() };
            if handover::commit_here(&journal.committer, &stage) {
                return stage.deferred.into_inner();
            }
        }
        journal.committer.ring(false);
        None
    }

    /// Commits what was appended, for as long as the bell rings.
    fn commit_for_ever(&self) {
        let Some(journal) = &self.journal else { return };
        let stage = Committer::new(self, journal);
        handover::commit_for_ever(&journal.committer, &stage);
    }

    /// Ends the ring's records for this process: whoever waits learns that there is no answer.
    fn note_failure(&self, failure: &Failure) {
        if let Some(journal) = &self.journal {
            let mut first = lock(&journal.failure);
            if first.is_none() {
                *first = Some(failure.clone());
                journal.metrics.failed.set(1);
                tracing::error!(
                    ring = %self.name,
                    %failure,
                    "the journal failed: nothing is taken until the process is started again"
                );
            }
        }
        self.fail();
    }

    /// Brings up to date how much may be appended.
    pub(super) fn set_limit(&self, journal: &Journaled) {
        let mut inner = self.lock();
        inner.set_limit(&lock(&journal.log), journal.feeds.as_ref());
    }

    /// Copies records out of the ring. Nobody writes to them before they are published.
    fn copy(&self, batch: &Batch, into: &mut Vec<u8>) {
        let granules = batch.end.0.wrapping_sub(batch.begin.0);
        let first = batch.begin.0 & (self.capacity - 1);
        let to_end = granules.min(self.capacity - first);
        let bytes = |granules: u32| granules as usize * GRANULE_BYTES;
        into.resize(bytes(granules), 0);
        let region = self.segment.region();
        let (front, back) = into.split_at_mut(bytes(to_end));
        region.read(DATA_OFFSET_MAPPED as usize + bytes(first), front);
        if !back.is_empty() {
            region.read(DATA_OFFSET_MAPPED as usize, back);
        }
    }

    /// Commits what is left and saves where everyone is. To be called when nobody appends any more,
    /// before the stream ends.
    pub fn finish_journal(&self) {
        let Some(journal) = &self.journal else { return };
        self.lock().closed = true;
        journal.committer.ring(true);
        if !journal.committer.ended(END_PATIENCE) {
            tracing::error!(ring = %self.name, "the disk takes too long: the journal is left");
            return;
        }
        if let Some(feeds) = &journal.feeds {
            feeds.bell.ring(true);
            if !feeds.bell.ended(FEED_PATIENCE) {
                tracing::error!(ring = %self.name, "the disk takes too long: readers are left");
            }
        }
        journal.keeper.ring(true);
        if !journal.keeper.ended(END_PATIENCE) {
            tracing::error!(ring = %self.name, "the disk takes too long: cursors are left");
        }
    }
}

/// What is done with a batch.
struct Committer<'a> {
    ring: &'a Ring,
    journal: &'a Journaled,
    /// Kept from one batch to the next.
    records: RefCell<Vec<u8>>,
}

impl<'a> Committer<'a> {
    fn new(ring: &'a Ring, journal: &'a Journaled) -> Self {
        Self { ring, journal, records: RefCell::default() }
    }
}

impl Stage for Committer<'_> {
    type Batch = Batch;

    fn uncommitted(&self) -> Option<Batch> {
        self.ring.lock().uncommitted()
    }

    fn commit(&self, batch: &Batch) -> bool {
        let records = &mut *self.records.borrow_mut();
        self.ring.copy(batch, records);
        let count = batch.end.1 - batch.begin.1;
        match self.journal.commit(records, batch.begin.1, count) {
            Ok(()) => true,
            Err(failure) => {
                self.ring.note_failure(&failure);
                false
            }
        }
    }

    fn publish(&self, batch: &Batch) {
        self.ring.set_limit(self.journal);
        self.ring.publish_up_to(batch.end.0, batch.end.1);
    }
}

/// What a turn does that commits by itself: readers are woken when the turn has ended, as those of
/// a ring without a journal are.
struct Here<'a> {
    of: Committer<'a>,
    deferred: RefCell<Option<Deferred>>,
}

impl Stage for Here<'_> {
    type Batch = Batch;

    fn uncommitted(&self) -> Option<Batch> {
        self.of.uncommitted()
    }

    fn commit(&self, batch: &Batch) -> bool {
        self.of.commit(batch)
    }

    fn publish(&self, batch: &Batch) {
        self.of.ring.set_limit(self.of.journal);
        self.deferred.replace(self.of.ring.show_up_to(batch.end.0, batch.end.1));
        self.of.ring.space_released();
    }
}

/// What came of the records of a turn.
pub(super) enum Committed {
    /// There are none.
    Nothing,
    /// They are published; what is due, and the number of the next record.
    Now(Option<Deferred>, u64),
    /// They will be.
    Later,
    /// They never will be.
    Never(Failure),
}

impl Committed {
    /// Takes what is due.
    pub(super) fn deferred(&mut self, inner: &mut Inner) -> Deferred {
        match self {
            Self::Now(deferred, _) => deferred.take().unwrap_or_default(),
            Self::Nothing | Self::Later | Self::Never(_) => inner.settle(Wake::NONE),
        }
    }
}

impl Inner {
    /// Brings up to date how much may be appended.
    fn set_limit(&mut self, log: &Log<Disk>, feeds: Option<&Feeds>) {
        let limit = log.limit().min(feeds.map_or(u64::MAX, Feeds::limit));
        let appended = wide(log.written(), self.producer.ring().tail());
        if let Some(holding) = &mut self.holding {
            let left = limit.saturating_sub(appended);
            holding.set_room(if limit == u64::MAX { u64::MAX } else { left });
        }
    }

    /// What was appended and not committed.
    fn uncommitted(&self) -> Option<Batch> {
        let holding = self.holding.as_ref().filter(|holding| !holding.failed)?;
        let memory = self.producer.ring();
        let (begin, end) = (memory.published(), memory.tail());
        (begin != end).then(|| Batch {
            end: (end, self.producer.next_seq()),
            begin: (begin, holding.next_seq),
        })
    }
}

/// Starts a thread that works for a ring.
fn spawn(ring: &Arc<Ring>, name: &str, work: fn(&Ring)) -> std::io::Result<()> {
    let working = Arc::clone(ring);
    std::thread::Builder::new().name(format!("aqueduct-{name}")).spawn(move || work(&working))?;
    Ok(())
}
