//! The reading half: what is in a directory when a process starts.
//!
//! Nothing is believed that does not check, and nobody is asked. The answer says where the unread
//! records begin and end, whether numbers may go on after them, and what is missing.

use std::collections::VecDeque;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::cursors::{self, CursorFile};
use super::files::{File, Files, read_at};
use super::follow::{Follow, Stop};
use super::format::{
    BadBlock, Cursors, Durability, GRANULE, HEADER_BYTES, SegmentHeader, segment_name, serial_of,
};
use super::log::{Facts, Failure, Log, NEW_NAME, Prepared, Segment, Spill, prepare};
use super::seeded::{self, Bug};
use super::stretch::{Places, Stretch};
use super::walk::{Cut, Found, Step, Walk};

/// Name of the file that is locked.
pub const LOCK_NAME: &str = "lock";

/// Granules after which a record boundary is remembered, so that one that lies far in a stretch is
/// found without a walk from its beginning.
const MARK_GRANULES: u64 = if cfg!(test) { 6 } else { 1 << 15 };

/// Positions by names of subscriptions.
type Positions = Vec<(String, u64)>;

/// Bytes that are read at once of what is not kept.
const PIECE_BYTES: usize = 1 << 20;

/// Files that a process may have left unfinished.
const NEW_NAMES: [&str; 2] = [NEW_NAME, cursors::NEW_NAME];

/// Why a directory cannot be used.
#[derive(Debug)]
pub enum OpenError {
    /// Another process has it.
    Locked,
    /// The file system.
    Failed(Failure),
    /// A newer program wrote this file.
    Newer {
        /// Its name.
        name: String,
        /// Version of its format.
        version: u32,
    },
    /// It is another ring's.
    OtherRing {
        /// Whose.
        ring: String,
    },
}

impl From<Failure> for OpenError {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked => write!(f, "another process uses this journal"),
            Self::Failed(failure) => failure.fmt(f),
            Self::Newer { name, version } => {
                write!(f, "{name}: {}", BadBlock::Newer { version: *version })
            }
            Self::OtherRing { ring } => write!(f, "this is the journal of ring {ring}"),
        }
    }
}

impl std::error::Error for OpenError {}

/// Something that is missing or damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Damage {
    /// A segment whose header cannot be read.
    Segment {
        /// Its name.
        name: String,
        /// Why.
        why: BadBlock,
    },
    /// Records that were safe are not there.
    Records {
        /// Where the damage begins.
        position: u64,
        /// What was found there.
        cut: Cut,
        /// Number of the first record that is missing, if it is known.
        first: Option<u64>,
        /// Number of the next record that is intact; `None` if none is.
        next: Option<u64>,
    },
    /// The records end before the place up to which they were safe.
    End {
        /// Where they end.
        position: u64,
        /// What was found there.
        cut: Cut,
        /// Number of the first record that is missing, if it is known.
        first: Option<u64>,
        /// Number past the last that was published, as the cursors say, if they are intact.
        next_seq: Option<u64>,
    },
    /// No segment can be read, though the cursors say that records were published.
    Gone {
        /// Just past the last of them.
        published: u64,
        /// Number of the record that would come there.
        next_seq: u64,
    },
    /// No copy of the cursors is intact though there are segments.
    Cursors,
}

impl Damage {
    /// Returns how many records are missing, those included that everyone has released; `None` if
    /// their numbers are not known.
    pub fn missing_records(&self) -> Option<u64> {
        match *self {
            Self::Records { first, next, .. } => Some(next?.saturating_sub(first?)),
            Self::End { first, next_seq, .. } => Some(next_seq?.saturating_sub(first?)),
            Self::Gone { next_seq, .. } => Some(next_seq),
            Self::Segment { .. } | Self::Cursors => None,
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Segment { name, why } => write!(f, "{name}: {why}"),
            Self::Records { position, cut, first, next } => {
                write!(f, "at position {position}: {cut}")?;
                if let Some(first) = first {
                    write!(f, "; missing from record {first} on")?;
                }
                match next {
                    Some(next) => write!(f, "; record {next} is the next that is intact"),
                    None => write!(f, "; no intact record follows"),
                }
            }
            Self::End { position, cut, first, next_seq } => {
                write!(f, "at position {position}: {cut}; {}", missing(*first, *next_seq))
            }
            Self::Gone { published, next_seq } => write!(
                f,
                "no segment can be read; {}, up to position {published}",
                missing(Some(0), Some(*next_seq))
            ),
            Self::Cursors => write!(f, "no copy of the cursors is intact"),
        }
    }
}

