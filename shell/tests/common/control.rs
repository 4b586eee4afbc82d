//! A client of the control socket that says what it likes, and the segments that it is given: for
//! readers that are not honest.

use std::io::{IoSliceMut, Result};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::ptr::NonNull;
use std::time::Duration;

use aqueduct_client::Client;
use aqueduct_core::Region;
use aqueduct_core::handshake::{HELLO_BYTES, Hello, Kind, Welcome};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::mm::{MapFlags, ProtFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, Shutdown,
    SocketAddrUnix, SocketFlags, SocketType,
};

use super::PATIENCE;
use super::reader::Attached;

/// A control connection.
pub struct Control {
    pub socket: OwnedFd,
}

/// The answer to a HELLO.
#[derive(Debug)]
pub struct Answer {
    pub status: u32,
    pub ring_bytes: usize,
    pub cursor_bytes: usize,
    pub message: String,
    pub descriptors: Vec<OwnedFd>,
}

pub fn hello(ring: &str, subscription: &str) -> [u8; HELLO_BYTES] {
    let hello = Hello { kind: Kind::Attach, ring, subscription };
    hello.encode().expect("short names")
}

/// A HELLO of another kind, known or not.
pub fn hello_of_kind(kind: u8, ring: &str, subscription: &str) -> [u8; HELLO_BYTES] {
    let mut packet = hello(ring, subscription);
    packet[12] = kind;
    packet
}

impl Drop for Control {
    /// Ended, not only closed: a test beside this one that is just starting a process holds a copy
    /// of every descriptor until it executes.
    fn drop(&mut self) {
        // Fails only if the server ended it first.
        let _ = rustix::net::shutdown(&self.socket, Shutdown::Both);
    }
}

impl Control {
    pub fn connect(path: &Path) -> Self {
        let socket = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .expect("a socket");
        let address = SocketAddrUnix::new(path).expect("a short path");
        rustix::net::connect(&socket, &address).expect("the server listens");
        Self { socket }
    }

    pub fn send(&self, packet: &[u8]) {
        rustix::net::send(&self.socket, packet, SendFlags::NOSIGNAL).expect("sent");
    }

    /// Whether something arrives, or the end, within the time.
    pub fn ready(&self, time: Duration) -> bool {
        let timeout = Timespec {
            tv_sec: i64::try_from(time.as_secs()).expect("short"),
            tv_nsec: i64::from(time.subsec_nanos()),
        };
        rustix::event::poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&timeout))
            .expect("polled")
            > 0
    }

    /// The next packet; empty means the end.
    pub fn receive(&self) -> Result<Vec<u8>> {
        assert!(self.ready(PATIENCE), "nothing came");
        let mut packet = [0; 256];
        let (_, bytes) = rustix::net::recv(&self.socket, &mut packet[..], RecvFlags::empty())?;
        Ok(packet[..bytes].to_vec())
    }

    /// That the server ends the connection. A reset is an end, too.
    #[track_caller]
    pub fn assert_ended(&self) {
        let end = self.receive();
        assert!(end.as_ref().map_or(true, Vec::is_empty), "{end:?}");
    }

    pub fn welcome(&self) -> Answer {
        assert!(self.ready(PATIENCE), "no answer");
        let mut packet = [0; 256];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let got = rustix::net::recvmsg(
            &self.socket,
            &mut [IoSliceMut::new(&mut packet)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        );
        let bytes = got.expect("received").bytes;
        let mut descriptors = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        assert_eq!(packet[..12], *b"AQDREPLY\x01\0\x02\0");
        match Welcome::parse(&packet[..bytes]).expect("a welcome") {
            Welcome::Attached { ring_bytes, cursor_bytes } => Answer {
                status: 0,
                ring_bytes: usize::try_from(ring_bytes).expect("fits"),
                cursor_bytes: cursor_bytes as usize,
                message: String::new(),
                descriptors,
            },
            Welcome::Refused { status, message } => Answer {
                status,
                ring_bytes: 0,
                cursor_bytes: 0,
                message: String::from_utf8(message.to_vec()).expect("UTF-8"),
                descriptors,
            },
        }
    }

    /// A connection that was refused: its status and message.
    pub fn refused(path: &Path, packet: &[u8]) -> (u32, String) {
        let control = Self::connect(path);
        control.send(packet);
        let welcome = control.welcome();
        assert!(welcome.descriptors.is_empty(), "{welcome:?}");
        control.assert_ended();
        (welcome.status, welcome.message)
    }
}

/// An attached reader whose socket, descriptors and cursor segment the test can use behind its
/// back.
pub struct Raw {
    pub control: Control,
    pub ring: OwnedFd,
    pub cursor: OwnedFd,
    pub ring_bytes: usize,
    pub page: Region<'static>,
    pub reader: Attached,
}

impl Raw {
    pub fn attach(path: &Path, ring: &str, subscription: &str) -> Self {
        let control = Control::connect(path);
        control.send(&hello(ring, subscription));
        let mut answer = control.welcome();
        assert_eq!((answer.status, answer.message.as_str()), (0, ""));
        assert_eq!((answer.descriptors.len(), answer.cursor_bytes), (2, 4096));
        let cursor = answer.descriptors.pop().expect("two");
        let ring = answer.descriptors.pop().expect("two");
        let both = ProtFlags::READ | ProtFlags::WRITE;
        let base = map(&cursor, answer.cursor_bytes, both).expect("mapped");
        // SAFETY: (1) mapped readable and writable for that many bytes, sealed against shrinking,
        // never unmapped; (2) page-aligned; (3) only used through regions.
        let page = unsafe { Region::from_raw(base, answer.cursor_bytes) };
        let copy = control.socket.try_clone().expect("a descriptor");
        let client = Client::from_descriptors(Some(copy), ring.as_fd(), Some(cursor.as_fd()));
        let reader = Attached { client: client.expect("an honest server") };
        Self { control, ring, cursor, ring_bytes: answer.ring_bytes, page, reader }
    }
}

/// Maps a shared descriptor; never unmapped.
pub fn map(fd: impl AsFd, bytes: usize, protection: ProtFlags) -> rustix::io::Result<NonNull<u8>> {
    // SAFETY: no address is asked for, so nothing is replaced.
    let base = unsafe {
        rustix::mm::mmap(std::ptr::null_mut(), bytes, protection, MapFlags::SHARED, fd, 0)
    }?;
    Ok(NonNull::new(base.cast()).expect("never at 0"))
}
