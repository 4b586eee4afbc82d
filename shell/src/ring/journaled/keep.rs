//! What is done beside the records: space is reserved, cursors are saved, segments removed.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{Journaled, TICK, wide};
use crate::journal::disk::File;
use crate::journal::log::Segment;
use crate::journal::{Cursors, Failure, Prepared, prepare};
use crate::ring::fed::Feeds;
use crate::ring::{ClockName, Ring, now_ns};
use crate::sync::lock;

/// Begins with a segment that there was no space for, or has it to spare.
fn begin_or_spare(journal: &Journaled, prepared: Prepared<File>) -> Result<(), Failure> {
    let mut log = lock(&journal.log);
    if log.waits_for().is_none() {
        log.spare(prepared);
        journal.note_segments(&log);
        return Ok(());
    }
    let mut first = lock(&journal.first_cursors);
    if let Some(cursors) = &*first {
        let mut file = lock(&journal.cursors);
        let written = file.write(cursors).and_then(|()| file.sync());
        written.map_err(Failure::of("writing", "cursors"))?;
    }
    log.begin_late(prepared, now_ns(ClockName::Realtime))?;
    *first = None;
    journal.note_segments(&log);
    Ok(())
}

/// A journal as it is at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JournalLook {
    /// As the configuration names it.
    pub durability: &'static str,
    /// Files.
    pub segments: u64,
    /// Bytes that they and a reserved one take.
    pub size_bytes: u64,
    /// Bytes that the file system has left.
    pub room_bytes: u64,
    /// Bytes written since the start.
    pub written_bytes: u64,
    /// Batches that were made safe since the start.
    pub commits: u64,
    /// How long they took together, seconds.
    pub commit_seconds: f64,
    /// How long the one that is under way has taken.
    pub waiting: Duration,
    /// Tries to save the places of subscriptions that failed, since the start.
    pub cursor_failures: u64,
    /// Places that the start found damaged or missing.
    pub damaged_places: u64,
    /// Records that the start found missing, as far as their numbers are known.
    pub missing_records: u64,
}

impl Journaled {
    /// Whether one that may lag needs what is before these segments: one may have gone back since
    /// the cursors were saved.
    fn is_needed_before(&self, rest: &[Segment], epoch: u64) -> bool {
        let next = rest.first().and_then(|next| next.header.as_ref());
        let next = next.filter(|next| next.epoch == epoch);
        let ends = next.map_or(0, |next| next.first_position);
        self.feeds.as_ref().is_some_and(|feeds| feeds.needed() < ends)
    }

    /// How long the commit that is under way has taken; nothing if none is.
    fn waiting(&self) -> Duration {
        // ORDER(none): a statistic; nothing is read because of it.
        let since = self.committing_since_ns.load(Ordering::Relaxed);
        let now = now_ns(ClockName::Monotonic);
        Duration::from_nanos(if since == 0 { 0 } else { now.saturating_sub(since) })
    }
}

/// What the thread remembers.
struct Kept {
    /// Written last.
    saved: Option<Cursors>,
    /// Whether that is durable.
    is_durable: bool,
    synced: Instant,
    /// Nothing is said twice.
    told: bool,
}

/// Writes where everyone is, and syncs it from time to time.
fn write_cursors(
    journal: &Journaled,
    kept: &mut Kept,
    cursors: Cursors,
    is_last: bool,
) -> Result<(), Failure> {
    let mut file = lock(&journal.cursors);
    if kept.saved.as_ref() != Some(&cursors) {
        file.write(&cursors).map_err(Failure::of("writing", "cursors"))?;
        kept.saved = Some(cursors);
        kept.is_durable = false;
    }
    let is_due = kept.synced.elapsed() >= journal.settings.cursor_sync || is_last;
    if !kept.is_durable && is_due {
        file.sync().map_err(Failure::of("syncing", "cursors"))?;
        kept.is_durable = true;
        kept.synced = Instant::now();
    }
    Ok(())
}

impl Ring {
    /// Looks how much space there is for the journal, and how long its commit takes.
    pub(in crate::ring) fn measure_journal(&self) {
        let Some(journal) = &self.journal else { return };
        journal.metrics.waiting.set(journal.waiting().as_secs_f64());
        // Where the directory is gone, the journal has failed or is about to.
        if let Ok(disk) = rustix::fs::statvfs(&journal.settings.directory) {
            let room = disk.f_bavail.saturating_mul(disk.f_frsize);
            journal.metrics.room_bytes.set(i64::try_from(room).unwrap_or(i64::MAX));
        }
    }

    /// Returns what its journal is like now, if it has one. Waits for no commit; asking a file
    /// system over the network how much room it has may still wait.
    pub fn look_at_journal(&self) -> Option<JournalLook> {
        let journal = self.journal.as_ref()?;
        self.measure_journal();
        let metrics = &journal.metrics;
        let of = |gauge: i64| u64::try_from(gauge).unwrap_or(0);
        Some(JournalLook {
            durability: journal.durability.as_str(),
            segments: of(metrics.segments.get()),
            size_bytes: of(metrics.size_bytes.get()),
            room_bytes: of(metrics.room_bytes.get()),
            written_bytes: metrics.bytes.get(),
            commits: metrics.commit.get_sample_count(),
            commit_seconds: metrics.commit.get_sample_sum(),
            waiting: journal.waiting(),
            cursor_failures: metrics.cursor_failures.get(),
            damaged_places: of(metrics.damaged_places.get()),
            missing_records: of(metrics.missing_records.get()),
        })
    }