/// Says which records are missing at the end: from one on, up to the last that was published.
pub fn missing(first: Option<u64>, next_seq: Option<u64>) -> String {
    let last = next_seq.and_then(|next| next.checked_sub(1));
    match (first, last) {
        (Some(first), Some(last)) if first < last => {
            format!("records {first} to {last} are missing, which the cursors say were published")
        }
        (Some(first), Some(last)) if first == last => {
            format!("record {first} is missing, which the cursors say was published")
        }
        (None, Some(last)) => {
            format!("records up to {last} are missing, which the cursors say were published")
        }
        (Some(first), None) => format!("missing from record {first} on"),
        _ => "no record is missing, only what was between".to_owned(),
    }
}

/// What is known of the last life of a ring.
#[derive(Clone, Debug)]
pub struct Past {
    /// Its epoch.
    pub epoch: u64,
    /// Granules of its data area.
    pub capacity: u32,
    /// What was not released, in order; more than one if something is missing between.
    pub stretches: Vec<Stretch>,
    /// Just past the last intact record.
    pub end: u64,
    /// Number of the record that comes there.
    pub next_seq: u64,
    /// Positions of the subscriptions, by name, within what is there.
    pub positions: Vec<(String, u64)>,
    /// Positions of those that may lag behind the ring, by name, not before the first segment:
    /// what they have not released may begin before the stretches.
    pub lagging: Vec<(String, u64)>,
    /// Whether numbers may go on in this epoch: nobody can have seen a record past the end.
    pub may_go_on: bool,
    /// The bytes past the end that were never safe, if there are any: why they are cut.
    pub torn: Option<Cut>,
    /// What is missing of what was safe.
    pub damage: Vec<Damage>,
}

impl Past {
    /// Returns what is known where nothing is left.
    fn gone(epoch: u64, damage: Vec<Damage>) -> Self {
        Self {
            epoch,
            capacity: 0,
            stretches: Vec::new(),
            end: 0,
            next_seq: 0,
            positions: Vec::new(),
            lagging: Vec::new(),
            may_go_on: false,
            torn: None,
            damage,
        }
    }

    /// Returns how many records are missing, as far as their numbers are known.
    pub fn missing_records(&self) -> u64 {
        self.damage.iter().filter_map(Damage::missing_records).sum()
    }
}

/// A directory that no other process uses.
pub struct Taken<D: Files> {
    files: D,
    lock: D::Lock,
}

impl<D: Files> Taken<D> {
    /// Locks the directory.
    pub fn take(files: D) -> Result<Self, OpenError> {
        let lock = files.lock(LOCK_NAME).map_err(|error| {
            if error.kind() == std::io::ErrorKind::WouldBlock {
                OpenError::Locked
            } else {
                Failure::of("locking", LOCK_NAME)(error).into()
            }
        })?;
        Ok(Self { files, lock })
    }
}

/// A directory that was looked at and not written to yet.
pub struct Opened<D: Files> {
    files: Arc<D>,
    facts: Facts,
    lock: D::Lock,
    segments: Vec<Segment>,
    /// Headers of the segments that have records of the past, in order.
    chain: Vec<SegmentHeader>,
    cursors: CursorFile<D::File>,
    /// The saved cursors, if they say that the last process ended in order.
    ended: Option<Cursors>,
    /// `None` if there was nothing.
    pub past: Option<Past>,
}

/// A journal in use.
pub struct Journal<D: Files> {
    /// Where records go.
    pub log: Log<D>,
    /// Where cursors go.
    pub cursors: CursorFile<D::File>,
    /// The first ones of a new epoch that could not begin yet. They are to be written and synced
    /// right before its first segment, and no others until then: those of the epoch before count.
    pub first_cursors: Option<Cursors>,
    /// For as long as the process may write.
    pub lock: D::Lock,
}

