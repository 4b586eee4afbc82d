//! A listener with one ring, one subscription and one connection at a time. It answers honestly
//! unless it is told otherwise.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use aqueduct_core::handshake::{HELLO_BYTES, WAKE, WELCOME_BYTES, Welcome};
use aqueduct_core::layout::{CLOCK_REALTIME, DATA_OFFSET_MAPPED};
use aqueduct_core::{
    AttributeBlock, ClaimError, Meta, Producer, Region, RingConfig, Start, SubscriptionId, Wake,
};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown,
    SocketAddrUnix, SocketFlags, SocketType,
};

use super::segment::{SEALS, Segment};
use super::{PATIENCE, fresh_path};

pub const GRANULES: usize = 64;
pub const RING_BYTES: usize = DATA_OFFSET_MAPPED as usize + GRANULES * 32;
pub const CURSOR_BYTES: usize = 4096;
pub const EPOCH: u64 = 0xFEED_FACE_CAFE_BEEF;

/// What a listener does with a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manner {
    #[default]
    Honest,
    /// Answers before the HELLO is read, and closes with the HELLO unread.
    AnswersUnheard,
    /// Answers and ends the connection.
    Refuses,
    HangsUpBeforeHello,
    HangsUpAfterHello,
    /// Never answers.
    Silent,
}

pub struct Fake {
    pub path: PathBuf,
    pub ring: Segment,
    pub cursor: Segment,
    pub producer: Producer<Region<'static>>,
    pub subscription: SubscriptionId,
    pub manner: Manner,
    /// The answer, and which descriptors go with it: of the ring if true.
    pub packet: Vec<u8>,
    pub descriptors: Vec<bool>,
    /// The last HELLO.
    pub hello: Vec<u8>,
    pub connection: Option<OwnedFd>,
    listening: OwnedFd,
}

impl Fake {
    /// Listens at a path of its own, for a gating reader.
    pub fn new() -> Self {
        Self::at(&fresh_path(), EPOCH, 0)
    }

    /// Listens for an observer.
    pub fn observed() -> Self {
        let mut fake = Self::new();
        fake.descriptors.truncate(1);
        fake
    }

    /// Listens at this path, with a ring of this epoch whose first record has this position.
    pub fn at(path: &Path, epoch: u64, first_position: u32) -> Self {
        Self::of_granules(path, epoch, first_position, GRANULES)
    }

    /// The same with a ring of another size.
    pub fn of_granules(path: &Path, epoch: u64, first_position: u32, granules: usize) -> Self {
        let ring_bytes = DATA_OFFSET_MAPPED as usize + granules * 32;
        let ring = Segment::new("ring", ring_bytes, SEALS);
        let mut config = RingConfig::new("demo", epoch, granules * 32);
        config.data_offset_bytes = DATA_OFFSET_MAPPED;
        config.created_ns = 77;
        config.clock_id = CLOCK_REALTIME;
        config.first_position = first_position;
        let mut producer = Producer::create(ring.region, &config).expect("a ring");
        let subscription = producer.subscribe(Start::Latest).expect("a subscription");
        let cursor = Segment::new("cursor", CURSOR_BYTES, SEALS);
        producer.attach(subscription, "tail", cursor.region).expect("attached");
        let welcome = Welcome::Attached {
            ring_bytes: ring_bytes as u64,
            cursor_bytes: u32::try_from(CURSOR_BYTES).expect("small"),
        };
        let listening = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .expect("a socket");
        let _ = std::fs::remove_file(path);
        let address = SocketAddrUnix::new(path).expect("a short path");
        rustix::net::bind(&listening, &address).expect("bound");
        rustix::net::listen(&listening, 1).expect("listening");
        Self {
            path: path.to_owned(),
            ring,
            cursor,
            producer,
            subscription,
            manner: Manner::Honest,
            packet: welcome.encode().to_vec(),
            descriptors: vec![true, false],
            hello: Vec::new(),
            connection: None,
            listening,
        }
    }

    /// Answers this to every HELLO.
    pub fn refuse(&mut self, status: u32, message: &[u8]) {
        let welcome = Welcome::Refused { status, message };
        self.packet = welcome.encode().to_vec();
        self.packet[32..WELCOME_BYTES].fill(0);
        self.packet[32..32 + message.len()].copy_from_slice(message);
        self.descriptors.clear();
        self.manner = Manner::Refuses;
    }

    /// Runs `client` while this listener takes one connection.
    pub fn meet<T>(&mut self, client: impl FnOnce(&Path) -> T) -> T {
        let path = self.path.clone();
        thread::scope(|scope| {
            let listener = scope.spawn(|| self.take_one());
            let result = client(&path);
            listener.join().expect("the listener does not panic");
            result
        })
    }

    /// Whether somebody connects within this time.
    pub fn is_asked(&self, time: Duration) -> bool {
        is_readable_within(self.listening.as_fd(), time)
    }

    /// Whether the reader says something, or ends the connection, within this time.
    pub fn is_told(&self, time: Duration) -> bool {
        let connection = self.connection.as_ref().expect("somebody is attached");
        is_readable_within(connection.as_fd(), time)
    }

