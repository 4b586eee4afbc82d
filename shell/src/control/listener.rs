//! The socket file: it appears only when it listens, replaces a dead one, never a live one, and is
//! removed only if it is ours.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use smol::Async;

use super::ControlConnection;
use super::lock::SocketLock;
use crate::accept::Accept;

/// Connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 128;
/// What is taken from the mode of the socket file, which then is 0660.
const UMASK: u32 = 0o117;

/// Listens for readers; removes its socket file when it is dropped.
pub struct ControlListener {
    socket: Async<OwnedFd>,
    path: PathBuf,
    /// Device and inode of the socket file, so that only this one is removed.
    identity: (u64, u64),
    /// Held as long as the socket file is ours. Dropped after it is removed.
    _lock: SocketLock,
}

impl ControlListener {
    /// Listens at `path`, mode 0660. The socket is bound under this very name, which is what `ss`
    /// and `lsof` show. Of several processes that try at once one succeeds.
    pub fn bind(path: &Path) -> Result<Self, BindError> {
        let failed =
            |step| move |errno: Errno| BindError::System { path: path.to_owned(), step, errno };
        let address = SocketAddrUnix::new(path).map_err(failed("address"))?;
        let lock = SocketLock::take(path)?;
        // Under the lock, no other listener comes between these steps.
        if remove_dead(path)? {
            tracing::info!(path = %path.display(), "replacing the socket file of a process that is gone");
        }
        let socket = seqpacket().map_err(failed("socket"))?;
        // The file must not be there with a wider mode, not even for a moment. The mask is the
        // process's, but no other file is made at the start.
        let before = rustix::process::umask(Mode::from_raw_mode(UMASK));
        let bound = rustix::net::bind(&socket, &address);
        rustix::process::umask(before);
        match bound {
            Err(Errno::ADDRINUSE) => return Err(BindError::Live { path: path.to_owned() }),
            other => other.map_err(failed("bind"))?,
        }
        let identity = inode(path).map_err(failed("stat"))?;
        let listener =
            rustix::net::listen(&socket, BACKLOG).map_err(failed("listen")).and_then(|()| {
                Async::new(socket).map_err(|error| {
                    failed("poll")(Errno::from_io_error(&error).unwrap_or(Errno::IO))
                })
            });
        if listener.is_err() {
            let _ = rustix::fs::unlink(path);
        }
        Ok(Self { socket: listener?, path: path.to_owned(), identity, _lock: lock })
    }

    /// Returns where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Accept for ControlListener {
    type Connection = ControlConnection;
    const KIND: &'static str = "control";

    async fn accept(&self) -> io::Result<ControlConnection> {
        let accept = |fd: &OwnedFd| {
            Ok(rustix::net::accept_with(fd, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?)
        };
        ControlConnection::new(self.socket.read_with(accept).await?)
    }
}

impl Drop for ControlListener {
    fn drop(&mut self) {
        if inode(&self.path) == Ok(self.identity) {
            let _ = rustix::fs::unlink(&self.path);
        }
    }
}

fn seqpacket() -> Result<OwnedFd, Errno> {
    rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )
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
fn remove_dead(path: &Path) -> Result<bool, BindError> {
    let failed =
        |step| move |errno: Errno| BindError::System { path: path.to_owned(), step, errno };
    let stat = match rustix::fs::lstat(path) {
        Err(Errno::NOENT) => return Ok(false),
        other => other.map_err(failed("stat"))?,
    };
    if FileType::from_raw_mode(stat.st_mode) != FileType::Socket {
        return Err(BindError::NotASocket { path: path.to_owned() });
    }
    let probe = seqpacket().map_err(failed("socket"))?;
    let address = SocketAddrUnix::new(path).map_err(failed("address"))?;
    match rustix::net::connect(&probe, &address) {
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

/// The reason why the control socket could not be made.
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