impl<D: Files> Opened<D> {
    /// Locks the directory and [looks](Self::of).
    pub fn open(files: D, facts: Facts) -> Result<Self, OpenError> {
        Self::of(Taken::take(files)?, facts)
    }

    /// Finds what is in a directory. Nothing is changed but leftovers of files that were never
    /// finished.
    pub fn of(taken: Taken<D>, facts: Facts) -> Result<Self, OpenError> {
        let Taken { files, lock } = taken;
        let names = files.list().map_err(Failure::of("listing", "the directory"))?;
        for name in names.iter().filter(|name| NEW_NAMES.contains(&name.as_str())) {
            files.unlink(name).map_err(Failure::of("removing", name))?;
        }
        let mut serials: Vec<u64> = names.iter().filter_map(|name| serial_of(name)).collect();
        serials.sort_unstable();
        let mut damage = Vec::new();
        let mut segments = Vec::with_capacity(serials.len());
        for serial in serials {
            let name = segment_name(serial);
            let header = match read_header(&files, &name)? {
                Ok(header) if header.serial != serial => Err(BadBlock::Content),
                Ok(header) if header.ring != facts.ring => {
                    return Err(OpenError::OtherRing { ring: header.ring });
                }
                Err(BadBlock::Newer { version }) => {
                    return Err(OpenError::Newer { name, version });
                }
                other => other,
            };
            let header = header.map_err(|why| damage.push(Damage::Segment { name, why })).ok();
            segments.push(Segment { serial, header });
        }
        let is_there = names.iter().any(|name| name == cursors::NAME);
        let (cursors, copies) =
            CursorFile::open(&files, is_there).map_err(Failure::of("opening", cursors::NAME))?;
        for copy in &copies {
            if let Err(BadBlock::Newer { version }) = copy {
                let name = cursors::NAME.to_owned();
                return Err(OpenError::Newer { name, version: *version });
            }
        }
        let mut opened = Self {
            files: Arc::new(files),
            facts,
            lock,
            segments,
            chain: Vec::new(),
            cursors,
            ended: None,
            past: None,
        };
        opened.past = opened.look(&copies, damage)?;
        Ok(opened)
    }

