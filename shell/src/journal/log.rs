//! The writing half: appends what was appended to the ring, and syncs it.
//!
//! The first write or sync that fails is the last: the system may have dropped what it could not
//! write and report success the next time. So nothing is tried again, by this process.

use std::fmt;
use std::io;
use std::sync::Arc;

use super::cursors::CursorFile;
use super::files::{File, Files, write_at};
use super::format::{Durability, GRANULE, HEADER_BYTES, SegmentHeader, segment_name};
use super::seeded::{self, Bug};
use crate::limits;

/// How far past a small batch the blocks of a segment are written, with zeros, bytes. A block that
/// was only reserved changes the file system's own records when it is written for the first time,
/// and a sync that has to wait for those takes twice as long; so there is one such sync per so many
/// bytes, and not one per batch. What zeros are written over reads as zeros: nothing is found there
/// that was not there before.
const AHEAD_BYTES: u64 = 256 << 10;
/// Batches of this size or more are not small: zeros would cost more than they spare.
const SMALL_BYTES: u64 = AHEAD_BYTES / 8;
/// Name of a segment that is not one yet.
pub const NEW_NAME: &str = "next.tmp";

/// Something that the file system did not do.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What was asked for.
    pub what: &'static str,
    /// Name of the file, or of the directory.
    pub name: String,
    /// What the system said.
    pub error: Arc<io::Error>,
}

impl Failure {
    /// Says what failed on which file.
    pub fn of(what: &'static str, name: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let name = name.into();
        move |error| Self { what, name, error: Arc::new(error) }
    }

    /// Returns whether there is no space left, for now.
    pub fn is_out_of_space(&self) -> bool {
        matches!(
            self.error.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
        )
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.what, self.name, self.error)?;
        match limits::of_file_sizes() {
            Some(limit) if self.error.kind() == io::ErrorKind::FileTooLarge => {
                write!(f, "; {limit}")
            }
            _ => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

/// What is the same for all segments of this run.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Name of the ring.
    pub ring: String,
    /// What its records survive.
    pub durability: Durability,
    /// Granules of its data area.
    pub capacity: u32,
    /// Clock of its timestamps.
    pub clock_id: u32,
    /// Boot of the machine.
    pub boot: [u8; 16],
    /// Bytes of records in a segment. At least the capacity of the ring, so that whatever is not
    /// published fits into one.
    pub segment_bytes: u64,
}

/// A segment that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Place among the segments.
    pub serial: u64,
    /// Its header; `None` if it is damaged.
    pub header: Option<SegmentHeader>,
}

/// A segment file with its space, whose header is still to be written.
pub struct Prepared<F>(F);

/// The first segment of an epoch that begins with more records than are in memory at once.
pub struct Spill<F> {
    prepared: Prepared<F>,
    /// Bytes of records that are in it.
    bytes: u64,
}

impl<F: File> Spill<F> {
    /// Begins with nothing.
    pub(super) fn new(prepared: Prepared<F>) -> Self {
        Self { prepared, bytes: 0 }
    }

    /// Writes records, whole ones, after those before; they are to be in the epoch from position 0
    /// on.
    pub fn write(&mut self, records: &[u8]) -> Result<(), Failure> {
        let at = HEADER_BYTES as u64 + self.bytes;
        write_at(&self.prepared.0, records, at).map_err(Failure::of("writing", NEW_NAME))?;
        self.bytes += records.len() as u64;
        Ok(())
    }

    /// Returns the file, and how many bytes of records are in it.
    pub(super) fn into_parts(self) -> (Prepared<F>, u64) {
        (self.prepared, self.bytes)
    }
}

/// Reserves the space of one segment. To be called while nothing else is in a hurry: it takes
/// milliseconds.
pub fn prepare<D: Files>(files: &D, facts: &Facts) -> Result<Prepared<D::File>, Failure> {
    let file = files.create(NEW_NAME).map_err(Failure::of("creating", NEW_NAME))?;
    let reserved = file
        .fallocate(HEADER_BYTES as u64 + facts.segment_bytes)
        .map_err(Failure::of("reserving space for", NEW_NAME))
        .and_then(|()| file.fdatasync().map_err(Failure::of("syncing", NEW_NAME)));
    if let Err(failure) = reserved {
        // What was reserved is given back; if not, the next try begins with the same file.
        let _ = files.unlink(NEW_NAME);
        return Err(failure);
    }
    Ok(Prepared(file))
}

