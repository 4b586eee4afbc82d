//! The handshake: connect, HELLO, WELCOME with its descriptors, segments (ABI §6.2).
//!
//! The segments' descriptors live here only and are closed on every path; what outlasts the
//! handshake are the socket, which is the link's, and the mappings, which are the source's.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use aqueduct_core::handshake::{HELLO_BYTES, WELCOME_BYTES, Welcome};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendFlags,
    SocketAddrUnix, SocketFlags, SocketType,
};

use crate::error::OpenError;
use crate::info::RingInfo;
use crate::interrupt::Interrupter;
use crate::link::{Deadline, Link, SLEEP_SLICE, poll};
use crate::mapping::{CursorMapping, RingMapping, bytes_of};
use crate::source::Source;

/// As many descriptors as one packet can carry (the kernel's `SCM_MAX_FD`), so that a surplus is
/// received and closed.
const DESCRIPTORS_MAX: usize = 253;

/// Whom to ask for what.
pub(crate) struct Request {
    pub(crate) address: SocketAddrUnix,
    pub(crate) hello: [u8; HELLO_BYTES],
    pub(crate) observe: bool,
}

/// How long an attempt may wait, and what ends its waiting.
#[derive(Clone, Copy)]
pub(crate) struct Patience<'a> {
    pub(crate) deadline: Deadline,
    pub(crate) stop: Option<&'a Interrupter>,
}

impl Patience<'_> {
    /// Does what can be done without waiting.
    pub(crate) fn none() -> Self {
        Self { deadline: Deadline::now(), stop: None }
    }

    /// Waits until the descriptor is readable, the deadline or a while is over, or a signal handler
    /// ran. True: it is readable.
    pub(crate) fn wait(self, fd: Option<BorrowedFd<'_>>) -> Result<bool, OpenError> {
        let interest = [fd, self.stop.map(AsFd::as_fd)];
        let mut on = interest.map(|fd| fd.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        let mut watched: Vec<_> = on.iter_mut().filter_map(Option::take).collect();
        match poll(&mut watched, self.deadline.left(SLEEP_SLICE)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(OpenError::system("poll")(errno)),
        }
        if fd.is_some() && !watched[0].revents().is_empty() {
            return Ok(true);
        }
        if self.stop.is_some_and(Interrupter::take) {
            return Err(OpenError::Interrupted);
        }
        Ok(false)
    }
}

/// Connects and says HELLO.
pub(crate) fn begin(
    link: &mut Link,
    request: &Request,
    patience: Patience<'_>,
) -> Result<(), OpenError> {
    link.adopt(dial(&request.address, patience)?)?;
    let Some(socket) = link.socket() else { return Err(OpenError::HangUp) };
    match rustix::net::send(socket, &request.hello, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
        // A listener that refuses before it has heard us may already have answered and gone: then
        // its answer is still there.
        Ok(_) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
        Err(errno) => Err(OpenError::system("send")(errno)),
    }
}

/// Hears WELCOME and maps what came with it.
pub(crate) fn finish(
    link: &Link,
    request: &Request,
    patience: Patience<'_>,
) -> Result<(Source, RingInfo), OpenError> {
    let Some(socket) = link.socket() else { return Err(OpenError::HangUp) };
    let mut packet = [0; WELCOME_BYTES + 1];
    let (bytes, descriptors) = receive(socket, &mut packet, patience)?;
    let (ring_bytes, cursor_bytes) = match Welcome::parse(&packet[..bytes]) {
        Ok(Welcome::Attached { ring_bytes, cursor_bytes }) => (ring_bytes, cursor_bytes),
        Ok(Welcome::Refused { status, message }) => {
            return Err(OpenError::Refused { status, message: printable(message) });
        }
        Err(error) => return Err(OpenError::Welcome(error)),
    };
    let found = descriptors.len();
    match (request.observe, &descriptors[..]) {
        (false, [ring, cursor]) => {
            let cursor = Some((cursor.as_fd(), u64::from(cursor_bytes)));
            map((ring.as_fd(), ring_bytes), cursor)
        }
        (true, [ring]) => map((ring.as_fd(), ring_bytes), None),
        (observe, _) => {
            Err(OpenError::Descriptors { found, expected: if observe { 1 } else { 2 } })
        }
    }
}