    fn look(
        &mut self,
        copies: &[cursors::Copy; 2],
        mut damage: Vec<Damage>,
    ) -> Result<Option<Past>, Failure> {
        let Some(newest) = self.segments.iter().rev().find_map(|each| each.header.clone()) else {
            let valid = copies.iter().flatten();
            let saved = valid.max_by_key(|(_, counter)| *counter).map(|(cursors, _)| cursors);
            if let Some(saved) = saved.filter(|saved| saved.next_seq > 0) {
                let Cursors { published, next_seq, .. } = *saved;
                damage.push(Damage::Gone { published, next_seq });
            }
            let epoch = saved.map_or(0, |saved| saved.epoch);
            return Ok((!damage.is_empty()).then(|| Past::gone(epoch, damage)));
        };
        let epoch = newest.epoch;
        let valid = copies.iter().enumerate().filter_map(|(place, copy)| {
            let (cursors, counter) = copy.as_ref().ok()?;
            (cursors.epoch == epoch).then_some((*counter, place, cursors))
        });
        let saved = valid.max_by_key(|(counter, ..)| *counter);
        if let Some((_, place, _)) = saved {
            self.cursors.keep(place);
        } else {
            damage.push(Damage::Cursors);
        }
        let saved = saved.map(|(.., cursors)| cursors.clone());
        // A segment that cannot be read, at the end, may have held anything.
        let newest_serial = newest.serial;
        let is_last = self.segments.last().is_some_and(|last| last.serial == newest_serial);
        let mut chain: Vec<SegmentHeader> = Vec::new();
        for header in self.segments.iter().filter_map(|each| each.header.as_ref()) {
            let before = chain.last().map_or(0, |last| last.first_position);
            if header.epoch != epoch {
                continue;
            }
            if header.first_position < before {
                let name = segment_name(header.serial);
                damage.push(Damage::Segment { name, why: BadBlock::Content });
                continue;
            }
            chain.push(header.clone());
        }
        let mut search = Search {
            places: Places { files: &*self.files, epoch, chain: &chain },
            held: u64::from(newest.capacity).saturating_sub(1),
            saved: saved.as_ref(),
            // Everything before it was safe.
            known: newest.first_position.max(saved.as_ref().map_or(0, |saved| saved.published)),
            damage,
            stretches: VecDeque::new(),
            marks: Vec::new(),
            torn: None,
            end: 0,
            next_seq: None,
        };
        search.run()?;
        let Search { known, damage, stretches, torn, end, next_seq, .. } = search;
        self.chain = chain;
        let is_whole = damage.iter().all(|each| matches!(each, Damage::Cursors))
            && is_last
            && end >= known
            && saved.is_some();
        let same_boot = newest.boot == self.facts.boot;
        let ended = saved.as_ref().is_some_and(|saved| saved.is_end && saved.published == end);
        let survived = newest.durability == Durability::Disk || same_boot || ended;
        self.ended = saved.clone().filter(|saved| saved.is_end);
        let start = stretches.front().map_or(end, |first| first.start);
        let first = self.chain.first().map_or(end, |first| first.first_position).min(end);
        let within =
            |from: u64| move |(name, at): (String, u64)| (name, at.clamp(from, end.max(from)));
        let (positions, lagging) = saved.map_or((Vec::new(), Vec::new()), |saved| {
            let positions = saved.positions.into_iter().map(within(start)).collect();
            (positions, saved.lagging.into_iter().map(within(first)).collect())
        });
        Ok(Some(Past {
            epoch,
            capacity: newest.capacity,
            stretches: stretches.into(),
            end,
            next_seq: next_seq.unwrap_or(0),
            positions,
            lagging,
            may_go_on: is_whole && survived && next_seq.is_some(),
            torn,
            damage,
        }))
    }

    /// Returns the directory.
    #[cfg(test)]
    pub(super) fn files(&self) -> &Arc<D> {
        &self.files
    }

    /// Returns the segments that have records of the past, in order.
    #[cfg(test)]
    pub(super) fn chain(&self) -> &[SegmentHeader] {
        &self.chain
    }

    /// Returns where the first segment of the epoch begins; where the past ends if there is none.
    pub fn first_position(&self) -> u64 {
        let end = self.past.as_ref().map_or(0, |past| past.end);
        self.chain.first().map_or(end, |first| first.first_position.min(end))
    }

    /// Returns where the last segment of the epoch begins that does so at a position or before it;
    /// where the first does if none is there so early.
    pub fn segment_before(&self, position: u64) -> u64 {
        let before = self.chain.iter().rev().find(|each| each.first_position <= position);
        before.map_or_else(|| self.first_position(), |segment| segment.first_position)
    }

    /// Returns how many bytes of records are reserved for a segment.
    pub fn segment_bytes(&self) -> u64 {
        self.facts.segment_bytes
    }

    /// Returns whether this is the first process that uses the directory.
    pub fn is_new(&self) -> bool {
        self.past.is_none()
    }

    /// Calls with the records of a stretch of the past as they were in the ring, in pieces of whole
    /// granules, each with its position. They were intact when they were found; the caller checks
    /// them again where they arrive.
    pub fn copy(&self, stretch: &Stretch, each: impl FnMut(u64, &[u8])) -> Result<(), Failure> {
        self.places().copy((stretch.start, stretch.end), each)
    }

    /// Calls with each record of a stretch of the past, checked once more, until it breaks; returns
    /// with what.
    pub fn walk<B>(
        &self,
        stretch: &Stretch,
        each: impl FnMut(&Found<'_>) -> ControlFlow<B>,
    ) -> Result<Option<B>, Failure> {
        self.places().walk((stretch.start, stretch.end), each)
    }

    fn places(&self) -> Places<'_, D> {
        let epoch = self.past.as_ref().map_or(0, |past| past.epoch);
        Places { files: &*self.files, epoch, chain: &self.chain }
    }

