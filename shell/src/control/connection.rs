//! One control connection: its peer, the HELLO and WELCOME with their descriptors, and the packets
//! afterwards.
//!
//! Knows the packets of ABI §6 and nothing of rings.
#![allow(unsafe_code)]

use std::fmt;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use aqueduct_core::handshake::{self, HELLO_BYTES, Kind, SPACE, Status, WAKE, Welcome};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown};
use smol::{Async, Timer, future};

use super::reload::{DONE, OUTCOME_BYTES_MAX, REFUSED, RELOAD};
use crate::ring::Doorbell;

/// Process on the other end, as the kernel knew it when it connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Process id; 0 if it lives in a PID namespace that this process does not see.
    pub pid: i32,
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {} uid {} gid {}", self.pid, self.uid, self.gid)
    }
}

/// What a reader asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// What it asks to become.
    pub kind: Kind,
    /// Name of the ring; empty means the only one.
    pub ring: String,
    /// Name of the subscription; never empty; means nothing to an observer.
    pub subscription: String,
    /// It knows records with attributes.
    pub knows_attributes: bool,
}

/// What the first packet of a connection asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A reader wants to attach.
    Attach(Hello),
    /// `aqueduct reload` wants the configuration read again.
    Reload,
}

/// What a reader said after it was attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet {
    /// It released something, and the producer had asked.
    Space,
    /// Something that no reader says.
    Junk {
        /// Its size, at most 2: what is longer is cut.
        bytes: usize,
    },
    /// It is gone.
    HangUp,
}

/// One control connection.
pub struct ControlConnection {
    socket: Async<OwnedFd>,
    peer: Peer,
    /// The peer's effective and supplementary groups.
    groups: Vec<u32>,
}

impl ControlConnection {
    pub(crate) fn new(socket: OwnedFd) -> io::Result<Self> {
        let peer = peer_of(&socket)?;
        let mut groups = supplementary_groups_of(&socket)?;
        groups.push(peer.gid);
        Ok(Self { socket: Async::new(socket)?, peer, groups })
    }

    /// Returns who is on the other end.
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// Returns the peer's effective and supplementary groups.
    pub fn groups(&self) -> &[u32] {
        &self.groups
    }

    /// Receives the first packet, if it comes in time.
    pub async fn asked(&self, timeout: Duration) -> Result<Asked, HelloError> {
        // One byte more, so that a packet that is too long is told from one that fits.
        let mut packet = [0; HELLO_BYTES + 1];
        let deadline = Instant::now() + timeout;
        let received = async {
            let got = self
                .socket
                .read_with(|fd| Ok(rustix::net::recv(fd, &mut packet[..], RecvFlags::empty())?.1))
                .await;
            got.map_err(HelloError::Receive)
        };
        let late = async {
            Timer::at(deadline).await;
            Err(HelloError::Late { timeout })
        };
        let bytes = future::or(received, late).await?;
        if bytes == 0 {
            return Err(HelloError::HangUp);
        }
        if packet[..bytes] == RELOAD[..] {
            return Ok(Asked::Reload);
        }
        let hello = handshake::Hello::parse(&packet[..bytes]).map_err(HelloError::Packet)?;
        Ok(Asked::Attach(Hello {
            kind: hello.kind,
            ring: hello.ring.to_owned(),
            subscription: hello.subscription.to_owned(),
            knows_attributes: handshake::knows_attributes(&packet[..bytes]),
        }))
    }

    /// Tells the outcome of a reload, as [`reload`](super::reload) reads it.
    pub fn tell_reloaded(&self, outcome: &Result<String, String>) {
        let (mark, text) = match outcome {
            Ok(text) => (DONE, text),
            Err(text) => (REFUSED, text),
        };
        let mut end = text.len().min(OUTCOME_BYTES_MAX - 1);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let packet = [&[mark], &text.as_bytes()[..end]].concat();
        if let Err(errno) =
            rustix::net::send(&self.socket, &packet, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)
        {
            tracing::debug!(peer = %self.peer, %errno, "outcome of the reload not sent");
        }
    }

