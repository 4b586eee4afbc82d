//! A reader that attaches correctly and then breaks the rules: garbage in its cursor, garbage on
//! its socket. And one that never says hello.

use std::fs::File;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, connect, recv, recvmsg, send, socket_with,
};

use crate::process::TIMEOUT;

/// ABI 6.2: the sizes of HELLO and WELCOME, and the status that says that the subscription has a
/// reader.
const HELLO_BYTES: usize = 144;
const WELCOME_BYTES: usize = 128;
const BUSY: u8 = 5;
/// ABI 6.1: offset of `cursor`.
const CURSOR_OFFSET: u64 = 64;

/// An attachment in bad hands.
pub(crate) struct Rude {
    socket: OwnedFd,
    cursor: File,
}

impl Rude {
    /// Attaches as `subscription`, trying again while its last reader is still being buried.
    pub(crate) fn attach(path: &Path, ring: &str, subscription: &str) -> Self {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let socket = dial(path);
            send(&socket, &hello(ring, subscription), SendFlags::NOSIGNAL)
                .expect("the listener takes a hello");
            let (welcome, mut descriptors) = receive_welcome(&socket);
            if let Some(cursor) = descriptors.pop() {
                assert_eq!(
                    (welcome[12], descriptors.len()),
                    (0, 1),
                    "status 0 comes with two descriptors"
                );
                return Self { socket, cursor: File::from(cursor) };
            }
            assert!(
                welcome[12] == BUSY && Instant::now() < deadline,
                "the listener refuses {subscription} with status {}",
                welcome[12]
            );
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Writes a cursor that no reader can have, asks for attention, then sends a packet that does
    /// not exist, and waits to be thrown out.
    pub(crate) fn misbehave_until_evicted(self) {
        self.cursor
            .write_all_at(&0xDEAD_BEEF_u32.to_le_bytes(), CURSOR_OFFSET)
            .expect("the cursor segment is the reader's to write");
        // Whichever the listener notices first may end the connection before the next packet.
        for packet in [b"S", b"X"] {
            let _ = send(&self.socket, packet, SendFlags::NOSIGNAL);
        }
        wait_for_hangup(&self.socket, "a reader with a broken cursor and a nonsense packet");
    }
}

/// Sends what is no HELLO and waits for the end of the connection.
pub(crate) fn speak_gibberish(path: &Path) {
    let socket = dial(path);
    send(&socket, &[0xA5; HELLO_BYTES + 1], SendFlags::NOSIGNAL)
        .expect("the listener takes a packet");
    wait_for_hangup(&socket, "a peer that does not say hello");
}

fn dial(path: &Path) -> OwnedFd {
    let socket =
        socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .expect("a socket");
    set_socket_timeout(&socket, Timeout::Recv, Some(TIMEOUT)).expect("a receive timeout");
    connect(&socket, &SocketAddrUnix::new(path).expect("a short path"))
        .expect("the listener takes connections");
    socket
}

fn hello(ring: &str, subscription: &str) -> [u8; HELLO_BYTES] {
    let mut hello = [0; HELLO_BYTES];
    hello[..8].copy_from_slice(b"AQDHELLO");
    hello[8] = 1; // abi_major
    hello[12] = 1; // attach as gating reader
    hello[16..16 + ring.len()].copy_from_slice(ring.as_bytes());
    hello[80..80 + subscription.len()].copy_from_slice(subscription.as_bytes());
    hello
}

fn receive_welcome(socket: &OwnedFd) -> ([u8; WELCOME_BYTES], Vec<OwnedFd>) {
    let mut welcome = [0; WELCOME_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let answer = recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut welcome)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    );
    assert_eq!(
        answer.expect("the listener answers a hello").bytes,
        WELCOME_BYTES,
        "a welcome has a fixed size"
    );
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    (welcome, descriptors)
}

/// Takes whatever still comes, until the other side has hung up.
fn wait_for_hangup(socket: &OwnedFd, who: &str) {
    let mut packet = [0; 256];
    loop {
        match recv(socket, &mut packet, RecvFlags::empty()) {
            Ok((_, 0)) | Err(rustix::io::Errno::CONNRESET) => return,
            Ok(_) => {}
            Err(error) => panic!("the listener does not hang up on {who}: {error}"),
        }
    }
}
