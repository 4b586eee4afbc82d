//! The few things that a journal asks of a file system, and nothing else: one directory of files
//! that are read and written at offsets.
//!
//! What is promised across a loss of power is exactly this. Bytes are kept once
//! [`File::fdatasync`] has returned without an error, names once [`Files::sync_dir`] has. Until
//! then any part of either may be there or not.

use std::io;

/// One directory.
pub trait Files {
    /// A file that is open.
    type File: File;
    /// The right to use the directory; given back when it is dropped.
    type Lock;

    /// Takes the directory for this process alone.
    ///
    /// # Errors
    /// `WouldBlock` if another process has it.
    fn lock(&self, name: &str) -> io::Result<Self::Lock>;

    /// Returns the names of all files.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Opens a file that is there, to be read and written.
    fn open(&self, name: &str) -> io::Result<Self::File>;

    /// Opens a file, empty, whether it was there or not.
    fn create(&self, name: &str) -> io::Result<Self::File>;

    /// Gives a file another name; a file that had it is gone.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a name.
    fn unlink(&self, name: &str) -> io::Result<()>;

    /// Makes names durable.
    fn sync_dir(&self) -> io::Result<()>;
}

/// One open file.
pub trait File {
    /// Returns its size, bytes.
    fn size(&self) -> io::Result<u64>;

    /// Reads up to `into.len()` bytes at an offset; fewer only at the end of the file, or if the
    /// system has it so.
    fn pread(&self, into: &mut [u8], at: u64) -> io::Result<usize>;

    /// Writes some bytes at an offset; returns how many.
    fn pwrite(&self, bytes: &[u8], at: u64) -> io::Result<usize>;

    /// Makes all its bytes, and its size, durable.
    fn fdatasync(&self) -> io::Result<()>;

    /// Has what is read next come from the disk, as far as it was synced: what the system could not
    /// write counts as clean, and would be read as if it were there.
    fn forget(&self) -> io::Result<()>;

    /// Says that these bytes will be read soon, so that the disk may be asked for them meanwhile.
    /// Advice: nothing is worse without it but the time.
    fn ahead(&self, _at: u64, _bytes: u64) {}

    /// Returns whether it still has a name.
    fn is_linked(&self) -> io::Result<bool>;

    /// Reserves space for so many bytes from its beginning; what was not there reads as zeros.
    fn fallocate(&self, bytes: u64) -> io::Result<()>;
}

/// Reads until the buffer is full or the file ends. Returns how many bytes were there.
pub fn read_at<F: File>(file: &F, into: &mut [u8], at: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < into.len() {
        match file.pread(&mut into[done..], at + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// Writes all bytes.
pub fn write_at<F: File>(file: &F, bytes: &[u8], at: u64) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        match file.pwrite(&bytes[done..], at + done as u64) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => done += written,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
