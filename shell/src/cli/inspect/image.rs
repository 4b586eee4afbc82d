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

    /// Returns the first offset from this one on that may hold anything but zeros: past the holes
    /// of a sparse file.
    fn past_holes(&self, at: u64) -> u64 {
        at
    }
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

    fn past_holes(&self, at: u64) -> u64 {
        match rustix::fs::seek(self, rustix::fs::SeekFrom::Data(at)) {
            Ok(data) => data.max(at),
            // Nothing but a hole up to the end.
            Err(rustix::io::Errno::NXIO) => u64::MAX,
            Err(_) => at,
        }
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

    fn past_holes(&self, at: u64) -> u64 {
        (**self).past_holes(at)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes() -> Vec<u8> {
        (0..3 * WINDOW_BYTES).map(|at| u8::try_from(at % 251).unwrap_or(0)).collect()
    }

    #[test]
    fn holes_of_a_file_are_passed_and_data_is_not() {
        let file = tempfile::tempfile().expect("a file");
        file.set_len(8 << 20).expect("sparse");
        std::os::unix::fs::FileExt::write_all_at(&file, b"x", 4 << 20).expect("written");
        let data = file.past_holes(0);
        assert!(data <= 4 << 20, "{data}");
        assert_eq!(file.past_holes(4 << 20), 4 << 20);
        assert!(file.past_holes(7 << 20) >= 7 << 20);
    }

    #[test]
    fn a_part_is_read_from_where_it_begins_and_is_zeros_past_its_end() {
        let all = bytes();
        let source: &[u8] = &all;
        let image = Image::part(&source, 1000, 2 * WINDOW_BYTES as u64);
        assert_eq!((image.size(), image.offset(5)), (2 * WINDOW_BYTES as u64, 1005));
        for at in [0, 1, WINDOW_BYTES - 3, WINDOW_BYTES, 7, 2 * WINDOW_BYTES - 8] {
            assert_eq!(image.bytes::<8>(at as u64), all[1000 + at..1008 + at], "{at}");
        }
        let end = image.size();
        let mut last = [0; 8];
        last[..3].copy_from_slice(&all[1000 + 2 * WINDOW_BYTES - 3..1000 + 2 * WINDOW_BYTES]);
        assert_eq!(image.bytes::<8>(end - 3), last);
        assert_eq!(image.bytes::<8>(end), [0; 8]);
        assert_eq!(image.bytes::<8>(u64::MAX - 4), [0; 8]);
        assert_eq!(image.word(4), u32::from_le_bytes(all[1004..1008].try_into().expect("four")));
        let mut large = vec![9; WINDOW_BYTES + 1];
        image.read(3, &mut large);
        assert_eq!(large, all[1003..1004 + WINDOW_BYTES]);
        assert!(image.failure().is_none());
        let whole = Image::whole(&source).expect("memory");
        assert_eq!(whole.size(), all.len() as u64);
        assert_eq!(Image::part(&source, u64::MAX - 1, 9).size(), 1);
    }

    /// What can be read until somebody says otherwise, and what was read.
    struct Changing(RefCell<Option<u8>>);

    impl Source for Changing {
        fn read_at(&self, _: u64, into: &mut [u8]) -> io::Result<usize> {
            into.fill(self.0.borrow().ok_or(io::ErrorKind::NotConnected)?);
            Ok(into.len())
        }

        fn size(&self) -> io::Result<u64> {
            Ok(1 << 20)
        }
    }

    #[test]
    fn what_was_read_is_kept_until_it_is_refreshed_and_words_are_always_new() {
        let source = Changing(RefCell::new(Some(1)));
        let image = Image::whole(&source).expect("it says its size");
        assert_eq!(image.bytes(100), [1; 4]);
        *source.0.borrow_mut() = Some(2);
        assert_eq!(image.bytes(200), [1; 4]);
        assert_eq!(image.word(200), 0x0202_0202);
        image.refresh();
        assert_eq!(image.bytes(200), [2; 4]);
        *source.0.borrow_mut() = None;
        image.refresh();
        assert_eq!(image.bytes(300), [0; 4]);
        assert_eq!(image.word(400), 0);
        let (at, error) = image.failure().expect("the first one");
        assert_eq!((at, error.kind()), (300, io::ErrorKind::NotConnected));
        assert!(image.failure().is_none());
    }

    #[test]
    fn the_code_of_journals_reads_it_and_changes_nothing() {
        use files::File as _;

        let all = bytes();
        let source: &[u8] = &all;
        let image = Image::part(&source, 10, 20);
        let mut into = [7; 8];
        assert_eq!(image.pread(&mut into, 15).expect("memory"), 5);
        assert_eq!(into, [25, 26, 27, 28, 29, 7, 7, 7]);
        assert_eq!(image.pread(&mut into, 20).expect("memory"), 0);
        assert_eq!(files::File::size(&image).expect("memory"), 20);
        assert!(image.pwrite(&[1], 0).is_err());
        assert!(image.fdatasync().is_err() && image.fallocate(1).is_err());
        assert!(image.forget().is_ok() && image.is_linked().expect("said"));
    }

    #[test]
    fn files_are_read_to_their_end() {
        let file = tempfile::tempfile().expect("a file");
        FileExt::write_all_at(&file, b"abcdef", 0).expect("written");
        let mut into = [0; 4];
        assert_eq!(Source::read_at(&file, 1, &mut into).expect("read"), 4);
        assert_eq!(&into, b"bcde");
        assert_eq!(Source::read_at(&file, 4, &mut into).expect("read"), 2);
        assert_eq!(Source::read_at(&file, 9, &mut into).expect("read"), 0);
        assert_eq!(Source::size(&file).expect("known"), 6);
    }
}
