//! Descriptors that were open when the process began.
#![allow(unsafe_code)]

use std::fmt;
use std::net::SocketAddr;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::net::{SocketType, sockopt};

/// Takes what `LISTEN_FDS` counts, if it is meant for this process.
pub(super) fn descriptors() -> Vec<(String, OwnedFd)> {
    let found = match sd_notify::listen_fds_with_names() {
        Ok(found) => found.collect::<Vec<_>>(),
        Err(error) => {
            tracing::warn!(%error, "the descriptors that were handed over cannot be used");
            return Vec::new();
        }
    };
    let owned = |(number, name)| {
        // SAFETY: the manager opened this descriptor for this process, as `LISTEN_PID` says, and
        // nothing else of it uses a descriptor that it has not opened itself; this is called once.
        let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
        (name, descriptor)
    };
    found.into_iter().map(owned).collect()
}

/// A listening socket.
pub(super) struct Socket {
    descriptor: OwnedFd,
    kind: SocketType,
    place: Place,
}

enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
    Other,
}

impl Socket {
    /// Looks what a descriptor is; gives it back if it does not listen.
    pub(super) fn of(descriptor: OwnedFd) -> Result<Self, OwnedFd> {
        let listens = sockopt::socket_acceptconn(&descriptor).unwrap_or(false);
        let Some(kind) = sockopt::socket_type(&descriptor).ok().filter(|_| listens) else {
            return Err(descriptor);
        };
        let place = Place::of(&descriptor);
        Ok(Self { descriptor, kind, place })
    }

    pub(super) fn is_tcp(&self, address: SocketAddr) -> bool {
        self.kind == SocketType::STREAM
            && matches!(self.place, Place::Tcp(bound) if bound == address)
    }

    pub(super) fn is_unix(&self, path: &Path, kind: SocketType) -> bool {
        self.kind == kind && matches!(&self.place, Place::Unix(bound) if bound == path)
    }
}

impl Place {
    fn of(socket: &OwnedFd) -> Self {
        let Ok(bound) = rustix::net::getsockname(socket.as_fd()) else { return Self::Other };
        if let Ok(address) = rustix::net::SocketAddrUnix::try_from(bound.clone()) {
            let path = address.path_bytes().filter(|path| !path.is_empty());
            return path.map_or(Self::Other, |path| {
                Self::Unix(PathBuf::from(String::from_utf8_lossy(path).into_owned()))
            });
        }
        SocketAddr::try_from(bound).map_or(Self::Other, Self::Tcp)
    }
}

impl From<Socket> for OwnedFd {
    fn from(socket: Socket) -> Self {
        socket.descriptor
    }
}

impl fmt::Display for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Tcp(address) => address.fmt(f),
            Place::Unix(path) => path.display().fmt(f),
            Place::Other => write!(f, "a socket of another family"),
        }
    }
}
