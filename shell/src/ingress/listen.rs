//! Listening sockets: TCP and UNIX, bound before anything is served.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::config::Endpoint;
use crate::socket_file::SocketFile;
use crate::supervisor::Supervisor;

/// A bound and listening socket.
pub struct Bound {
    /// The socket.
    pub socket: OwnedFd,
    /// Where it is, with its real port.
    pub endpoint: Endpoint,
    /// The file of a UNIX socket.
    pub file: Option<SocketFile>,
}

impl Bound {
    /// Takes the socket that a service manager holds for an address, or binds one.
    pub fn take_or_bind(
        supervisor: &Supervisor,
        endpoint: &Endpoint,
        backlog: usize,
    ) -> io::Result<Self> {
        let (socket, file) = match endpoint {
            Endpoint::Tcp(address) => (supervisor.take_tcp(address.socket_addr()), None),
            Endpoint::Unix(path) => {
                let socket = supervisor.take_unix(path, SocketType::STREAM);
                (socket, Some(SocketFile::of_manager(path)))
            }
        };
        let Some(socket) = socket else { return Self::new(endpoint, backlog) };
        if file.is_none() {
            set_options(&socket)?;
        }
        Ok(Self { socket, endpoint: endpoint.clone(), file })
    }

    /// Binds and listens with a queue of `backlog` connections, which the kernel may shorten.
    pub fn new(endpoint: &Endpoint, backlog: usize) -> io::Result<Self> {
        match endpoint {
            Endpoint::Tcp(address) => {
                let (socket, address) = tcp(address.socket_addr(), backlog)?;
                Ok(Self { socket, endpoint: Endpoint::Tcp(address.into()), file: None })
            }
            Endpoint::Unix(path) => {
                let (socket, file) = SocketFile::bind(path, SocketType::STREAM, None, backlog)?;
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
    set_options(&socket)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, i32::try_from(backlog).unwrap_or(i32::MAX))?;
    let listener = std::net::TcpListener::from(socket);
    let bound = listener.local_addr()?;
    Ok((listener.into(), bound))
}

/// Sets what is inherited by the connections. Answers are small and complete, and waiting to fill a
/// segment only delays them; and a peer that is gone without a word is noticed in the end.
fn set_options(socket: &OwnedFd) -> io::Result<()> {
    sockopt::set_tcp_nodelay(socket, true)?;
    sockopt::set_socket_keepalive(socket, true)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::path::PathBuf;

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
        assert!(!path.exists() && !scratch("one.sock.lock").exists());
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