    /// Goes on in the epoch of the past, after its last record. What was cut is cut for good.
    /// Without space for a segment, nothing can be [appended](Log::waits_for) for now.
    pub fn go_on(mut self, now_ns: u64) -> Result<Journal<D>, Failure> {
        if let Some(ended) = self.ended.take().filter(|_| !seeded::is(Bug::EndKept)) {
            // Or a loss of power could leave this end, without the records that were published
            // after it, and their numbers would be given again.
            let failed = || Failure::of("writing", cursors::NAME);
            self.cursors.write(&Cursors { is_end: false, ..ended }).map_err(failed())?;
            self.cursors.sync().map_err(failed())?;
        }
        let (epoch, place) =
            self.past.as_ref().map_or((0, (0, 0)), |past| (past.epoch, (past.end, past.next_seq)));
        let prepared = self.prepare()?;
        self.begin(epoch, place, (0, Vec::new()), prepared, None, now_ns)
    }

    /// Reserves the first segment; `Ok(Err(_))` if there is no space for it, so that the journal
    /// begins all the same.
    #[allow(clippy::type_complexity, reason = "two kinds of failures")]
    fn prepare(&self) -> Result<Result<Prepared<D::File>, Failure>, Failure> {
        match prepare(&*self.files, &self.facts) {
            Err(failure) if !failure.is_out_of_space() => Err(failure),
            prepared => Ok(prepared),
        }
    }

    /// Finds the records that are before those of the past, from this position on: some that may
    /// lag have not released them.
    pub fn reach_back(&mut self, from: u64) -> Result<(), Failure> {
        let Some(past) = &mut self.past else { return Ok(()) };
        let start = past.stretches.first().map_or(past.end, |first| first.start);
        let mut follow = Follow::new(Arc::clone(&self.files), past.epoch);
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        let mut at = from;
        while at < start {
            let mut stretch = Stretch { start: at, end: at, largest: 0 };
            let stop = follow.read(&self.chain, (at, start), None, PIECE_BYTES, |record| {
                stretch.end = record.end();
                if record.header.is_data() {
                    stretch.largest = stretch.largest.max(record.header.len);
                }
                ControlFlow::Continue(())
            })?;
            let end = stretch.end;
            if end > at {
                found.push(stretch);
            }
            at = match stop {
                Stop::Done => start,
                Stop::Damage { cut, next } => {
                    missing.push((end, cut, next));
                    next
                }
            };
        }
        for (position, cut, next) in missing {
            let mut seq = (next >= past.end).then_some(past.next_seq);
            follow.read(&self.chain, (next, past.end), None, HEADER_BYTES, |record| {
                seq = Some(record.header.seq);
                ControlFlow::Break(())
            })?;
            past.damage.push(Damage::Records { position, cut, first: None, next: seq });
        }
        found.append(&mut past.stretches);
        past.stretches = found;
        Ok(())
    }

    /// Begins the first segment of an epoch that has more records than are in memory at once.
    pub fn spill(&self) -> Result<Spill<D::File>, Failure> {
        prepare(&*self.files, &self.facts).map(Spill::new)
    }

    /// Begins an epoch that was never used, with what was spilled and then these records, from
    /// position and number 0 on, and the subscriptions, those that may lag apart, at these
    /// positions.
    pub fn begin_epoch(
        mut self,
        epoch: u64,
        spill: Option<Spill<D::File>>,
        (records, next_seq): (&[u8], u64),
        (positions, lagging): (Positions, Positions),
        now_ns: u64,
    ) -> Result<Journal<D>, Failure> {
        let (prepared, before) = match spill.map(Spill::into_parts) {
            Some((prepared, bytes)) => (Ok(prepared), bytes),
            None => (self.prepare()?, 0),
        };
        let published = (before + records.len() as u64) / GRANULE;
        let cursors = Cursors { epoch, published, next_seq, is_end: false, positions, lagging };
        let mut late = Some(cursors);
        if prepared.is_ok()
            && let Some(cursors) = late.take()
        {
            // Before the segment that makes them count. Those of the last epoch count until then.
            let failed = || Failure::of("writing", cursors::NAME);
            self.cursors.write(&cursors).map_err(failed())?;
            self.cursors.sync().map_err(failed())?;
        }
        self.begin(epoch, (0, 0), (before, records.to_vec()), prepared, late, now_ns)
    }

