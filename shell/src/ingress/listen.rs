//! Listening sockets: TCP and UNIX, bound before anything is served.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

/// Binds a TCP address and listens with a queue of `backlog` connections, which the kernel may
/// shorten. Returns the address with its real port.
pub fn tcp(address: SocketAddr, backlog: usize) -> io::Result<(OwnedFd, SocketAddr)> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // Or a restart would have to wait for the connections of the last process.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    // Inherited by the connections: answers are small and complete, and waiting to fill a segment
    // only delays them.
    sockopt::set_tcp_nodelay(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, i32::try_from(backlog).unwrap_or(i32::MAX))?;
    let listener = std::net::TcpListener::from(socket);
    let bound = listener.local_addr()?;
    Ok((listener.into(), bound))
}

/// Binds a UNIX path and listens there.
pub fn unix(path: &Path, backlog: usize) -> io::Result<OwnedFd> {
    let address = rustix::net::SocketAddrUnix::new(path)?;
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(socket)
}