/// What the first segment of a run begins with, for as long as there is no space for it.
struct Waiting {
    /// Number of its first DATA record.
    seq: u64,
    records: Vec<u8>,
    /// Why it waits.
    failure: Failure,
}

/// The journal of one ring, to be appended to.
pub struct Log<D: Files> {
    files: Arc<D>,
    facts: Facts,
    epoch: u64,
    /// The last segment; `None` while there is no space for the first one of this run.
    file: Option<D::File>,
    /// What that one begins with.
    waiting: Option<Waiting>,
    /// Position of its first record.
    first: u64,
    /// Just past what was written.
    written: u64,
    /// Just past the blocks of the last segment that were written, in bytes of the file.
    blocks: u64,
    /// All segments, in order; the last is `file`.
    segments: Vec<Segment>,
    prepared: Option<Prepared<D::File>>,
    failure: Option<Failure>,
}

impl<D: Files> Log<D> {
    /// Begins a segment after those that are there: empty, or with these records, which are durable
    /// when this returns. Without a prepared one it [waits](Self::waits_for) for space. `position`
    /// is that of the segment, where `before` bytes are in the prepared one.
    #[allow(clippy::too_many_arguments, reason = "all that a journal is made of")]
    pub fn begin(
        files: Arc<D>,
        facts: Facts,
        segments: Vec<Segment>,
        epoch: u64,
        (position, seq): (u64, u64),
        (before, records): (u64, Vec<u8>),
        prepared: Result<Prepared<D::File>, Failure>,
        now_ns: u64,
    ) -> Result<Self, Failure> {
        let mut log = Self {
            files,
            facts,
            epoch,
            file: None,
            waiting: None,
            first: position,
            written: position + (before + records.len() as u64) / GRANULE,
            blocks: 0,
            segments,
            prepared: None,
            failure: None,
        };
        match prepared {
            Ok(prepared) => log.write_first(prepared, (before, &records, seq), now_ns)?,
            Err(failure) => log.waiting = Some(Waiting { seq, records, failure }),
        }
        Ok(log)
    }

    /// Begins the segment that there was no space for.
    ///
    /// # Errors
    /// The first failure, for ever.
    pub fn begin_late(&mut self, prepared: Prepared<D::File>, now_ns: u64) -> Result<(), Failure> {
        self.check()?;
        let Some(waiting) = self.waiting.take() else { return Ok(()) };
        let result = self.write_first(prepared, (0, &waiting.records, waiting.seq), now_ns);
        self.note(result)
    }

    fn write_first(
        &mut self,
        prepared: Prepared<D::File>,
        (before, records, seq): (u64, &[u8], u64),
        now_ns: u64,
    ) -> Result<(), Failure> {
        write_at(&prepared.0, records, HEADER_BYTES as u64 + before)
            .map_err(Failure::of("writing", NEW_NAME))?;
        let header = self.facts.header(self.epoch, &self.segments, (self.first, seq), now_ns);
        self.file = Some(publish_segment(&*self.files, prepared, &header, true)?);
        self.segments.push(Segment { serial: header.serial, header: Some(header) });
        Ok(())
    }

    /// Says why nothing can be appended yet, if there was no space for the first segment of this
    /// run: it is to be [prepared](prepare) and [begun](Self::begin_late).
    pub fn waits_for(&self) -> Option<&Failure> {
        self.waiting.as_ref().map(|waiting| &waiting.failure)
    }

    /// Returns just past what was written.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Returns the epoch of its records.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Returns the first failure.
    pub fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// Returns the directory.
    pub fn files(&self) -> &Arc<D> {
        &self.files
    }

    /// Returns what is the same for all segments.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Returns the segments that are there, in order.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Returns the headers of the segments of its epoch, in order.
    pub fn chain(&self) -> Vec<SegmentHeader> {
        let headers = self.segments.iter().filter_map(|segment| segment.header.clone());
        headers.filter(|header| header.epoch == self.epoch).collect()
    }

