//! The real file system: one directory, by its descriptor.

use std::fs::DirBuilder;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use rustix::fs::{self, AtFlags, FallocateFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::files::{self, Files};

/// Zeros that are written at once where the file system cannot reserve. They are made then: a
/// constant would make the program as much larger.
const ZERO_BYTES: usize = 64 << 10;

/// One directory.
pub struct Disk(OwnedFd);

/// One file.
pub struct File(OwnedFd);

impl Disk {
    /// Opens a directory, which is made if it is not there, with those above it, and made durable.
    pub fn open(path: &Path) -> io::Result<Self> {
        if !path.is_dir() {
            DirBuilder::new().recursive(true).mode(0o700).create(path)?;
            for above in path.ancestors().skip(1).take(2) {
                let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
                fs::fsync(directory(above)?)?;
            }
        }
        Ok(Self(directory(path)?))
    }

    /// Opens a directory that is there.
    pub fn existing(path: &Path) -> io::Result<Self> {
        Ok(Self(directory(path)?))
    }

    fn open_file(&self, name: &str, flags: OFlags) -> io::Result<File> {
        let flags = flags | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        Ok(File(fs::openat(&self.0, name, flags, Mode::RUSR | Mode::WUSR)?))
    }

    /// Opens a file that is only read.
    pub fn open_to_read(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        Ok(File(fs::openat(&self.0, name, flags, Mode::empty())?))
    }
}

fn directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(fs::open(path, flags, Mode::empty())?)
}

impl Files for Disk {
    type File = File;
    type Lock = OwnedFd;

