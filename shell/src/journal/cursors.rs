//! The cursors of the subscriptions, in two copies that are written in turn: a write that is torn
//! leaves the other one.

use std::io;

use super::files::{File, Files, read_at, write_at};
use super::format::{BadBlock, CURSORS_BYTES, Cursors};
use super::seeded::{self, Bug};

/// Name of the file.
pub const NAME: &str = "cursors";
/// Its name until it is whole.
pub const NEW_NAME: &str = "cursors.tmp";

/// What was found in one of the two places.
pub type Copy = Result<(Cursors, u64), BadBlock>;

/// The file of the cursors.
pub struct CursorFile<F> {
    file: F,
    /// Place that is written next. INVARIANT: not that of the last copy that was synced.
    place: u64,
    counter: u64,
    /// Epoch of the last copy written, and its slowest position.
    written: Option<(u64, u64)>,
    /// The same of the last copy that is durable.
    durable: Option<(u64, u64)>,
}

impl<F: File> CursorFile<F> {
    /// Opens the file, or makes one, durable. Returns what is in its two places.
    pub fn open<D: Files<File = F>>(files: &D, is_there: bool) -> io::Result<(Self, [Copy; 2])> {
        let file = if is_there {
            let file = files.open(NAME)?;
            // Nor may a name be gone that a process did not live to sync, its own or a segment's,
            // while the name of a segment that this one adds is kept.
            files.sync_dir()?;
            // A process that was killed may have left a copy to the system. One that is believed
            // must be safe before the other is written over.
            if !seeded::is(Bug::CopyTrusted) {
                file.fdatasync()?;
                file.forget()?;
            }
            file
        } else {
            let file = files.create(NEW_NAME)?;
            file.fallocate(2 * CURSORS_BYTES as u64)?;
            file.fdatasync()?;
            files.rename(NEW_NAME, NAME)?;
            files.sync_dir()?;
            file
        };
        let copies = copies(&file)?;
        let newest = copies.iter().flatten().map(|(_, counter)| *counter).max().unwrap_or(0);
        Ok((Self { file, place: 0, counter: newest, written: None, durable: None }, copies))
    }

    /// Keeps the copy in this place, 0 or 1, until another one is synced.
    pub fn keep(&mut self, place: usize) {
        self.place = 1 - place as u64 % 2;
    }

    /// Writes a copy over the older place. The other one counts until [`sync`](Self::sync).
    pub fn write(&mut self, cursors: &Cursors) -> io::Result<()> {
        self.counter += 1;
        let at = self.place * CURSORS_BYTES as u64;
        write_at(&self.file, &cursors.encode(self.counter), at)?;
        let slowest = cursors.all().map(|(_, at)| *at).min();
        self.written = Some((cursors.epoch, slowest.unwrap_or(cursors.published)));
        Ok(())
    }

    /// Makes the last copy durable. After an error it must be written anew: the system may have
    /// forgotten it.
    pub fn sync(&mut self) -> io::Result<()> {
        self.file.fdatasync()?;
        self.place = 1 - self.place;
        self.durable = self.written;
        Ok(())
    }

    /// Returns the position before which no subscription needs anything, whatever happens.
    pub(super) fn needed(&self, epoch: u64) -> u64 {
        let known = if seeded::is(Bug::CursorAfterUnlink) { self.written } else { self.durable };
        known.filter(|(of, _)| *of == epoch).map_or(0, |(_, position)| position)
    }
}

/// Reads both places.
pub fn copies<F: File>(file: &F) -> io::Result<[Copy; 2]> {
    let mut bytes = vec![0; 2 * CURSORS_BYTES];
    let read = read_at(file, &mut bytes, 0)?;
    bytes.truncate(read);
    let (first, second) = bytes.split_at(read.min(CURSORS_BYTES));
    Ok([Cursors::decode(first), Cursors::decode(second)])
}