    /// Returns up to which position records may be appended to the ring, so that there is space for
    /// them on the disk; `u64::MAX` if there is a segment to spare.
    pub fn limit(&self) -> u64 {
        if self.prepared.is_some() { u64::MAX } else { self.end_of_segment() }
    }

    /// Returns whether a segment should be [prepared](prepare).
    pub fn needs_segment(&self) -> bool {
        self.prepared.is_none() && self.failure.is_none()
    }

    /// Takes a segment to spare.
    pub fn spare(&mut self, prepared: Prepared<D::File>) {
        self.prepared = Some(prepared);
    }

    fn end_of_segment(&self) -> u64 {
        if self.file.is_none() {
            return self.written;
        }
        self.first + self.facts.segment_bytes / GRANULE
    }

    /// Writes records, whole ones, that come right after those before; `seq` is the number of the
    /// first DATA record that is not older than they are. They are as safe as a write makes them.
    ///
    /// # Errors
    /// The first failure, for ever.
    pub fn append(&mut self, records: &[u8], seq: u64, now_ns: u64) -> Result<(), Failure> {
        self.check()?;
        let result = self.try_append(records, seq, now_ns);
        self.note(result)
    }

    fn try_append(&mut self, records: &[u8], seq: u64, now_ns: u64) -> Result<(), Failure> {
        let granules = records.len() as u64 / GRANULE;
        if self.file.is_some() && self.written + granules > self.end_of_segment() {
            self.roll(seq, now_ns)?;
        }
        let at = HEADER_BYTES as u64 + (self.written - self.first) * GRANULE;
        let Some(file) = &self.file else {
            return Err(Failure::of("writing", NEW_NAME)(io::ErrorKind::StorageFull.into()));
        };
        write_at(file, records, at).map_err(|error| Failure::of("writing", self.name())(error))?;
        self.written += granules;
        self.write_ahead(records.len() as u64)
    }

    /// Writes the blocks that follow a batch of so many bytes, if it is to be synced, is small, and
    /// has come to blocks that were only reserved.
    fn write_ahead(&mut self, bytes: u64) -> Result<(), Failure> {
        let end = HEADER_BYTES as u64 + (self.written - self.first) * GRANULE;
        if self.facts.durability != Durability::Disk || end <= self.blocks {
            return Ok(());
        }
        self.blocks = end;
        if bytes < SMALL_BYTES
            && let Some(file) = &self.file
        {
            let whole = HEADER_BYTES as u64 + self.facts.segment_bytes;
            self.blocks = (end + 1).next_multiple_of(AHEAD_BYTES).clamp(end, whole.max(end));
            let zeros = vec![0; usize::try_from(self.blocks - end).unwrap_or(0)];
            write_at(file, &zeros, end)
                .map_err(|error| Failure::of("writing", self.name())(error))?;
        }
        Ok(())
    }

    /// Makes everything that was appended durable.
    ///
    /// # Errors
    /// The first failure, for ever.
    pub fn sync(&mut self) -> Result<(), Failure> {
        self.check()?;
        let result = self.sync_file();
        self.note(result)
    }

    fn sync_file(&self) -> Result<(), Failure> {
        let Some(file) = &self.file else { return Ok(()) };
        file.fdatasync().map_err(|error| Failure::of("syncing", self.name())(error))
    }

    /// Begins the next segment at what was written last. With `disk`, what is in the one before is
    /// durable first, so that there is never a hole between two.
    fn roll(&mut self, seq: u64, now_ns: u64) -> Result<(), Failure> {
        let is_durable = self.facts.durability == Durability::Disk;
        if is_durable {
            self.sync_file()?;
        }
        let prepared = match self.prepared.take() {
            Some(prepared) => prepared,
            None => prepare(&*self.files, &self.facts)?,
        };
        let place = (self.written, seq);
        let header = self.facts.header(self.epoch, &self.segments, place, now_ns);
        self.file = Some(publish_segment(&*self.files, prepared, &header, is_durable)?);
        self.first = self.written;
        self.blocks = 0;
        self.segments.push(Segment { serial: header.serial, header: Some(header) });
        Ok(())
    }

