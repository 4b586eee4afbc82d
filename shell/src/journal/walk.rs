//! Walks the records of one segment, each checked before it is believed.
//!
//! Nothing says where a segment ends: the walk ends where no intact record follows.

use std::fmt;
use std::io;

use aqueduct_core::HeaderCrc;
use aqueduct_core::internals::{Framing, Header};
use aqueduct_core::layout::GRANULE_BYTES;

use super::files::{File, read_at};
use super::format::{GRANULE, HEADER_BYTES};
use super::seeded::{self, Bug};

/// Bytes that are read at once.
const WINDOW_BYTES: usize = 1 << 20;
/// Bytes that the disk is asked for while those before them are looked at.
const AHEAD_BYTES: u64 = 8 << 20;
/// Payload bytes that may turn out to be damaged, for each byte of the segment. Past damage every
/// granule may be the header of a record that reaches far: without a bound, files made for it would
/// keep a start busy for hours.
const DAMAGE_PATIENCE: u64 = 16;

/// One intact record, padding included.
#[derive(Clone, Copy, Debug)]
pub struct Found<'b> {
    /// Where it is.
    pub position: u64,
    /// Its header.
    pub header: Header,
    /// All of its bytes, a multiple of 32, as they were in the ring.
    pub bytes: &'b [u8],
}

impl Found<'_> {
    /// Returns just past it.
    pub fn end(&self) -> u64 {
        self.position + self.bytes.len() as u64 / GRANULE
    }

    /// Returns its payload and its attribute block.
    pub fn content(&self) -> (&[u8], &[u8]) {
        let all = &self.bytes[GRANULE_BYTES..][..self.header.len as usize];
        all.split_at(all.len().saturating_sub(self.header.attribute_bytes()))
    }
}

/// Why a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// At the limit, with everything before it intact.
    None,
    /// Nothing was ever written here.
    Blank,
    /// There is no valid header.
    Header(HeaderCrc),
    /// The header is valid and its length leads out of the segment.
    Length {
        /// Bytes after the header.
        bytes: u32,
    },
    /// The payload is damaged.
    Payload {
        /// Sequence number in its header.
        seq: u64,
        /// Bytes of it.
        bytes: u32,
        /// CRC in its header.
        stored: u32,
        /// CRC of its payload.
        computed: u32,
    },
    /// The sequence number does not follow.
    Sequence {
        /// The one that should follow.
        expected: u64,
        /// The one found.
        found: u64,
    },
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => write!(f, "whole"),
            Self::Blank => write!(f, "nothing was written there"),
            Self::Header(HeaderCrc { stored, computed }) => {
                write!(f, "no record header: CRC {stored:#010x} stored, {computed:#010x} computed")
            }
            Self::Length { bytes } => {
                write!(f, "a record of {bytes} bytes that leads out of the segment")
            }
            Self::Payload { seq, stored, computed, .. } => {
                write!(
                    f,
                    "record {seq} is damaged: CRC {stored:#010x} stored, {computed:#010x} computed"
                )
            }
            Self::Sequence { expected, found } => {
                write!(f, "record {found} where {expected} should follow")
            }
        }
    }
}

/// What comes next.
#[derive(Debug)]
pub enum Step<'b> {
    /// A record.
    Record(Found<'b>),
    /// None: the walk is over at [`Walk::position`].
    Cut(Cut),
}

/// A walk over one segment.
pub struct Walk<'f, F> {
    file: &'f F,
    framing: Framing,
    /// Position of the segment's first record.
    first: u64,
    position: u64,
    limit: u64,
    next_seq: Option<u64>,
    /// Payload bytes that may still turn out to be damaged.
    patience: u64,
    window: Vec<u8>,
    /// Bytes that are read at once, unless a record is larger.
    window_bytes: usize,
    /// Position of the window's first byte.
    window_at: u64,
    /// Up to where the disk was asked, in bytes of the file.
    asked: u64,
}

impl<'f, F: File> Walk<'f, F> {
    /// Begins at `from`, a record boundary, and goes up to `limit`, which nothing may cross.
    /// `next_seq` is the sequence number of the first DATA record, if it is known.
    pub fn new(
        file: &'f F,
        epoch: u64,
        first: u64,
        (from, limit): (u64, u64),
        next_seq: Option<u64>,
    ) -> Self {
        Self {
            file,
            framing: Framing::new(epoch),
            first,
            position: from,
            limit,
            next_seq,
            patience: DAMAGE_PATIENCE.saturating_mul(limit.saturating_sub(first) * GRANULE),
            window: Vec::new(),
            window_bytes: WINDOW_BYTES,
            window_at: from,
            asked: 0,
        }
    }