    /// Looks after the journal until the bell has rung for the last time.
    pub(super) fn keep_for_ever(&self) {
        let Some(journal) = &self.journal else { return };
        let mut kept = Kept { saved: None, is_durable: false, synced: Instant::now(), told: false };
        loop {
            let is_last = journal.keeper.wait(Some(TICK));
            if !is_last {
                self.reserve(journal);
                self.check_directory(journal);
            }
            if let Err(failure) = self.save(journal, &mut kept, is_last) {
                if !std::mem::replace(&mut kept.told, true) {
                    let ring = &self.name;
                    tracing::error!(%ring, %failure, "cursors are not saved: tried again");
                }
                journal.metrics.cursor_failures.inc();
                // What was written may be forgotten by the system: it is written anew.
                kept.saved = None;
            } else {
                kept.told = false;
            }
            if is_last {
                break;
            }
            self.remove_segments(journal);
        }
        journal.keeper.end();
    }

    /// Has a segment to spare, so that a full disk is known before it hurts.
    fn reserve(&self, journal: &Journaled) {
        let (files, facts) = {
            let log = lock(&journal.log);
            if !log.needs_segment() {
                return;
            }
            (log.files().clone(), log.facts().clone())
        };
        match prepare(&*files, &facts) {
            Ok(prepared) => {
                if let Err(failure) = begin_or_spare(journal, prepared) {
                    return self.note_failure(&failure);
                }
                self.set_limit(journal);
                if lock(&journal.short).take().is_some() {
                    journal.metrics.short.set(0);
                    tracing::info!(ring = %self.name, "there is space for the journal again");
                }
                self.space_released();
            }
            Err(failure) => {
                let mut short = lock(&journal.short);
                if short.is_none() {
                    journal.metrics.short.set(1);
                    tracing::error!(
                        ring = %self.name,
                        %failure,
                        "no further segment: records are taken until the present one is full"
                    );
                }
                *short = Some(failure);
            }
        }
    }

    /// Nobody could find again what is written to files without names.
    fn check_directory(&self, journal: &Journaled) {
        let checked = lock(&journal.log).check_linked();
        if let Err(failure) = checked {
            self.note_failure(&failure);
        }
    }

    /// Where everyone is.
    fn cursors(&self, journal: &Journaled, is_end: bool) -> Cursors {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let memory = inner.producer.ring();
        let (tail, shown) = (memory.tail(), memory.published());
        let next_seq = inner.holding.as_ref().map_or(0, |holding| holding.next_seq);
        // The mutex of the log comes after this one wherever both are held.
        let near = lock(&journal.log).written();
        let published = wide(near, shown);
        let mut positions = Vec::with_capacity(inner.subscriptions.len());
        for index in 0..inner.subscriptions.len() {
            let id = inner.subscriptions[index].id;
            let Some(status) = inner.producer.subscription(id) else { continue };
            let at = wide(near, tail).saturating_sub(status.lag_granules.into());
            positions.push((inner.subscriptions[index].name.clone(), at.min(published)));
        }
        let lagging = journal.feeds.as_ref().map_or_else(Vec::new, Feeds::positions);
        Cursors { epoch: self.epoch, published, next_seq, is_end, positions, lagging }
    }

    fn save(&self, journal: &Journaled, kept: &mut Kept, is_last: bool) -> Result<(), Failure> {
        if lock(&journal.first_cursors).is_some() {
            // The epoch has not begun on the disk.
            return Ok(());
        }
        let failed = lock(&journal.failure).is_some();
        let is_end = is_last && !failed && { lock(&journal.log).sync().is_ok() };
        let cursors = self.cursors(journal, is_end);
        let lagging = cursors.lagging.clone();
        let written = write_cursors(journal, kept, cursors, is_last);
        if let Some(feeds) = &journal.feeds {
            // Also if it failed: a reader then may get again what it has released, but goes on.
            feeds.saved(&lagging);
        }
        written
    }

    /// Removes what nobody needs and nobody wants kept.
    fn remove_segments(&self, journal: &Journaled) {
        let settings = &journal.settings;
        let now = now_ns(ClockName::Realtime);
        let retain_ns = u64::try_from(settings.retain.as_nanos()).unwrap_or(u64::MAX);
        let result = {
            let (mut log, cursors) = (lock(&journal.log), lock(&journal.cursors));
            let (bytes, epoch) = (log.facts().segment_bytes, log.epoch());
            log.retain(&cursors, |_, rest: &[Segment]| {
                if journal.is_needed_before(rest, epoch) {
                    return false;
                }
                let kept = bytes.saturating_mul(rest.len() as u64 - 1);
                // Its last record is no younger than the segment after it.
                let ended = rest.first().and_then(|next| next.header.as_ref());
                let age = ended.map_or(u64::MAX, |next| now.saturating_sub(next.created_ns));
                kept >= settings.retain_bytes && age >= retain_ns
            })
        };
        match result {
            Ok(0) => {}
            Ok(removed) => tracing::debug!(ring = %self.name, removed, "segments removed"),
            Err(failure) => tracing::warn!(ring = %self.name, %failure, "a segment stays"),
        }
        journal.note_segments(&lock(&journal.log));
    }
}
