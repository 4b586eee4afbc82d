//! Listening sockets: TCP and UNIX, bound before anything is served.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use crate::config::Endpoint;

/// A bound and listening socket.
pub struct Bound {
    /// The socket.
    pub socket: OwnedFd,
    /// Where it is, with its real port.
    pub endpoint: Endpoint,
    /// The file of a UNIX socket.
    pub file: Option<SocketFile>,
}

/// The file of a UNIX socket, removed when it is dropped if it still is this one.
pub struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
    /// Held for as long as the file is ours, so that of two processes that start at once only one
    /// finds it dead.
    _lock: OwnedFd,
}

impl Bound {
    /// Binds and listens with a queue of `backlog` connections, which the kernel may shorten.
    pub fn new(endpoint: &Endpoint, backlog: usize) -> io::Result<Self> {
        match endpoint {
            Endpoint::Tcp(address) => {
                let (socket, address) = tcp(address.socket_addr(), backlog)?;
                Ok(Self { socket, endpoint: Endpoint::Tcp(address.into()), file: None })
            }
            Endpoint::Unix(path) => {
                let (socket, file) = unix(path, backlog)?;
                Ok(Self { socket, endpoint: endpoint.clone(), file: Some(file) })
            }
        }
    }
}

fn tcp(address: SocketAddr, backlog: usize) -> io::Result<(OwnedFd, SocketAddr)> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // Or a restart would have to wait for the connections of the last process.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    // These are inherited by the connections. Answers are small and complete, and waiting to fill a
    // segment only delays them; and a peer that is gone without a word is noticed in the end.
    sockopt::set_tcp_nodelay(&socket, true)?;
    sockopt::set_socket_keepalive(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, i32::try_from(backlog).unwrap_or(i32::MAX))?;
    let listener = std::net::TcpListener::from(socket);
    let bound = listener.local_addr()?;
    Ok((listener.into(), bound))
}

/// Binds a path under a lock beside it; a socket file there is replaced if nobody listens.
fn unix(path: &Path, backlog: usize) -> io::Result<(OwnedFd, SocketFile)> {
    let mut lock_path = path.as_os_str().to_owned();
    lock_path.push(".lock");
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let lock = rustix::fs::open(lock_path, flags, Mode::from_raw_mode(0o600))?;
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Err(Errno::ADDRINUSE.into()),
        Err(errno) => return Err(errno.into()),
    }
    let address = SocketAddrUnix::new(path)?;
    let socket = stream()?;
    match rustix::net::bind(&socket, &address) {
        Err(Errno::ADDRINUSE) => {
            remove_dead(path, &address)?;
            rustix::net::bind(&socket, &address)?;
        }
        other => other?,
    }
    let file = SocketFile { path: path.to_owned(), identity: identity(path)?, _lock: lock };
    rustix::net::listen(&socket, i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok((socket, file))
}

fn stream() -> Result<OwnedFd, Errno> {
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
}

/// Removes a socket file that nobody listens at. Anything else is not ours to remove.
fn remove_dead(path: &Path, address: &SocketAddrUnix) -> io::Result<()> {
    let stat = rustix::fs::lstat(path)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Socket {
        return Err(Errno::EXIST.into());
    }
    match rustix::net::connect(&stream()?, address) {
        Err(Errno::CONNREFUSED) => Ok(rustix::fs::unlink(path)?),
        _ => Err(Errno::ADDRINUSE.into()),
    }
}

#[allow(
    clippy::useless_conversion,
    clippy::unnecessary_cast,
    reason = "the widths differ between architectures"
)]
fn identity(path: &Path) -> Result<(u64, u64), Errno> {
    let stat = rustix::fs::lstat(path)?;
    Ok((stat.st_dev as u64, stat.st_ino as u64))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path) == Ok(self.identity) {
            let _ = rustix::fs::unlink(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("aqd-listen-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory");
        directory.join(name)
    }

    #[test]
    fn a_tcp_socket_knows_its_port_and_is_not_bound_twice() {
        let any = Endpoint::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)).into());
        let bound = Bound::new(&any, 10).expect("a port");
        let Endpoint::Tcp(address) = &bound.endpoint else { panic!("TCP") };
        assert_ne!(address.socket_addr().port(), 0);
        assert!(bound.file.is_none());
        let error = Bound::new(&bound.endpoint, 10).err().expect("taken");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_socket_file_is_there_while_it_listens_and_belongs_to_one() {
        let path = scratch("one.sock");
        let endpoint = Endpoint::Unix(path.clone());
        let bound = Bound::new(&endpoint, 10).expect("bound");
        assert!(bound.file.is_some() && UnixStream::connect(&path).is_ok());
        let error = Bound::new(&endpoint, 10).err().expect("taken");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(bound);
        assert!(!path.exists());
    }

    #[test]
    fn the_file_of_a_dead_process_is_replaced_and_any_other_is_left_alone() {
        let path = scratch("dead.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).expect("bound"));
        assert!(path.exists(), "left behind");
        drop(Bound::new(&Endpoint::Unix(path), 10).expect("replaced"));

        let path = scratch("file");
        std::fs::write(&path, "precious").expect("written");
        assert!(Bound::new(&Endpoint::Unix(path.clone()), 10).is_err());
        assert_eq!(std::fs::read_to_string(&path).expect("there"), "precious");

        let path = scratch("alive.sock");
        let _alive = std::os::unix::net::UnixListener::bind(&path).expect("bound");
        let error = Bound::new(&Endpoint::Unix(path.clone()), 10).err().expect("taken");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(UnixStream::connect(&path).is_ok());
    }
}
