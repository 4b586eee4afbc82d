//! Bytes that are looked at: a file, a part of one, a buffer. What lies past their end reads as
//! zeros.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::journal::files;

/// Bytes that are read at once.
const WINDOW_BYTES: usize = 256 * 1024;

/// Where bytes come from.
pub trait Source {
    /// Reads up to `into.len()` bytes at an offset; fewer only at the end.
    ///
    /// # Errors
    /// The system cannot.
    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize>;

    /// Returns how many there are.
    ///
    /// # Errors
    /// The system cannot.
    fn size(&self) -> io::Result<u64>;
}

impl Source for File {
    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < into.len() {
            match FileExt::read_at(self, &mut into[done..], at + done as u64) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

impl Source for [u8] {
    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let from = usize::try_from(at).unwrap_or(usize::MAX).min(self.len());
        let there = &self[from..];
        let bytes = there.len().min(into.len());
        into[..bytes].copy_from_slice(&there[..bytes]);
        Ok(bytes)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }
}

impl<S: Source + ?Sized> Source for &S {
    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        (**self).read_at(at, into)
    }

    fn size(&self) -> io::Result<u64> {
        (**self).size()
    }
}

/// A part of a source.
pub(super) struct Image<'s> {
    source: &'s dyn Source,
    /// Where it begins in the source.
    base: u64,
    size: u64,
    /// What was read last, and where.
    window: RefCell<(u64, Vec<u8>)>,
    /// The first failure to read, and where.
    failure: RefCell<Option<(u64, io::Error)>>,
}

impl<'s> Image<'s> {
    /// The whole of a source.
    pub(super) fn whole(source: &'s dyn Source) -> io::Result<Self> {
        Ok(Self::part(source, 0, source.size()?))
    }

    /// So many bytes of it, from an offset on.
    pub(super) fn part(source: &'s dyn Source, base: u64, size: u64) -> Self {
        let size = size.min(u64::MAX - base);
        let (window, failure) = (RefCell::new((0, Vec::new())), RefCell::new(None));
        Self { source, base, size, window, failure }
    }

    pub(super) const fn size(&self) -> u64 {
        self.size
    }

    /// Offset in the source of an offset in this part.
    pub(super) const fn offset(&self, at: u64) -> u64 {
        self.base.saturating_add(at)
    }

    /// The first failure to read.
    pub(super) fn failure(&self) -> Option<(u64, io::Error)> {
        self.failure.borrow_mut().take()
    }

    /// Copies bytes, out of what was read before if it is there.
    pub(super) fn read(&self, at: u64, into: &mut [u8]) {
        if into.len() > WINDOW_BYTES {
            return self.read_now(at, into);
        }
        let end = at.saturating_add(into.len() as u64);
        let mut window = self.window.borrow_mut();
        if at < window.0 || end > window.0 + window.1.len() as u64 {
            let mut bytes = std::mem::take(&mut window.1);
            let whole = usize::try_from(self.size).unwrap_or(WINDOW_BYTES).max(into.len());
            bytes.resize(WINDOW_BYTES.min(whole), 0);
            self.read_now(at, &mut bytes);
            *window = (at, bytes);
        }
        let from = usize::try_from(at - window.0).unwrap_or(usize::MAX);
        into.copy_from_slice(&window.1[from..from + into.len()]);
    }

    /// Forgets what was read before: it may be older than what is read now.
    pub(super) fn refresh(&self) {
        self.window.borrow_mut().1.clear();
    }

    /// Copies bytes as they are now.
    pub(super) fn read_now(&self, at: u64, into: &mut [u8]) {
        into.fill(0);
        let there = self.size.saturating_sub(at).min(into.len() as u64);
        let there = usize::try_from(there).unwrap_or(into.len());
        if let Err(error) = self.source.read_at(self.offset(at), &mut into[..there]) {
            into.fill(0);
            self.failure.borrow_mut().get_or_insert((self.offset(at), error));
        }
    }

    /// Copies a number of bytes.
    pub(super) fn bytes<const N: usize>(&self, at: u64) -> [u8; N] {
        let mut bytes = [0; N];
        self.read(at, &mut bytes);
        bytes
    }

    /// The little-endian word at an offset, as it is now.
    pub(super) fn word(&self, at: usize) -> u32 {
        let mut bytes = [0; 4];
        self.read_now(at as u64, &mut bytes);
        u32::from_le_bytes(bytes)
    }
}

/// What the journal's own code reads.
impl files::File for Image<'_> {
    fn size(&self) -> io::Result<u64> {
        Ok(self.size)
    }

    fn pread(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        let there = self.size.saturating_sub(at).min(into.len() as u64);
        let there = usize::try_from(there).unwrap_or(into.len());
        self.source.read_at(self.offset(at), &mut into[..there])
    }

    fn pwrite(&self, _: &[u8], _: u64) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn fdatasync(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn forget(&self) -> io::Result<()> {
        Ok(())
    }

    fn is_linked(&self) -> io::Result<bool> {
        Ok(true)
    }

    fn fallocate(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