    /// Reads no more than so many bytes at once, for a walk that is not to go far.
    #[must_use]
    pub fn by(mut self, bytes: usize) -> Self {
        self.window_bytes = bytes.clamp(GRANULE_BYTES, WINDOW_BYTES);
        self
    }

    /// Returns just past the last record found.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Returns the sequence number that the next DATA record must have, if it is known.
    pub fn next_seq(&self) -> Option<u64> {
        self.next_seq
    }

    /// Takes the next record.
    pub fn step(&mut self) -> io::Result<Step<'_>> {
        if self.position >= self.limit {
            return Ok(Step::Cut(Cut::None));
        }
        let (header, bytes) = match self.check()? {
            Ok(found) => found,
            Err(cut) => return Ok(Step::Cut(cut)),
        };
        let position = self.position;
        let at = usize::try_from((position - self.window_at) * GRANULE).unwrap_or(usize::MAX);
        self.position += bytes as u64 / GRANULE;
        self.next_seq = Some(header.seq + u64::from(header.is_data()));
        Ok(Step::Record(Found { position, header, bytes: &self.window[at..at + bytes] }))
    }

    /// Goes on at the next intact record past damage, whatever its number. False if there is none
    /// up to the limit, or none was found in reasonable time.
    pub fn skip_damage(&mut self) -> io::Result<bool> {
        let known = self.next_seq.take();
        while self.position + 1 < self.limit {
            self.position += 1;
            if self.load(GRANULE)?.is_none() {
                break;
            }
            if let Ok((header, _)) = self.check()? {
                // Older bytes of the ring lie inside padding: a number that was there before.
                if known.is_none_or(|known| header.seq >= known) {
                    return Ok(true);
                }
            }
            if self.patience == 0 {
                break;
            }
        }
        self.position = self.limit;
        Ok(false)
    }

    /// Checks the record at the position; returns its header and bytes.
    fn check(&mut self) -> io::Result<Result<(Header, usize), Cut>> {
        let Some(bytes) = self.load(GRANULE)? else {
            return Ok(Err(Cut::Blank));
        };
        let mut granule = [0; GRANULE_BYTES];
        granule.copy_from_slice(bytes);
        if granule == [0; GRANULE_BYTES] {
            return Ok(Err(Cut::Blank));
        }
        #[allow(clippy::cast_possible_truncation, reason = "the ring's own positions have 32 bits")]
        let header = match self.framing.decode(self.position as u32, &granule) {
            Ok(header) => header,
            Err(crc) => return Ok(Err(Cut::Header(crc))),
        };
        let granules = 1 + u64::from(header.len).div_ceil(GRANULE);
        // A number near the end of all would overflow.
        if self.position + granules > self.limit || header.seq >= 1 << 62 {
            return Ok(Err(Cut::Length { bytes: header.len }));
        }
        if let Some(expected) = self.next_seq.filter(|&expected| expected != header.seq) {
            return Ok(Err(Cut::Sequence { expected, found: header.seq }));
        }
        let Some(bytes) = self.load(granules * GRANULE)? else {
            return Ok(Err(Cut::Length { bytes: header.len }));
        };
        let len = bytes.len();
        if header.is_data() {
            let payload = &bytes[GRANULE_BYTES..][..header.len as usize];
            let computed = aqueduct_core::payload_crc(payload);
            if computed != header.payload_crc && !seeded::is(Bug::HeaderTrusted) {
                self.patience = self.patience.saturating_sub(u64::from(header.len));
                let (seq, bytes, stored) = (header.seq, header.len, header.payload_crc);
                return Ok(Err(Cut::Payload { seq, bytes, stored, computed }));
            }
        }
        Ok(Ok((header, len)))
    }

    /// Returns so many bytes at the position; `None` if the file ends before.
    fn load(&mut self, bytes: u64) -> io::Result<Option<&[u8]>> {
        let bytes = usize::try_from(bytes).map_err(io::Error::other)?;
        let at = self.position.checked_sub(self.window_at).map(|granules| granules * GRANULE);
        let at = at.and_then(|at| usize::try_from(at).ok()).filter(|&at| at <= self.window.len());
        if let Some(at) = at
            && self.window.len() - at >= bytes
        {
            return Ok(Some(&self.window[at..at + bytes]));
        }
        let left = (self.limit - self.position) * GRANULE;
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.max(self.window_bytes));
        self.window.resize(wanted, 0);
        self.window_at = self.position;
        let from = HEADER_BYTES as u64 + (self.position - self.first) * GRANULE;
        let ahead = from + left.min(wanted as u64 + AHEAD_BYTES);
        if ahead > self.asked {
            let asked = self.asked.max(from);
            self.file.ahead(asked, ahead - asked);
            self.asked = ahead;
        }
        let read = read_at(self.file, &mut self.window, from)?;
        self.window.truncate(read);
        Ok(self.window.get(..bytes))
    }
}
