//! The listening control socket.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{SocketFlags, SocketType};
use smol::Async;

use super::ControlConnection;
use crate::accept::Accept;
use crate::socket_file::{BindError, SocketFile};
use crate::supervisor::Supervisor;

/// Connections that the kernel holds until they are accepted.
const BACKLOG: usize = 128;
/// What is taken from the mode of the socket file, which then is 0660.
const UMASK: u32 = 0o117;

/// Listens for readers; removes its socket file when it is dropped.
pub struct ControlListener {
    socket: Async<OwnedFd>,
    file: SocketFile,
}

impl ControlListener {
    /// Listens at `path`, mode 0660, or by the socket that a service manager holds for it.
    pub fn bind(supervisor: &Supervisor, path: &Path) -> Result<Self, BindError> {
        let umask = Some(Mode::from_raw_mode(UMASK));
        let (socket, file) = match supervisor.take_unix(path, SocketType::SEQPACKET) {
            Some(socket) => (socket, SocketFile::of_manager(path)),
            None => SocketFile::bind(path, SocketType::SEQPACKET, umask, BACKLOG)?,
        };
        let socket = Async::new(socket).map_err(|error| BindError::System {
            path: path.to_owned(),
            step: "poll",
            errno: Errno::from_io_error(&error).unwrap_or(Errno::IO),
        })?;
        Ok(Self { socket, file })
    }

    /// Returns where it listens.
    pub fn path(&self) -> &Path {
        self.file.path()
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
