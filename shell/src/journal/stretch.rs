//! Where intact records are in the files of a journal, and how they are read again.
//!
//! A start looks at the unread records once without keeping them, because they may be as many bytes
//! as the machine has memory for; they are read a second time, into their place in the ring.

use std::ops::ControlFlow;

use super::files::{Files, read_at};
use super::format::{GRANULE, HEADER_BYTES, SegmentHeader, segment_name};
use super::log::Failure;
use super::walk::{Found, Step, Walk};

/// Bytes that are read at once: they stay in the processor's own cache until they are in place.
const PIECE_BYTES: u64 = 256 << 10;

/// A stretch of intact records, one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stretch {
    /// Position of the first.
    pub start: u64,
    /// Just past the last.
    pub end: u64,
    /// Bytes after the header of the largest DATA record, of these and maybe of some before.
    pub largest: u32,
}

impl Stretch {
    /// Returns how many bytes they take.
    pub fn bytes(&self) -> u64 {
        (self.end - self.start) * GRANULE
    }
}

/// The segments of one epoch, in order.
pub(super) struct Places<'a, D> {
    pub(super) files: &'a D,
    pub(super) epoch: u64,
    pub(super) chain: &'a [SegmentHeader],
}

impl<D: Files> Places<'_, D> {
    /// The segments that have a part of what is from one position to another, and which part.
    fn parts(&self, from: u64, to: u64) -> impl Iterator<Item = (&SegmentHeader, u64, u64)> {
        self.chain.iter().enumerate().filter_map(move |(index, header)| {
            let next = self.chain.get(index + 1).map_or(u64::MAX, |next| next.first_position);
            let (from, to) = (from.max(header.first_position), to.min(next));
            (from < to).then_some((header, from, to))
        })
    }

    /// Calls with what is from one record boundary to another, as it is in the files: in pieces of
    /// whole granules, each with its position. It was intact when it was found; the caller checks
    /// it again where it arrives.
    pub(super) fn copy(
        &self,
        (from, to): (u64, u64),
        mut each: impl FnMut(u64, &[u8]),
    ) -> Result<(), Failure> {
        let mut piece = Vec::new();
        for (header, from, to) in self.parts(from, to) {
            let name = segment_name(header.serial);
            let file = self.files.open(&name).map_err(Failure::of("opening", &name))?;
            let mut at = from;
            while at < to {
                let bytes = ((to - at) * GRANULE).min(PIECE_BYTES);
                piece.resize(usize::try_from(bytes).unwrap_or(0), 0);
                let place = HEADER_BYTES as u64 + (at - header.first_position) * GRANULE;
                let read = read_at(&file, &mut piece, place);
                if read.map_err(Failure::of("reading", &name))? < piece.len() {
                    let error = std::io::ErrorKind::UnexpectedEof.into();
                    return Err(Failure::of("reading", &name)(error));
                }
                each(at, &piece);
                at += bytes / GRANULE;
            }
        }
        Ok(())
    }

    /// Calls with each record from one boundary to another, checked once more, until it is told to
    /// stop.
    pub(super) fn walk<B>(
        &self,
        (from, to): (u64, u64),
        mut each: impl FnMut(&Found<'_>) -> ControlFlow<B>,
    ) -> Result<Option<B>, Failure> {
        for (header, from, to) in self.parts(from, to) {
            let name = segment_name(header.serial);
            let file = self.files.open(&name).map_err(Failure::of("opening", &name))?;
            let mut walk = Walk::new(&file, self.epoch, header.first_position, (from, to), None);
            while walk.position() < to {
                let position = walk.position();
                match walk.step().map_err(Failure::of("reading", &name))? {
                    Step::Record(found) => {
                        if let ControlFlow::Break(why) = each(&found) {
                            return Ok(Some(why));
                        }
                    }
                    Step::Cut(cut) => {
                        let said =
                            format!("an intact record at {position} is none any more: {cut}");
                        return Err(Failure::of("reading", &name)(std::io::Error::other(said)));
                    }
                }
            }
        }
        Ok(None)
    }
}
