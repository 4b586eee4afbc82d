//! Reads a journal without taking it: for people, for replay, and while another process writes.

use std::path::Path;

use super::cursors::{self, Copy};
use super::disk::Disk;
use super::files::{File, Files};
use super::format::{
    BadBlock, Cursors, GRANULE, HEADER_BYTES, SegmentHeader, segment_name, serial_of,
};
use super::log::Failure;
use super::recover::{Damage, LOCK_NAME, missing};
use super::walk::{Cut, Found, Step, Walk};

/// One file that should be a segment.
#[derive(Clone, Debug)]
pub struct Piece {
    /// Its name.
    pub name: String,
    /// What it says of itself, or why that cannot be read.
    pub header: Result<SegmentHeader, BadBlock>,
    /// Where the next segment of its epoch begins: nothing from there on counts. `None` if it is
    /// the last.
    pub limit: Option<u64>,
    /// Up to where its epoch was published, at least, and the number of the record that comes
    /// there: what the saved cursors say. `None` if another segment of the epoch follows.
    pub published: Option<(u64, u64)>,
}

impl Piece {
    /// Returns the position before which its records were safe, as far as the cursors say.
    fn known(&self) -> u64 {
        self.published.map_or(0, |(position, _)| position)
    }
}

/// Where a walk over a segment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Just past the last intact record before it.
    pub position: u64,
    /// Number of the record that comes there, if it is known.
    pub next_seq: Option<u64>,
    /// Why.
    pub cut: Cut,
    /// An intact record follows later.
    pub goes_on: bool,
}

impl Ended {
    /// Whether records are missing: not where a segment is just not full, or its last write was
    /// torn.
    pub fn is_damage(&self, piece: &Piece) -> bool {
        let is_whole = self.cut == Cut::None || piece.limit.is_none();
        self.goes_on || !is_whole || self.is_short(piece)
    }

    /// Whether records are missing after it that the saved cursors know of.
    pub fn is_short(&self, piece: &Piece) -> bool {
        !self.goes_on && self.position < piece.known()
    }

    /// Returns the first and the last record that are missing after it, as the saved cursors say.
    pub fn missing(&self, piece: &Piece) -> Option<(u64, u64)> {
        let (_, next_seq) = piece.published.filter(|_| self.is_short(piece))?;
        self.next_seq.zip(next_seq.checked_sub(1)).filter(|(first, last)| first <= last)
    }

    /// Says what was found there, and which records are missing after it.
    pub fn text(&self, piece: &Piece) -> String {
        let cut = match self.cut {
            Cut::None => "the file ends".to_owned(),
            cut => cut.to_string(),
        };
        match piece.published.filter(|_| self.is_short(piece)) {
            Some((_, next_seq)) => format!("{cut}; {}", missing(self.next_seq, Some(next_seq))),
            None => self.cut.to_string(),
        }
    }
}

/// A journal as it is now.
pub struct History {
    disk: Disk,
    /// Its segments, in order.
    pub pieces: Vec<Piece>,
    /// Both copies of the cursors, if there is a file of them.
    pub cursors: Option<[Copy; 2]>,
    /// Names of files that are none of a journal's.
    pub foreign: Vec<String>,
}

