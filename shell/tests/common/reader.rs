//! A client of the control socket, honest or not, over `aqueduct-core`.

use std::io::{IoSliceMut, Result};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::ptr::NonNull;
use std::time::Duration;

use aqueduct_core::{Next, ReadRegion, Reader, Region};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::mm::{MapFlags, ProtFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, Shutdown,
    SocketAddrUnix, SocketFlags, SocketType,
};

use super::PATIENCE;

/// A control connection.
pub struct Control {
    pub socket: OwnedFd,
}

/// The answer to a HELLO.
#[derive(Debug)]
pub struct Welcome {
    pub status: u32,
    pub ring_bytes: usize,
    pub cursor_bytes: usize,
    pub message: String,
    pub descriptors: Vec<OwnedFd>,
}

pub fn hello(ring: &str, subscription: &str) -> [u8; 144] {
    let mut packet = [0; 144];
    packet[..8].copy_from_slice(b"AQDHELLO");
    packet[8] = 1;
    packet[12] = 1;
    packet[16..16 + ring.len()].copy_from_slice(ring.as_bytes());
    packet[80..80 + subscription.len()].copy_from_slice(subscription.as_bytes());
    packet
}

/// A hello of another kind.
pub fn hello_of_kind(kind: u8, ring: &str, subscription: &str) -> [u8; 144] {
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

    pub fn welcome(&self) -> Welcome {
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
        assert_eq!(got.expect("received").bytes, 128);
        let mut descriptors = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        assert_eq!(packet[..12], *b"AQDREPLY\x01\0\x01\0");
        let word = |at: usize| u32::from_le_bytes(packet[at..at + 4].try_into().expect("4 bytes"));
        let message = String::from_utf8(packet[32..128].to_vec())
            .expect("UTF-8")
            .trim_end_matches('\0')
            .to_owned();
        let ring_bytes =
            usize::try_from(u64::from_le_bytes(packet[16..24].try_into().expect("8 bytes")))
                .expect("fits");
        Welcome {
            status: word(12),
            ring_bytes,
            cursor_bytes: word(24) as usize,
            message,
            descriptors,
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

/// An attached reader.
pub struct Attached {
    pub control: Control,
    pub ring: OwnedFd,
    pub cursor: OwnedFd,
    pub ring_bytes: usize,
    pub page: Region<'static>,
    pub reader: Reader<ReadRegion<'static>, Region<'static>>,
}

impl Attached {
    pub fn attach(path: &Path, ring: &str, subscription: &str) -> Self {
        Self::attach_by(path, &hello(ring, subscription))
    }

    pub fn attach_by(path: &Path, hello: &[u8]) -> Self {
        let control = Control::connect(path);
        control.send(hello);
        let mut welcome = control.welcome();
        assert_eq!((welcome.status, welcome.message.as_str()), (0, ""));
        assert_eq!((welcome.descriptors.len(), welcome.cursor_bytes), (2, 4096));
        let cursor = welcome.descriptors.pop().expect("two");
        let ring = welcome.descriptors.pop().expect("two");
        let base = map(&ring, welcome.ring_bytes, ProtFlags::READ).expect("mapped");
        // SAFETY: (1) mapped readable for that many bytes, sealed against shrinking, never
        // unmapped; (2) page-aligned; (3) only used here.
        let ring_region = unsafe { ReadRegion::from_raw(base, welcome.ring_bytes) };
        let base =
            map(&cursor, welcome.cursor_bytes, ProtFlags::READ | ProtFlags::WRITE).expect("mapped");
        // SAFETY: as above, writable too.
        let page = unsafe { Region::from_raw(base, welcome.cursor_bytes) };
        let reader = Reader::attach(ring_region, page).expect("an honest server");
        Self { control, ring, cursor, ring_bytes: welcome.ring_bytes, page, reader }
    }

    /// The next record, if one is there.
    pub fn next(&mut self) -> Option<(u64, u16, Vec<u8>)> {
        let mut buffer = vec![0; 1 << 20];
        match self.reader.next(&mut buffer).expect("undamaged") {
            Next::Record(record) => {
                Some((record.seq, record.type_tag, buffer[..record.len].to_vec()))
            }
            Next::Empty | Next::Closed => None,
        }
    }

    /// Releases what was read, and says so if the producer wants to know.
    pub fn release(&mut self) -> bool {
        let tell = self.reader.release();
        if tell {
            self.control.send(b"S");
        }
        tell
    }

    /// Whether the end of the stream shows. The record that closes a ring may first be skipped as
    /// an `Empty` of its own.
    pub fn is_closed(&mut self) -> bool {
        let mut buffer = vec![0; 1 << 20];
        (0..2).any(|_| matches!(self.reader.next(&mut buffer), Ok(Next::Closed)))
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