    fn begin(
        self,
        epoch: u64,
        place: (u64, u64),
        records: (u64, Vec<u8>),
        prepared: Result<Prepared<D::File>, Failure>,
        first_cursors: Option<Cursors>,
        now_ns: u64,
    ) -> Result<Journal<D>, Failure> {
        let Self { files, facts, lock, segments, cursors, .. } = self;
        let log = Log::begin(files, facts, segments, epoch, place, records, prepared, now_ns)?;
        Ok(Journal { log, cursors, first_cursors, lock })
    }
}

/// Reads the header of a segment.
pub fn read_header<D: Files>(
    files: &D,
    name: &str,
) -> Result<Result<SegmentHeader, BadBlock>, Failure> {
    let file = files.open(name).map_err(Failure::of("opening", name))?;
    let mut block = vec![0; HEADER_BYTES];
    let read = read_at(&file, &mut block, 0).map_err(Failure::of("reading", name))?;
    Ok(SegmentHeader::decode(&block[..read]))
}

/// The search for what was not released.
struct Search<'a, D> {
    places: Places<'a, D>,
    /// Most granules that the ring can have held at once: what lies farther back was released by
    /// everyone, whatever the saved cursors say, or it would have been full.
    held: u64,
    saved: Option<&'a Cursors>,
    known: u64,
    damage: Vec<Damage>,
    stretches: VecDeque<Stretch>,
    /// Some boundaries between records, in order.
    marks: Vec<u64>,
    torn: Option<Cut>,
    end: u64,
    next_seq: Option<u64>,
}

