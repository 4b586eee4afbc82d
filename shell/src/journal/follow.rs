//! Reads records while others are written after them: for subscriptions that lag behind the ring.
//!
//! Only what is safe already is read, and only in segments that somebody still needs.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::files::Files;
use super::format::{SegmentHeader, segment_name};
use super::log::Failure;
use super::walk::{Cut, Found, Step, Walk};

/// Why a reading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It came to where it was to go, or was told to stop.
    Done,
    /// Records are missing that were safe.
    Damage {
        /// What was found.
        cut: Cut,
        /// Where the next intact record is, or where the reading was to go.
        next: u64,
    },
}

/// Reads a journal in pieces, each after the one before.
pub struct Follow<D: Files> {
    files: Arc<D>,
    epoch: u64,
    /// The segment that was read last.
    open: Option<(u64, D::File)>,
}

impl<D: Files> Follow<D> {
    /// Prepares to read the records of an epoch.
    pub fn new(files: Arc<D>, epoch: u64) -> Self {
        Self { files, epoch, open: None }
    }

    /// Calls with each record from one record boundary to another, checked, until it is told to
    /// stop. `chain` are the segments of the epoch, in order; `next_seq` is the number of the first
    /// DATA record, if it is known. About so many `bytes` are read at once.
    ///
    /// # Errors
    /// A file cannot be read; everything that `each` was called with is good.
    pub fn read(
        &mut self,
        chain: &[SegmentHeader],
        (from, to): (u64, u64),
        mut next_seq: Option<u64>,
        bytes: usize,
        mut each: impl FnMut(&Found<'_>) -> ControlFlow<()>,
    ) -> Result<Stop, Failure> {
        let mut at = from;
        while at < to {
            let last = chain.iter().rposition(|header| header.first_position <= at);
            let Some(header) = last.map(|index| &chain[index]) else {
                // What is before the first segment is gone.
                let next = chain.first().map_or(to, |first| first.first_position.min(to));
                return Ok(Stop::Damage { cut: Cut::Blank, next });
            };
            let next = last.and_then(|index| chain.get(index + 1));
            let end = next.map_or(to, |next| next.first_position.min(to));
            let name = segment_name(header.serial);
            let failed = || Failure::of("reading", &name);
            let file = match &mut self.open {
                Some((serial, file)) if *serial == header.serial => file,
                open => {
                    let file = self.files.open(&name).map_err(Failure::of("opening", &name))?;
                    &open.insert((header.serial, file)).1
                }
            };
            let first = header.first_position;
            let mut walk = Walk::new(file, self.epoch, first, (at, end), next_seq).by(bytes);
            loop {
                match walk.step().map_err(failed())? {
                    Step::Record(found) => {
                        if each(&found).is_break() {
                            return Ok(Stop::Done);
                        }
                    }
                    Step::Cut(Cut::None) => break,
                    Step::Cut(cut @ Cut::Sequence { .. }) => {
                        // The record is intact; those before it are missing.
                        return Ok(Stop::Damage { cut, next: walk.position() });
                    }
                    Step::Cut(cut) => {
                        let goes_on = walk.skip_damage().map_err(failed())?;
                        let next = if goes_on { walk.position() } else { end };
                        return Ok(Stop::Damage { cut, next });
                    }
                }
            }
            (at, next_seq) = (end, walk.next_seq());
        }
        Ok(Stop::Done)
    }

    /// Closes the file that was read last.
    pub fn rest(&mut self) {
        self.open = None;
    }
}