    /// Tells the reader that it is attached and gives it the ring, then the cursor segment, of
    /// which an observer has none.
    pub fn welcome(
        &self,
        ring: (u64, BorrowedFd<'_>),
        cursor: Option<(u32, BorrowedFd<'_>)>,
    ) -> io::Result<()> {
        let cursor_bytes = cursor.map_or(0, |cursor| cursor.0);
        let packet = Welcome::Attached { ring_bytes: ring.0, cursor_bytes }.encode();
        let both = [ring.1, cursor.map_or(ring.1, |cursor| cursor.1)];
        let descriptors = if cursor.is_some() { &both[..] } else { &both[..1] };
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fits = control.push(SendAncillaryMessage::ScmRights(descriptors));
        debug_assert!(fits, "room for two descriptors");
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        // A fresh connection's buffer holds one packet, or the peer is no reader worth waiting for.
        rustix::net::sendmsg(&self.socket, &[IoSlice::new(&packet)], &mut control, flags)?;
        Ok(())
    }

    /// Tells the reader why not. Best effort: the end of the connection says the same.
    pub fn refuse(&self, status: Status, message: &str) {
        let packet = Welcome::refused(status, message).encode();
        if let Err(errno) =
            rustix::net::send(&self.socket, &packet, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)
        {
            tracing::debug!(peer = %self.peer, %errno, "refusal not sent");
        }
    }

    /// Receives the next packet.
    pub async fn packet(&self) -> Packet {
        let mut packet = [0; 2];
        let received = self
            .socket
            .read_with(|fd| Ok(rustix::net::recv(fd, &mut packet[..], RecvFlags::empty())?.1))
            .await;
        match received {
            Ok(1) if packet[0] == SPACE => Packet::Space,
            Ok(0) if !self.is_hung_up() => Packet::Junk { bytes: 0 },
            Ok(0) | Err(_) => Packet::HangUp,
            Ok(bytes) => Packet::Junk { bytes },
        }
    }

    /// Returns whether the other end is gone. Also tells an empty packet from the end: both are
    /// received as no bytes.
    pub fn is_hung_up(&self) -> bool {
        let mut socket = [PollFd::new(&self.socket, PollFlags::RDHUP)];
        match rustix::event::poll(&mut socket, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
            Ok(_) => {
                socket[0].revents().intersects(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR)
            }
            Err(_) => true,
        }
    }
}

impl Doorbell for ControlConnection {
    /// Sends a `W`. One that does not fit is not needed: unread ones are waiting then.
    fn ring(&self) -> bool {
        rustix::net::send(&self.socket, &[WAKE], SendFlags::DONTWAIT | SendFlags::NOSIGNAL).is_ok()
    }

    /// Ends the connection; a task that waits for a packet gets [`Packet::HangUp`].
    fn disconnect(&self) {
        // Fails only if it is hung up already.
        let _ = rustix::net::shutdown(&self.socket, Shutdown::Both);
    }

    fn is_gone(&self) -> bool {
        self.is_hung_up()
    }
}

/// Asks for `SO_PEERCRED`. Not by rustix, whose `UCred` cannot hold the process id 0 of a peer in
/// another PID namespace.
fn peer_of(socket: &OwnedFd) -> io::Result<Peer> {
    let mut found = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
    let mut bytes = libc::socklen_t::try_from(size_of::<libc::ucred>()).unwrap_or(0);
    // SAFETY: `found` is writable for the `bytes` bytes told, a plain C struct for which every bit
    // pattern is valid; the descriptor is open.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut found).cast(),
            &raw mut bytes,
        )
    };
    if result == 0 {
        Ok(Peer { pid: found.pid, uid: found.uid, gid: found.gid })
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Asks for `SO_PEERGROUPS`, the supplementary groups of the peer when it connected. None where the
/// kernel does not know it (before 4.13).
fn supplementary_groups_of(socket: &OwnedFd) -> io::Result<Vec<u32>> {
    let mut groups: Vec<libc::gid_t> = vec![0; 64];
    loop {
        let mut bytes = libc::socklen_t::try_from(size_of_val(&groups[..])).unwrap_or(0);
        // SAFETY: `groups` is writable for the `bytes` bytes told, which any bit pattern may fill;
        // the descriptor is open.
        let result = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut bytes,
            )
        };
        let found = bytes as usize / size_of::<libc::gid_t>();
        match (result, io::Error::last_os_error().raw_os_error()) {
            (0, _) => {
                groups.truncate(found);
                return Ok(groups);
            }
            // The kernel says how many there are.
            (_, Some(libc::ERANGE)) if found > groups.len() => groups.resize(found, 0),
            (_, Some(libc::ENOPROTOOPT)) => return Ok(Vec::new()),
            (_, error) => return Err(io::Error::from_raw_os_error(error.unwrap_or(libc::EIO))),
        }
    }
}

/// The reason why a HELLO was not accepted.
#[derive(Debug)]
pub enum HelloError {
    /// The peer went away without one.
    HangUp,
    /// It did not come in time.
    Late {
        /// Time that was given.
        timeout: Duration,
    },
    /// The socket failed.
    Receive(io::Error),
    /// Not a HELLO of this ABI.
    Packet(handshake::HelloError),
}

impl fmt::Display for HelloError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HangUp => write!(f, "hung up before the hello"),
            Self::Late { timeout } => write!(f, "no hello within {} ms", timeout.as_millis()),
            Self::Receive(error) => write!(f, "receiving the hello: {error}"),
            Self::Packet(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for HelloError {}