impl<D: Files> Search<'_, D> {
    /// Walks the segments of the epoch, from the slowest subscription on.
    fn run(&mut self) -> Result<(), Failure> {
        let chain = self.places.chain;
        let Some(first) = chain.first() else { return Ok(()) };
        let published = self.saved.map(|saved| saved.published);
        // Those that may lag are fed from the journal; but one that lags no farther than the ring
        // reaches may be one that must not lag any more.
        let slowest = self.saved.and_then(|saved| {
            let near = |at: &u64| saved.published.saturating_sub(*at) <= self.held;
            let lagging = saved.lagging.iter().map(|(_, at)| *at).filter(near);
            saved.positions.iter().map(|(_, at)| *at).chain(lagging).min()
        });
        let wanted = slowest.or(published).unwrap_or(first.first_position);
        // Without cursors everything that is kept is unread.
        let begin = chain.iter().rposition(|each| each.first_position <= wanted);
        if begin.is_none() {
            let (next, position) = (Some(first.first_seq), wanted);
            self.damage.push(Damage::Records { position, cut: Cut::Blank, first: None, next });
        }
        let begin = begin.unwrap_or(0);
        let mut from = wanted.max(chain[begin].first_position);
        self.next_seq = if from == chain[begin].first_position {
            Some(chain[begin].first_seq)
        } else {
            self.saved.filter(|saved| saved.published == from).map(|saved| saved.next_seq)
        };
        self.end = from;
        for index in begin..chain.len() {
            let limit = chain.get(index + 1).map(|next| next.first_position);
            self.segment(&chain[index], from, limit)?;
            if let Some(next) = chain.get(index + 1) {
                from = next.first_position;
                // The records before the next segment are missing.
                if let Some(Damage::Records { position, next: seq @ None, .. }) =
                    self.damage.last_mut().filter(|_| self.end < from)
                    && *position == self.end
                {
                    *seq = Some(next.first_seq);
                }
                if self.end == from {
                    let found = next.first_seq;
                    if let Some(expected) = self.next_seq.filter(|&seq| seq != found) {
                        let cut = Cut::Sequence { expected, found };
                        let (first, next) = (Some(expected), Some(found));
                        self.damage.push(Damage::Records { position: from, cut, first, next });
                    }
                    self.next_seq = Some(found);
                }
            }
        }
        self.trim()?;
        if self.end < self.known {
            let (position, mut first) = (self.end, self.next_seq);
            let mut cut = self.torn.unwrap_or(Cut::Blank);
            // Noted already, without its end.
            self.damage.retain(|each| match *each {
                Damage::Records { position: at, cut: found, first: number, next: None }
                    if at == position =>
                {
                    (cut, first) = (found, number);
                    false
                }
                _ => true,
            });
            let next_seq = self.saved.map(|saved| saved.next_seq);
            self.damage.push(Damage::End { position, cut, first, next_seq });
            self.torn = None;
        }
        Ok(())
    }

    fn segment(
        &mut self,
        header: &SegmentHeader,
        from: u64,
        limit: Option<u64>,
    ) -> Result<(), Failure> {
        let name = segment_name(header.serial);
        let file = self.places.files.open(&name).map_err(Failure::of("opening", &name))?;
        let failed = || Failure::of("reading", segment_name(header.serial));
        // A process that was killed may have left something to the system: it must be safe before
        // anyone sees it. And what an earlier process failed to sync must not be seen at all.
        file.fdatasync().map_err(Failure::of("syncing", &name))?;
        if !seeded::is(Bug::CacheTrusted) {
            file.forget().map_err(failed())?;
        }
        let size = file.size().map_err(failed())?;
        let space = size.saturating_sub(HEADER_BYTES as u64) / GRANULE;
        let is_last = limit.is_none();
        let limit = limit.unwrap_or(header.first_position + space);
        let from = from.min(limit);
        let known_seq = if self.end == from { self.next_seq } else { None };
        let span = (from, limit);
        let mut walk = Walk::new(&file, header.epoch, header.first_position, span, known_seq);
        loop {
            match walk.step().map_err(failed())? {
                Step::Record(found) => self.take(&found),
                Step::Cut(Cut::None) => break,
                Step::Cut(cut) => {
                    let position = walk.position();
                    if is_last && position >= self.known {
                        self.torn = (cut != Cut::Blank).then_some(cut);
                        break;
                    }
                    let first = walk.next_seq();
                    let goes_on = walk.skip_damage().map_err(failed())?;
                    let next =
                        if goes_on { self.resume(&mut walk).map_err(failed())? } else { None };
                    self.damage.push(Damage::Records { position, cut, first, next });
                    if next.is_none() {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes the record past damage; returns its number.
    fn resume(&mut self, walk: &mut Walk<'_, D::File>) -> std::io::Result<Option<u64>> {
        match walk.step()? {
            Step::Record(found) => {
                self.take(&found);
                Ok(Some(found.header.seq))
            }
            Step::Cut(_) => Ok(None),
        }
    }

    /// Drops what everyone has released, given that the ring came to the end that was found.
    fn trim(&mut self) -> Result<(), Failure> {
        let from = self.end.saturating_sub(self.held);
        let Some(first) = self.stretches.front_mut().filter(|first| first.start < from) else {
            return Ok(());
        };
        let is_before = |mark: &&u64| (first.start..=from).contains(*mark);
        let near = self.marks.iter().rev().find(is_before).copied().unwrap_or(first.start);
        let start = self.places.walk((near, first.end), |found| {
            if found.position < from {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(found.position)
            }
        })?;
        match start {
            Some(start) => first.start = start,
            None => drop(self.stretches.pop_front()),
        }
        Ok(())
    }

    fn take(&mut self, found: &Found<'_>) {
        let (position, end) = (found.position, found.end());
        let largest = if found.header.is_data() { found.header.len } else { 0 };
        if let Some(last) = self.stretches.back_mut().filter(|last| last.end == position) {
            last.end = end;
            last.largest = last.largest.max(largest);
        } else {
            self.stretches.push_back(Stretch { start: position, end, largest });
        }
        if self.marks.last().is_none_or(|mark| position.saturating_sub(*mark) >= MARK_GRANULES) {
            self.marks.push(position);
        }
        // What everyone has released, given that the ring came here.
        while self.stretches.front().is_some_and(|first| first.end.saturating_add(self.held) <= end)
        {
            self.stretches.pop_front();
        }
        self.end = end;
        self.next_seq = Some(found.header.seq + u64::from(found.header.is_data()));
    }
}
