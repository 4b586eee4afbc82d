//! The lock beside the socket file: its holder may replace and remove the socket file. The kernel
//! drops it with the process.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::BindError;

/// How a lock file begins, so that no other file is taken for one.
const MARK: &[u8] = b"aqueduct lock ";
/// Tries against a holder that makes or removes its file at that very moment.
const TRIES: usize = 100;
/// How long a file may stay empty that is one in the making, for each try.
const PAUSE: Duration = Duration::from_millis(2);

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
        let mut is_empty = false;
        for _ in 0..TRIES {
            // Not blocking: what is there may be a FIFO.
            let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
            let file = match rustix::fs::open(&path, flags, Mode::empty()) {
                Ok(file) => file,
                Err(Errno::NOENT) => match make(&path) {
                    Ok(file) => return Ok(Self { file, path }),
                    Err(Errno::EXIST) => continue,
                    Err(errno) => return Err(failed(errno)),
                },
                Err(Errno::LOOP | Errno::ISDIR | Errno::NXIO) => {
                    return Err(BindError::NotALock { path });
                }
                Err(errno) => return Err(failed(errno)),
            };
            let found = look(&file).map_err(failed)?;
            is_empty = matches!(found, Found::Nothing);
            match found {
                Found::Lock => {}
                Found::Nothing => {
                    std::thread::sleep(PAUSE);
                    continue;
                }
                Found::Other => return Err(BindError::NotALock { path }),
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
                mark(&file).map_err(failed)?;
                return Ok(Self { file, path });
            }
        }
        // What stays empty is somebody else's.
        Err(if is_empty { BindError::NotALock { path } } else { failed(Errno::AGAIN) })
    }
}

/// Makes the file, marked and locked. `EXIST` if there is one.
fn make(path: &Path) -> Result<OwnedFd, Errno> {
    let mode = Mode::from_raw_mode(0o600);
    let directory = path.parent().filter(|above| !above.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    // It gets its name when it is complete: nobody sees it empty, whatever happens meanwhile.
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    if let Ok(file) = rustix::fs::open(directory, flags, mode) {
        lock_and_mark(&file)?;
        let itself = format!("/proc/self/fd/{}", file.as_raw_fd());
        match rustix::fs::linkat(CWD, itself, CWD, path, AtFlags::SYMLINK_FOLLOW) {
            Ok(()) => return Ok(file),
            Err(Errno::EXIST) => return Err(Errno::EXIST),
            // No /proc, or no links here.
            Err(_) => {}
        }
    }
    make_in_place(path, mode, lock_and_mark)
}

/// Makes the file where there is no such thing: it is empty for a moment. Whoever is killed in it
/// leaves a file that the next one leaves alone.
fn make_in_place(
    path: &Path,
    mode: Mode,
    complete: impl FnOnce(&OwnedFd) -> Result<(), Errno>,
) -> Result<OwnedFd, Errno> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, mode)?;
    let completed = complete(&file);
    // It would be in the way of every later start.
    if completed.is_err() && is_at(&file, path) {
        let _ = rustix::fs::unlink(path);
    }
    completed.map(|()| file)
}

fn lock_and_mark(file: &OwnedFd) -> Result<(), Errno> {
    rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive)?;
    mark(file)
}

/// Says what the file is and whose, for people who find it.
fn mark(file: &OwnedFd) -> Result<(), Errno> {
    let text = [MARK, format!("{}\n", std::process::id()).as_bytes()].concat();
    // In this order, so that it is a lock file at any moment.
    rustix::io::pwrite(file, &text, 0)?;
    rustix::fs::ftruncate(file, text.len() as u64)
}

impl Drop for SocketLock {
    fn drop(&mut self) {
        // While it is locked, nobody else takes this file for a lock that is held.
        if is_at(&self.file, &self.path) {
            let _ = rustix::fs::unlink(&self.path);
        }
    }
}

/// What is in the place of a lock file.
enum Found {
    Lock,
    /// An empty file: a lock file in the making, or somebody else's.
    Nothing,
    Other,
}

fn look(file: &OwnedFd) -> Result<Found, Errno> {
    let stat = rustix::fs::fstat(file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Ok(Found::Other);
    }
    let mut begin = [0; MARK.len()];
    let got = rustix::io::pread(file, &mut begin[..], 0)?;
    Ok(match got {
        0 => Found::Nothing,
        _ if begin == *MARK => Found::Lock,
        _ => Found::Other,
    })
}

/// Returns whether a path names this file.
fn is_at(file: impl AsFd, path: &Path) -> bool {
    let (Ok(file), Ok(there)) = (rustix::fs::fstat(file), rustix::fs::lstat(path)) else {
        return false;
    };
    (file.st_dev, file.st_ino) == (there.st_dev, there.st_ino)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_completed_is_not_left() {
        let home = tempfile::tempdir().expect("a place for files");
        let path = home.path().join("socket.lock");
        let mode = Mode::from_raw_mode(0o600);
        let full = make_in_place(&path, mode, |_| Err(Errno::NOSPC));
        assert_eq!(full.expect_err("no lock"), Errno::NOSPC);
        assert!(!path.exists());
        // One that somebody else has put there meanwhile is.
        let replaced = make_in_place(&path, mode, |_| {
            std::fs::rename(&path, home.path().join("away")).expect("renamed");
            std::fs::write(&path, "theirs").expect("written");
            Err(Errno::NOSPC)
        });
        assert!(replaced.is_err() && path.exists());
        std::fs::remove_file(&path).expect("removed");
        let file = make_in_place(&path, mode, lock_and_mark).expect("a lock");
        assert!(matches!(look(&file), Ok(Found::Lock)));
        assert_eq!(make_in_place(&path, mode, |_| Ok(())).expect_err("there"), Errno::EXIST);
        assert!(path.exists());
    }
}
