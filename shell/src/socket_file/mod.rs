//! Files of UNIX sockets: a file appears under its own name, replaces a dead one, never a live one,
//! and is removed only if it is ours.

mod lock;

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use lock::SocketLock;

/// The file of a listening socket, removed when it is dropped if it still is this one.
pub struct SocketFile {
    path: PathBuf,
    /// What is ours of it; `None` if a service manager made it, and will remove it.
    own: Option<Own>,
}

/// A file that this process made.
struct Own {
    /// Device and inode.
    identity: (u64, u64),
    /// Held as long as the file is ours. Dropped after the file is removed.
    _lock: SocketLock,
}

impl SocketFile {
    /// The file of a socket that a service manager made, and will remove.
    pub fn of_manager(path: &Path) -> Self {
        Self { path: path.to_owned(), own: None }
    }

    /// Binds a socket to `path`, under this very name, which is what `ss` and `lsof` show, and
    /// listens with a queue of `backlog` connections, which the kernel may shorten. `umask`
    /// replaces the umask for the file's mode. Of several processes that try at once one succeeds.
    pub fn bind(
        path: &Path,
        kind: SocketType,
        umask: Option<Mode>,
        backlog: usize,
    ) -> Result<(OwnedFd, Self), BindError> {
        let failed =
            |step| move |errno: Errno| BindError::System { path: path.to_owned(), step, errno };
        let address = SocketAddrUnix::new(path).map_err(failed("address"))?;
        let lock = SocketLock::take(path)?;
        // Under the lock, no other listener comes between these steps.
        if remove_dead(path, kind, &address)? {
            tracing::info!(path = %path.display(), "replacing the socket file of a process that is gone");
        }
        let socket = socket(kind).map_err(failed("socket"))?;
        // The file must not be there with a wider mode, not even for a moment. The mask is the
        // process's, but no other file is made at the start.
        let before = umask.map(rustix::process::umask);
        let bound = rustix::net::bind(&socket, &address);
        before.map(rustix::process::umask);
        match bound {
            Err(Errno::ADDRINUSE) => return Err(BindError::Live { path: path.to_owned() }),
            other => other.map_err(failed("bind"))?,
        }
        let identity = inode(path).map_err(failed("stat"))?;
        let own = Some(Own { identity, _lock: lock });
        let file = Self { path: path.to_owned(), own };
        rustix::net::listen(&socket, i32::try_from(backlog).unwrap_or(i32::MAX))
            .map_err(failed("listen"))?;
        Ok((socket, file))
    }

    /// Returns where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = |own: &Own| inode(&self.path) == Ok(own.identity);
        if self.own.as_ref().is_some_and(is_ours) {
            let _ = rustix::fs::unlink(&self.path);
        }
    }
}

fn socket(kind: SocketType) -> Result<OwnedFd, Errno> {
    rustix::net::socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)
}

#[allow(
    clippy::useless_conversion,
    clippy::unnecessary_cast,
    reason = "the widths differ between architectures"
)]
fn inode(path: &Path) -> Result<(u64, u64), Errno> {
    let stat = rustix::fs::lstat(path)?;
    Ok((stat.st_dev as u64, stat.st_ino as u64))
}

/// Removes a socket file that nobody listens on. Returns whether there was one.
fn remove_dead(path: &Path, kind: SocketType, address: &SocketAddrUnix) -> Result<bool, BindError> {
    let failed =
        |step| move |errno: Errno| BindError::System { path: path.to_owned(), step, errno };
    let stat = match rustix::fs::lstat(path) {
        Err(Errno::NOENT) => return Ok(false),
        other => other.map_err(failed("stat"))?,
    };
    if FileType::from_raw_mode(stat.st_mode) != FileType::Socket {
        return Err(BindError::NotASocket { path: path.to_owned() });
    }
    let probe = socket(kind).map_err(failed("socket"))?;
    // A full backlog is an answer, too.
    rustix::io::ioctl_fionbio(&probe, true).map_err(failed("socket"))?;
    match rustix::net::connect(&probe, address) {
        Err(Errno::NOENT) => Ok(false),
        Err(Errno::CONNREFUSED) => match rustix::fs::unlink(path) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(failed("unlink")(errno)),
        },
        // Connected, its backlog is full, or it is of another type: alive in any case.
        Ok(()) | Err(Errno::AGAIN | Errno::INPROGRESS | Errno::PROTOTYPE) => {
            Err(BindError::Live { path: path.to_owned() })
        }
        Err(errno) => Err(failed("connect")(errno)),
    }
}

/// The reason why a socket could not be bound to a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BindError {
    /// Somebody listens there.
    Live {
        /// Where.
        path: PathBuf,
    },
    /// Something else than a socket has that name.
    NotASocket {
        /// Where.
        path: PathBuf,
    },
    /// Something else than a lock file has the name of the lock file.
    NotALock {
        /// Where.
        path: PathBuf,
    },
    /// A system call failed.
    System {
        /// Where.
        path: PathBuf,
        /// Which.
        step: &'static str,
        /// What the system said.
        errno: Errno,
    },
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Live { path } => {
                write!(f, "socket {}: another process listens there", path.display())
            }
            Self::NotASocket { path } => write!(
                f,
                "socket {}: a file of another kind is there; it is left alone",
                path.display()
            ),
            Self::NotALock { path } => {
                write!(f, "lock file {}: something else is there; it is left alone", path.display())
            }
            Self::System { path, step, errno } => {
                write!(f, "socket {}: {step}: {errno}", path.display())
            }
        }
    }
}

impl std::error::Error for BindError {}

impl From<BindError> for io::Error {
    fn from(error: BindError) -> Self {
        let kind = match &error {
            BindError::Live { .. } => io::ErrorKind::AddrInUse,
            BindError::NotASocket { .. } | BindError::NotALock { .. } => {
                io::ErrorKind::AlreadyExists
            }
            BindError::System { errno, .. } => Self::from(*errno).kind(),
        };
        Self::new(kind, error)
    }
}

#[cfg(test)]
mod tests;