impl History {
    /// Looks at a directory.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let directory = path.display().to_string();
        let disk = Disk::existing(path).map_err(Failure::of("opening", &directory))?;
        // First: what another process publishes later is in the segments, too.
        let cursors = read_cursors(&disk)?;
        let names = disk.list().map_err(Failure::of("listing", &directory))?;
        let mut serials: Vec<u64> = names.iter().filter_map(|name| serial_of(name)).collect();
        serials.sort_unstable();
        let mut pieces = Vec::with_capacity(serials.len());
        for serial in serials {
            let name = segment_name(serial);
            let file = disk.open_to_read(&name).map_err(Failure::of("opening", &name))?;
            let mut block = vec![0; HEADER_BYTES];
            let read = super::files::read_at(&file, &mut block, 0)
                .map_err(Failure::of("reading", &name))?;
            let header = SegmentHeader::decode(&block[..read]);
            pieces.push(Piece { name, header, limit: None, published: None });
        }
        let mut next: Option<(u64, u64)> = None;
        for piece in pieces.iter_mut().rev() {
            let Ok(header) = &piece.header else { continue };
            piece.limit = next.filter(|(epoch, _)| *epoch == header.epoch).map(|(_, at)| at);
            next = Some((header.epoch, header.first_position));
        }
        let known = [LOCK_NAME, cursors::NAME, cursors::NEW_NAME, super::log::NEW_NAME, ".", ".."];
        let is_foreign =
            |name: &String| serial_of(name).is_none() && !known.contains(&name.as_str());
        let foreign = names.into_iter().filter(is_foreign).collect();
        let mut history = Self { disk, pieces, cursors, foreign };
        let published = history.saved().map(|saved| (saved.published, saved.next_seq));
        let mut pieces = history.pieces.iter_mut().rev();
        if let Some(last) = pieces.find(|piece| piece.header.is_ok()) {
            last.published = published;
        }
        Ok(history)
    }

    /// Returns the cursors that were saved last: those of the newest epoch, or any if no segment
    /// can be read.
    pub fn saved(&self) -> Option<&Cursors> {
        let newest = self.pieces.iter().rev().find_map(|piece| piece.header.as_ref().ok());
        let saved = self.cursors.iter().flatten().flatten();
        let saved =
            saved.filter(|(saved, _)| newest.is_none_or(|newest| saved.epoch == newest.epoch));
        saved.max_by_key(|(_, counter)| *counter).map(|(saved, _)| saved)
    }

    /// Returns what is missing if no segment can be read, though the cursors say that records were
    /// published.
    pub fn gone(&self) -> Option<Damage> {
        let is_gone = self.pieces.iter().all(|piece| piece.header.is_err());
        let saved = self.saved().filter(|saved| is_gone && saved.next_seq > 0)?;
        Some(Damage::Gone { published: saved.published, next_seq: saved.next_seq })
    }

    /// Takes the directory, so that no process begins to use it. `None` if one does already.
    pub fn lock(&self) -> Result<Option<impl Sized>, Failure> {
        match self.disk.lock(LOCK_NAME) {
            Ok(lock) => Ok(Some(lock)),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(Failure::of("locking", LOCK_NAME)(error)),
        }
    }

    /// Reads the block that a segment begins with, whatever it says.
    pub fn block(&self, piece: &Piece) -> Result<Vec<u8>, Failure> {
        let failed = || Failure::of("reading", &piece.name);
        let file = self.disk.open_to_read(&piece.name).map_err(failed())?;
        let mut block = vec![0; HEADER_BYTES];
        let read = super::files::read_at(&file, &mut block, 0).map_err(failed())?;
        block.truncate(read);
        Ok(block)
    }

    /// Removes a segment.
    pub fn remove(&self, piece: &Piece) -> Result<(), Failure> {
        self.disk.unlink(&piece.name).map_err(Failure::of("removing", &piece.name))
    }

    /// Walks one segment; `each` says whether to go on. Returns every place where the walk was
    /// interrupted: the last is its end.
    ///
    /// # Errors
    /// The file cannot be read, or `each` failed.
    pub fn walk(
        &self,
        piece: &Piece,
        mut each: impl FnMut(&SegmentHeader, &Found<'_>) -> std::io::Result<bool>,
    ) -> Result<Vec<Ended>, Failure> {
        let Ok(header) = &piece.header else { return Ok(Vec::new()) };
        let failed = || Failure::of("reading", &piece.name);
        let file = self.disk.open_to_read(&piece.name).map_err(failed())?;
        let size = file.size().map_err(failed())?;
        let space = size.saturating_sub(HEADER_BYTES as u64) / GRANULE;
        let first = header.first_position;
        let limit = piece.limit.unwrap_or(first + space).max(first);
        let seq = Some(header.first_seq);
        let mut walk = Walk::new(&file, header.epoch, first, (first, limit), seq);
        let mut ends = Vec::new();
        loop {
            let cut = match walk.step().map_err(failed())? {
                Step::Record(found) => {
                    if !each(header, &found).map_err(Failure::of("writing", "the output"))? {
                        return Ok(ends);
                    }
                    continue;
                }
                Step::Cut(cut) => cut,
            };
            let (position, next_seq) = (walk.position(), walk.next_seq());
            // The rest of a segment that is not full is blank: nobody looks through it.
            let is_rest = piece.limit.is_none() && position >= piece.known();
            let is_end = cut == Cut::None || (is_rest && cut == Cut::Blank);
            let goes_on = !is_end && walk.skip_damage().map_err(failed())?;
            ends.push(Ended { position, next_seq, cut, goes_on });
            if !goes_on {
                return Ok(ends);
            }
        }
    }
}

/// Reads both copies of the cursors, if there is a file of them.
fn read_cursors(disk: &Disk) -> Result<Option<[Copy; 2]>, Failure> {
    let file = match disk.open_to_read(cursors::NAME) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Failure::of("opening", cursors::NAME)(error)),
    };
    cursors::copies(&file).map(Some).map_err(Failure::of("reading", cursors::NAME))
}