/// Maps segments of these sizes and attaches to them.
fn map(
    ring: (BorrowedFd<'_>, u64),
    cursor: Option<(BorrowedFd<'_>, u64)>,
) -> Result<(Source, RingInfo), OpenError> {
    let ring = RingMapping::new(ring.0, ring.1)?;
    let cursor = cursor.map(|(fd, bytes)| CursorMapping::new(fd, bytes)).transpose()?;
    Source::attach(ring, cursor).map_err(OpenError::Attach)
}

/// Maps segments that came by another way; they are as large as their files.
pub(crate) fn map_all(
    ring: BorrowedFd<'_>,
    cursor: Option<BorrowedFd<'_>>,
) -> Result<(Source, RingInfo), OpenError> {
    let cursor = cursor.map(|fd| Ok((fd, bytes_of(fd)?))).transpose()?;
    map((ring, bytes_of(ring)?), cursor)
}

/// Connects. That waits while the listener's backlog is full; a timeout of the socket bounds it.
fn dial(address: &SocketAddrUnix, patience: Patience<'_>) -> Result<OwnedFd, OpenError> {
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(OpenError::system("socket"))?;
    loop {
        // 0 would mean for ever.
        let wait = patience.deadline.left(SLEEP_SLICE).max(Duration::from_micros(1));
        sockopt::set_socket_timeout(&socket, Timeout::Send, Some(wait))
            .map_err(OpenError::system("setsockopt"))?;
        match rustix::net::connect(&socket, address) {
            Ok(()) => return Ok(socket),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(errno) => return Err(OpenError::system("connect")(errno)),
        }
        if patience.stop.is_some_and(Interrupter::take) {
            return Err(OpenError::Interrupted);
        }
        if patience.deadline.is_over() {
            return Err(OpenError::Timeout);
        }
    }
}

/// One packet, at most as long as `packet`, and the descriptors that came with it.
fn receive(
    socket: BorrowedFd<'_>,
    packet: &mut [u8],
    patience: Patience<'_>,
) -> Result<(usize, Vec<OwnedFd>), OpenError> {
    let mut reset = false;
    loop {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let got = rustix::net::recvmsg(socket, &mut [IoSliceMut::new(packet)], &mut control, flags);
        match got {
            Ok(message) => {
                let descriptors = control.drain().flat_map(|message| match message {
                    RecvAncillaryMessage::ScmRights(rights) => rights.collect(),
                    _ => Vec::new(),
                });
                let descriptors = descriptors.collect();
                if message.flags.contains(ReturnFlags::CTRUNC) {
                    // There is room for as many as a packet can carry, so it is this process that
                    // can hold no more.
                    let call = "recvmsg: not every descriptor arrived";
                    return Err(OpenError::system(call)(Errno::MFILE));
                }
                if message.bytes == 0 {
                    return Err(OpenError::HangUp);
                }
                return Ok((message.bytes, descriptors));
            }
            // It closed without reading our HELLO; what it sent before that comes after the error.
            Err(Errno::CONNRESET) if !reset => {
                reset = true;
                continue;
            }
            Err(Errno::CONNRESET | Errno::PIPE) => return Err(OpenError::HangUp),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(errno) => return Err(OpenError::system("recvmsg")(errno)),
        }
        if !patience.wait(Some(socket))? && patience.deadline.is_over() {
            return Err(OpenError::Timeout);
        }
    }
}

/// The listener's words may go to terminals and logs: no control characters in them.
fn printable(message: &[u8]) -> String {
    let replace = |character: char| if character.is_control() { '?' } else { character };
    String::from_utf8_lossy(message).chars().map(replace).collect()
}
