//! The lock beside the socket file: its holder may replace and remove the socket file. The kernel
//! drops it with the process.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::BindError;

/// How a lock file begins, so that no other file is taken for one.
const MARK: &[u8] = b"aqueduct lock ";
/// Tries against a holder that removes its file at that very moment.
const TRIES: usize = 100;

/// A lock that is held.
pub(super) struct SocketLock {
    file: OwnedFd,
    path: PathBuf,
}

impl SocketLock {
    /// Takes the lock of a socket path, `PATH.lock`, without waiting for it.
    pub(super) fn take(socket: &Path) -> Result<Self, BindError> {
        let mut path = socket.as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        let failed = |errno| BindError::System { path: path.clone(), step: "lock file", errno };
        for _ in 0..TRIES {
            let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            // Not blocking: what is there may be a FIFO.
            let file =
                rustix::fs::open(&path, flags | OFlags::NONBLOCK, Mode::from_raw_mode(0o600));
            let file = match file {
                Ok(file) => file,
                Err(Errno::LOOP | Errno::ISDIR | Errno::NXIO) => {
                    return Err(BindError::NotALock { path });
                }
                Err(errno) => return Err(failed(errno)),
            };
            if !is_lock(&file).map_err(failed)? {
                return Err(BindError::NotALock { path });
            }
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => {
                    return Err(BindError::Live { path: socket.to_owned() });
                }
                Err(errno) => return Err(failed(errno)),
            }
            // The last holder may have removed the file between our opening and our locking it.
            if is_at(&file, &path) {
                let mut lock = Self { file, path };
                lock.mark().map_err(|errno| BindError::System {
                    path: lock.path.clone(),
                    step: "lock file",
                    errno,
                })?;
                return Ok(lock);
            }
        }
        Err(failed(Errno::AGAIN))
    }

    /// Says what the file is and whose, for people who find it.
    fn mark(&mut self) -> Result<(), Errno> {
        rustix::fs::ftruncate(&self.file, 0)?;
        let text = [MARK, format!("{}\n", std::process::id()).as_bytes()].concat();
        rustix::io::pwrite(&self.file, &text, 0).map(|_| ())
    }
}

impl Drop for SocketLock {
    fn drop(&mut self) {
        // While it is locked, nobody else takes this file for a lock that is held.
        if is_at(&self.file, &self.path) {
            let _ = rustix::fs::unlink(&self.path);
        }
    }
}

/// Returns whether a file is empty or one of these lock files.
fn is_lock(file: &OwnedFd) -> Result<bool, Errno> {
    let stat = rustix::fs::fstat(file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Ok(false);
    }
    let mut begin = [0; MARK.len()];
    let got = rustix::io::pread(file, &mut begin[..], 0)?;
    Ok(got == 0 || begin == *MARK)
}

/// Returns whether a path names this file.
fn is_at(file: impl AsFd, path: &Path) -> bool {
    let (Ok(file), Ok(there)) = (rustix::fs::fstat(file), rustix::fs::lstat(path)) else {
        return false;
    };
    (file.st_dev, file.st_ino) == (there.st_dev, there.st_ino)
}