    /// Connects until no more fit, so that the next one waits.
    pub fn fill_backlog(&self) -> Vec<OwnedFd> {
        let address = SocketAddrUnix::new(&self.path).expect("a short path");
        let connect = || {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
            let socket = rustix::net::socket_with(family, kind, flags, None).expect("a socket");
            rustix::net::connect(&socket, &address).is_ok().then_some(socket)
        };
        std::iter::from_fn(connect).collect()
    }

    /// Takes one connection and does with it as told.
    pub fn take_one(&mut self) {
        assert!(is_readable(self.listening.as_fd()), "nobody connects");
        let connection =
            rustix::net::accept_with(&self.listening, SocketFlags::CLOEXEC).expect("accepted");
        if self.manner == Manner::HangsUpBeforeHello {
            return;
        }
        assert!(is_readable(connection.as_fd()), "no hello");
        if self.manner != Manner::AnswersUnheard {
            let mut hello = [0; HELLO_BYTES + 1];
            let (_, bytes) =
                rustix::net::recv(&connection, &mut hello[..], RecvFlags::empty()).expect("hello");
            self.hello = hello[..bytes].to_vec();
        }
        match self.manner {
            Manner::HangsUpAfterHello => return,
            Manner::Silent => {}
            _ => self.welcome(&connection),
        }
        if !matches!(self.manner, Manner::Refuses | Manner::AnswersUnheard) {
            self.connection = Some(connection);
        }
    }

    fn welcome(&self, connection: &OwnedFd) {
        let descriptors: Vec<_> = self
            .descriptors
            .iter()
            .map(|&ring| if ring { self.ring.fd.as_fd() } else { self.cursor.fd.as_fd() })
            .collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
        }
        let parts = [IoSlice::new(&self.packet)];
        rustix::net::sendmsg(connection, &parts, &mut control, SendFlags::NOSIGNAL).expect("sent");
    }

    /// Publishes a record and wakes the reader if it sleeps.
    pub fn publish(&mut self, payload: &[u8]) {
        assert!(self.try_publish(payload).is_ok(), "the ring is full");
    }

    pub fn publish_with(&mut self, payload: &[u8], attributes: &[(&str, &[u8])]) {
        let mut room = [0; 256];
        let block = AttributeBlock::write(attributes.iter().copied(), &mut room).expect("it fits");
        let meta = Meta { type_tag: 7, timestamp_ns: 5 };
        let (_, wake) = self.producer.push_with(meta, payload, block).expect("there is room");
        self.wake(wake);
    }

    pub fn try_publish(&mut self, payload: &[u8]) -> Result<u64, ClaimError> {
        let (seq, wake) = self.producer.push(Meta { type_tag: 7, timestamp_ns: 5 }, payload)?;
        self.wake(wake);
        Ok(seq)
    }

    pub fn close(&mut self) {
        let wake = self.producer.close();
        self.wake(wake);
    }

    fn wake(&self, wake: Wake) {
        if wake.sockets != 0 {
            self.send(&[WAKE]);
        }
    }

    /// Sends a packet to the reader.
    pub fn send(&self, packet: &[u8]) {
        let connection = self.connection.as_ref().expect("somebody is attached");
        // One that does not fit is not needed, and the other side may be gone.
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let _ = rustix::net::send(connection, packet, flags);
    }

    /// The next packet of the reader; empty: it has gone.
    pub fn receive(&self) -> Vec<u8> {
        let connection = self.connection.as_ref().expect("somebody is attached");
        assert!(is_readable(connection.as_fd()), "nothing came");
        let mut packet = [0; 16];
        match rustix::net::recv(connection, &mut packet[..], RecvFlags::empty()) {
            Ok((_, bytes)) => packet[..bytes].to_vec(),
            Err(_) => Vec::new(),
        }
    }

    /// Ends the connection, not the ring.
    pub fn hang_up(&mut self) {
        if let Some(connection) = self.connection.take() {
            // Aloud: a process that a test beside this one just starts may hold a copy.
            let _ = rustix::net::shutdown(connection, Shutdown::Both);
        }
    }

    /// Takes no more connections; the socket file stays.
    pub fn stop_listening(&self) {
        let _ = rustix::net::shutdown(&self.listening, Shutdown::Both);
    }

    /// Lets go of the reader, so that another may attach: a new cursor segment for it.
    pub fn detach(&mut self) {
        self.hang_up();
        self.producer.detach(self.subscription);
        self.cursor = Segment::new("cursor", CURSOR_BYTES, SEALS);
        self.producer.attach(self.subscription, "tail", self.cursor.region).expect("attached");
    }

    /// Ends as a process that is killed: connection and socket are gone, the file is left.
    pub fn die(mut self) -> PathBuf {
        self.hang_up();
        std::mem::take(&mut self.path)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.hang_up();
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Whether it becomes readable in time.
fn is_readable(fd: BorrowedFd<'_>) -> bool {
    is_readable_within(fd, PATIENCE)
}

fn is_readable_within(fd: BorrowedFd<'_>, time: Duration) -> bool {
    let time = Timespec::try_from(time).expect("short");
    rustix::event::poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], Some(&time))
        .is_ok_and(|ready| ready > 0)
}
