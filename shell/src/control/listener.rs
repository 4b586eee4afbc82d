//! The socket file: it appears only when it listens, replaces a dead one, never a live one, and is
//! removed only if it is ours.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, RenameFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use smol::Async;

use super::ControlConnection;
use crate::accept::Accept;

/// Connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 64;

/// Listens for readers; removes its socket file when it is dropped.
pub struct ControlListener {
    socket: Async<OwnedFd>,
    path: PathBuf,
    /// Device and inode of the socket file, so that only this one is removed.
    identity: (u64, u64),
}

impl ControlListener {
    /// Listens at `path`, mode 0660.
    pub fn bind(path: &Path) -> Result<Self, BindError> {
        let failed =
            |step| move |errno: Errno| BindError::System { path: path.to_owned(), step, errno };
        let socket = seqpacket().map_err(failed("socket"))?;
        // Under a name of its own first: whoever finds the final name finds a listening socket with
        // its final mode.
        let mut fresh = path.as_os_str().to_owned();
        fresh.push(format!(".{}", std::process::id()));
        let fresh = PathBuf::from(fresh);
        let _ = rustix::fs::unlink(&fresh);
        let address = SocketAddrUnix::new(&fresh).map_err(failed("address"))?;
        rustix::net::bind(&socket, &address).map_err(failed("bind"))?;
        let placed = Self::place(&socket, &fresh, path);
        if placed.is_err() {
            let _ = rustix::fs::unlink(&fresh);
        }
        let identity = placed?;
        let socket = Async::new(socket)
            .map_err(|error| failed("poll")(Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
        Ok(Self { socket, path: path.to_owned(), identity })
    }

    fn place(socket: &OwnedFd, fresh: &Path, path: &Path) -> Result<(u64, u64), BindError> {
        let failed =
            |step| move |errno: Errno| BindError::System { path: path.to_owned(), step, errno };
        rustix::fs::chmod(fresh, Mode::from_raw_mode(0o660)).map_err(failed("chmod"))?;
        rustix::net::listen(socket, BACKLOG).map_err(failed("listen"))?;
        let identity = inode(fresh).map_err(failed("stat"))?;
        match rustix::fs::renameat_with(CWD, fresh, CWD, path, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(identity),
            Err(Errno::EXIST) => {
                check_dead(path)?;
                rustix::fs::rename(fresh, path).map_err(failed("rename"))?;
                tracing::info!(path = %path.display(), "replaced the socket file of a process that is gone");
                Ok(identity)
            }
            Err(errno) => Err(failed("rename")(errno)),
        }
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

/// Checks that nobody listens behind a socket file.
fn check_dead(path: &Path) -> Result<(), BindError> {
    let failed =
        |step| move |errno: Errno| BindError::System { path: path.to_owned(), step, errno };
    let stat = match rustix::fs::lstat(path) {
        Err(Errno::NOENT) => return Ok(()),
        other => other.map_err(failed("stat"))?,
    };
    if FileType::from_raw_mode(stat.st_mode) != FileType::Socket {
        return Err(BindError::NotASocket { path: path.to_owned() });
    }
    let probe = seqpacket().map_err(failed("socket"))?;
    let address = SocketAddrUnix::new(path).map_err(failed("address"))?;
    match rustix::net::connect(&probe, &address) {
        Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(()),
        // Connected, its backlog is full, or it is of another type: alive in any case.
        Ok(()) | Err(Errno::AGAIN | Errno::INPROGRESS | Errno::PROTOTYPE) => {
            Err(BindError::Live { path: path.to_owned() })
        }
        Err(errno) => Err(failed("connect")(errno)),
    }
}

/// Why the control socket could not be made.
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
            Self::System { path, step, errno } => {
                write!(f, "socket {}: {step}: {errno}", path.display())
            }
        }
    }
}

impl std::error::Error for BindError {}
