//! The ring of a running process, as an observer gets it over the control socket.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use aqueduct_core::handshake::{Hello, Kind, WELCOME_BYTES, Welcome};
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType,
};

/// For the handshake.
const PATIENCE: Duration = Duration::from_secs(5);

/// A ring that is in use; the connection keeps the observer.
pub(super) struct Live {
    pub(super) ring: File,
    _connection: OwnedFd,
}

/// Attaches as an observer; an empty name is the only ring.
pub(super) fn attach(path: &Path, ring: &str) -> io::Result<Live> {
    let hello = Hello { kind: Kind::Observe, ring, subscription: "" }.encode();
    let hello = hello.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    sockopt::set_socket_timeout(&socket, Timeout::Send, Some(PATIENCE))?;
    sockopt::set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::net::send(&socket, &hello, SendFlags::NOSIGNAL)?;
    let mut packet = [0; WELCOME_BYTES + 1];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let into = &mut [IoSliceMut::new(&mut packet)];
    let got = rustix::net::recvmsg(&socket, into, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut descriptors = control.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(rights) => rights.collect(),
        _ => Vec::new(),
    });
    match Welcome::parse(&packet[..got.bytes]) {
        Ok(Welcome::Attached { .. }) => {}
        Ok(Welcome::Refused { message, .. }) => {
            return Err(io::Error::other(format!("refused: {}", message.escape_ascii())));
        }
        Err(error) => return Err(io::Error::other(error)),
    }
    let ring =
        descriptors.next().ok_or_else(|| io::Error::other("no ring came with the answer"))?;
    Ok(Live { ring: File::from(ring), _connection: socket })
}