    /// Makes records as safe as the ring promises, so that they may be published.
    ///
    /// # Errors
    /// The first failure, for ever: nothing may be published any more.
    pub fn commit(&mut self, records: &[u8], seq: u64, now_ns: u64) -> Result<(), Failure> {
        self.append(records, seq, now_ns)?;
        if self.facts.durability == Durability::Disk && !seeded::is(Bug::PublishBeforeSync) {
            self.sync()?;
        }
        Ok(())
    }

    /// Removes the first segments as far as nobody needs them, by cursors that are durable, and
    /// `may_go` agrees for a segment and those after it.
    pub fn retain(
        &mut self,
        cursors: &CursorFile<D::File>,
        mut may_go: impl FnMut(&Segment, &[Segment]) -> bool,
    ) -> Result<usize, Failure> {
        let (mut removed, needed) = (0, cursors.needed(self.epoch));
        let is_old = |segment: &Segment| {
            segment.header.as_ref().is_none_or(|header| header.epoch != self.epoch)
        };
        if self.file.is_none() && self.segments.last().is_none_or(is_old) {
            // The epoch before is all that there is.
            return Ok(0);
        }
        while let [first, rest @ ..] = &self.segments[..] {
            let Some(next) = rest.first() else { break };
            let ends = next.header.as_ref().map_or(u64::MAX, |header| header.first_position);
            let is_read = is_old(first) || (!is_old(next) && ends <= needed);
            if !is_read || !may_go(first, rest) {
                break;
            }
            let name = segment_name(first.serial);
            match self.files.unlink(&name) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Failure::of("removing", name)(error));
                }
                _ => {}
            }
            self.segments.remove(0);
            removed += 1;
        }
        Ok(removed)
    }

    /// Checks that the last segment still has its name: nobody would find what is written to it.
    ///
    /// # Errors
    /// The first failure, for ever.
    pub fn check_linked(&mut self) -> Result<(), Failure> {
        self.check()?;
        let Some(file) = &self.file else { return Ok(()) };
        let result = match file.is_linked() {
            Ok(true) => Ok(()),
            Ok(false) => Err(io::Error::other("it was removed by another program")),
            Err(error) => Err(error),
        };
        let result = result.map_err(|error| Failure::of("looking for", self.name())(error));
        self.note(result)
    }

    fn name(&self) -> String {
        self.segments.last().map_or_else(String::new, |last| segment_name(last.serial))
    }

    fn check(&self) -> Result<(), Failure> {
        self.failure.clone().map_or(Ok(()), Err)
    }

    fn note(&mut self, result: Result<(), Failure>) -> Result<(), Failure> {
        if let Err(failure) = &result
            && !seeded::is(Bug::RetryAfterFailedSync)
        {
            self.failure = Some(failure.clone());
        }
        result
    }
}

impl Facts {
    fn header(
        &self,
        epoch: u64,
        segments: &[Segment],
        (first_position, first_seq): (u64, u64),
        created_ns: u64,
    ) -> SegmentHeader {
        SegmentHeader {
            serial: segments.last().map_or(1, |last| last.serial + 1),
            epoch,
            first_position,
            first_seq,
            created_ns,
            boot: self.boot,
            durability: self.durability,
            capacity: self.capacity,
            clock_id: self.clock_id,
            ring: self.ring.clone(),
        }
    }
}

/// Makes a prepared file a segment. Whoever finds its name after a loss of power finds all of it.
fn publish_segment<D: Files>(
    files: &D,
    prepared: Prepared<D::File>,
    header: &SegmentHeader,
    is_durable: bool,
) -> Result<D::File, Failure> {
    let name = segment_name(header.serial);
    write_at(&prepared.0, &header.encode(), 0).map_err(Failure::of("writing", NEW_NAME))?;
    if is_durable {
        prepared.0.fdatasync().map_err(Failure::of("syncing", NEW_NAME))?;
    }
    files.rename(NEW_NAME, &name).map_err(Failure::of("naming", &name))?;
    if is_durable && !seeded::is(Bug::NoDirectorySync) {
        files.sync_dir().map_err(Failure::of("syncing the directory for", &name))?;
    }
    Ok(prepared.0)
}