    fn lock(&self, name: &str) -> io::Result<OwnedFd> {
        let file = self.open_file(name, OFlags::CREATE)?.0;
        fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(file)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::Dir::read_from(&self.0)? {
            // A name that is no text is none of ours.
            if let Ok(name) = entry?.file_name().to_str() {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    fn open(&self, name: &str) -> io::Result<File> {
        self.open_file(name, OFlags::empty())
    }

    fn create(&self, name: &str) -> io::Result<File> {
        self.open_file(name, OFlags::CREATE | OFlags::TRUNC)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(fs::renameat(&self.0, from, &self.0, to)?)
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        Ok(fs::unlinkat(&self.0, name, AtFlags::empty())?)
    }

    fn sync_dir(&self) -> io::Result<()> {
        Ok(fs::fsync(&self.0)?)
    }
}

impl files::File for File {
    fn size(&self) -> io::Result<u64> {
        Ok(u64::try_from(fs::fstat(&self.0)?.st_size).unwrap_or(0))
    }

    fn pread(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        Ok(rustix::io::pread(&self.0, into, at)?)
    }

    fn pwrite(&self, bytes: &[u8], at: u64) -> io::Result<usize> {
        Ok(rustix::io::pwrite(&self.0, bytes, at)?)
    }

    fn fdatasync(&self) -> io::Result<()> {
        Ok(fs::fdatasync(&self.0)?)
    }

    fn fallocate(&self, bytes: u64) -> io::Result<()> {
        match fs::fallocate(self.0.as_fd(), FallocateFlags::empty(), 0, bytes) {
            // NFS and some others: what is written is reserved.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => fill(self, bytes),
            other => Ok(other?),
        }
    }

    fn forget(&self) -> io::Result<()> {
        // Advice that some file systems do not take; nothing is worse without it.
        let _ = fs::fadvise(&self.0, 0, None, fs::Advice::DontNeed);
        Ok(())
    }

    fn ahead(&self, at: u64, bytes: u64) {
        let _ = fs::fadvise(&self.0, at, std::num::NonZero::new(bytes), fs::Advice::WillNeed);
    }

    fn is_linked(&self) -> io::Result<bool> {
        Ok(fs::fstat(&self.0)?.st_nlink > 0)
    }
}

/// Writes zeros from the end of a file on, until it has this size.
fn fill(file: &impl files::File, bytes: u64) -> io::Result<()> {
    let (mut at, zeros) = (file.size()?, vec![0; ZERO_BYTES]);
    while at < bytes {
        let left = usize::try_from(bytes - at).unwrap_or(usize::MAX);
        let piece = &zeros[..left.min(ZERO_BYTES)];
        files::write_at(file, piece, at)?;
        at += piece.len() as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::files::File as _;
    use super::*;

    #[test]
    fn files_are_the_owners_alone_follow_no_link_and_are_closed_in_other_programs() {
        let home = tempfile::tempdir().expect("a place for files");
        let disk = Disk::open(&home.path().join("new")).expect("new");
        let is_closed = |fd: &OwnedFd| {
            rustix::io::fcntl_getfd(fd)
                .is_ok_and(|flags| flags.contains(rustix::io::FdFlags::CLOEXEC))
        };
        let (lock, file) = (disk.lock("lock").expect("free"), disk.create("x").expect("new"));
        files::write_at(&file, b"whole", 0).expect("space");
        let read = disk.open_to_read("x").expect("there");
        for fd in [&disk.0, &lock, &file.0, &disk.open("x").expect("there").0, &read.0] {
            assert!(is_closed(fd));
        }
        let mut bytes = [0; 5];
        assert_eq!(files::read_at(&read, &mut bytes, 0).map_err(|error| error.kind()), Ok(5));
        assert!(files::write_at(&read, b"x", 0).is_err(), "it is only read");
        for name in ["lock", "x"] {
            let path = home.path().join("new").join(name);
            let mode = path.metadata().expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        let mode = home.path().join("new").metadata().expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        symlink("x", home.path().join("new/link")).expect("a link");
        let refused = |result: io::Result<File>| {
            result.map(drop).map_err(|error| error.raw_os_error()) == Err(Some(libc::ELOOP))
        };
        assert!(refused(disk.open("link")) && refused(disk.create("link")));
        assert!(refused(disk.open_to_read("link")));
        let of_a_file = Disk::existing(&home.path().join("new/x")).map(drop);
        assert_eq!(of_a_file.map_err(|error| error.raw_os_error()), Err(Some(libc::ENOTDIR)));
    }

    #[test]
    fn what_the_system_cannot_sync_or_reserve_is_an_error() {
        let (_, end) = rustix::pipe::pipe().expect("a pipe");
        let (disk, file) = (Disk(end.try_clone().expect("a copy")), File(end));
        let refused = |result: io::Result<()>| result.map_err(|error| error.raw_os_error());
        assert_eq!(refused(disk.sync_dir()), Err(Some(libc::EINVAL)));
        assert_eq!(refused(file.fdatasync()), Err(Some(libc::EINVAL)));
        assert_eq!(refused(file.fallocate(1)), Err(Some(libc::ESPIPE)));
    }

    #[test]
    fn a_file_that_cannot_be_reserved_is_written_with_zeros_up_to_its_size() {
        let home = tempfile::tempdir().expect("a place for files");
        let file = Disk::open(home.path()).and_then(|disk| disk.create("x")).expect("new");
        files::write_at(&file, b"abc", 0).expect("space");
        let most = 3 * ZERO_BYTES;
        for (asked, size) in [(ZERO_BYTES + 7, ZERO_BYTES + 7), (most, most), (9, most)] {
            fill(&file, asked as u64).expect("space");
            assert_eq!(file.size().expect("open"), size as u64);
        }
        let mut bytes = vec![1; most];
        assert_eq!(files::read_at(&file, &mut bytes, 0).expect("open"), most);
        assert!(bytes.starts_with(b"abc") && bytes[3..].iter().all(|&byte| byte == 0));
    }

    #[test]
    fn a_directory_is_made_locked_once_and_lists_what_is_in_it() {
        let home = tempfile::tempdir().expect("a place for files");
        let path = home.path().join("a/b");
        let (disk, other) = (Disk::open(&path).expect("new"), Disk::open(&path).expect("there"));
        let lock = disk.lock("lock").expect("free");
        let refused = other.lock("lock").map(drop).map_err(|error| error.kind());
        assert_eq!(refused, Err(io::ErrorKind::WouldBlock));
        drop(lock);
        assert!(other.lock("lock").is_ok());
        let file = disk.create("x").expect("new");
        file.fallocate(100).expect("space");
        files::write_at(&file, b"abc", 98).expect("space");
        assert_eq!(file.size().expect("open"), 101);
        disk.rename("x", "y").expect("there");
        disk.sync_dir().expect("a directory");
        let mut names = other.list().expect("readable");
        names.sort();
        assert_eq!(names, [".", "..", "lock", "y"]);
        assert!(file.is_linked().expect("open"));
        disk.unlink("y").expect("there");
        assert!(!file.is_linked().expect("open"));
        let mut bytes = [1; 8];
        assert_eq!(files::read_at(&file, &mut bytes, 96).expect("open"), 5);
        assert_eq!(&bytes[..5], b"\0\0abc");
    }
}
