//! Epoll, edge-triggered: one registration for the life of a connection, one `recv` for what is
//! there, one `send` for the answers.
//!
//! Calls epoll through `rustix` and not through the crate `polling`: that one does not report
//! `EPOLLRDHUP` by itself, without which every short read needs a second `recv` to be sure that the
//! end of the stream is not missed, and its registration is unsafe.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, SocketFlags};
use rustix::time::Timespec;

use super::{Buffers, Driver, Event, Id, Listener, Waker};

/// Events taken by one system call.
const EVENTS: usize = 512;
/// Read from one connection in one turn, bytes.
const READ_BYTES: usize = 64 << 10;
/// Accepted from one listening socket in one turn. Few: a descriptor each, before the loop can
/// refuse one.
const ACCEPTS: usize = 8;

/// Marks the number of a listening socket.
const LISTENER: u64 = 1 << 32;
/// The waker.
const WAKER: u64 = 2 << 32;

/// One connection.
#[allow(clippy::struct_excessive_bools, reason = "independent facts about one socket")]
struct Socket {
    fd: OwnedFd,
    /// An edge was seen and not everything read since.
    readable: bool,
    /// The peer's end, a broken connection, or what follows urgent data is yet to be read, so that
    /// a short read may not be the last.
    hung_up: bool,
    /// The connection is broken, which is to be reported even while nothing is read from it.
    broken: bool,
    /// In `Epoll::ready`.
    queued: bool,
    /// Not to be read.
    paused: bool,
    /// Its end has been reported.
    ended: bool,
    /// Its failure has been reported, or will be at the next turn.
    failed: bool,
    /// Shut down the sending side once everything is sent.
    finish: bool,
    /// What the kernel has not taken yet.
    unsent: Option<Box<Unsent>>,
}

/// Bytes that wait for room in the socket.
struct Unsent {
    bytes: Vec<u8>,
    /// Sent so far.
    from: usize,
}

impl Unsent {
    /// Adds bytes. What is sent is dropped when it is half of them: a peer that always leaves a
    /// little would have the buffer grow for as long as it is connected.
    fn push(&mut self, bytes: &[u8]) {
        if self.from > self.bytes.len() - self.from {
            self.bytes.drain(..self.from);
            self.from = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }
}

/// What a call found and the next turn reports.
enum Notice {
    Failed(Id, Errno),
    Closed(Id),
    Released(Id, OwnedFd),
}

/// The driver.
pub struct Epoll {
    descriptor: OwnedFd,
    listeners: Vec<Option<OwnedFd>>,
    /// Listening sockets that may have more clients.
    more: Vec<Listener>,
    sockets: Vec<Option<Socket>>,
    /// Connections to be read in this turn or the next.
    ready: Vec<Id>,
    /// What is reported first in the next turn.
    notices: Vec<Notice>,
    events: Vec<epoll::Event>,
    scratch: Box<[u8]>,
    buffers: Buffers,
    _waker: Arc<Waker>,
}

impl Epoll {
    /// Makes a driver that this waker wakes.
    pub fn new(waker: Arc<Waker>, buffers: Buffers) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(
            &epoll,
            waker.as_fd(),
            EventData::new_u64(WAKER),
            EventFlags::IN | EventFlags::ET,
        )?;
        Ok(Self {
            descriptor: epoll,
            listeners: Vec::new(),
            more: Vec::new(),
            sockets: Vec::new(),
            ready: Vec::new(),
            notices: Vec::new(),
            events: Vec::with_capacity(EVENTS),
            scratch: vec![0; READ_BYTES].into_boxed_slice(),
            buffers,
            _waker: waker,
        })
    }

    fn socket(&mut self, id: Id) -> Option<&mut Socket> {
        self.sockets.get_mut(id as usize)?.as_mut()
    }

    /// Notes what an event says about a connection and sends what now fits.
    fn note(&mut self, id: Id, flags: EventFlags, report: &mut impl FnMut(Event<'_>)) {
        let Some(socket) = self.sockets.get_mut(id as usize).and_then(Option::as_mut) else {
            return;
        };
        if socket.failed {
            return;
        }
        // Both sides shut down is also how a connection looks that was finished from here.
        let broken =
            flags.contains(EventFlags::ERR) || flags.contains(EventFlags::HUP) && !socket.finish;
        socket.broken |= broken;
        if let Some(errno) = socket.fails_unread() {
            report(Event::Failed { id, errno });
            return;
        }
        if flags.contains(EventFlags::OUT) && socket.unsent.is_some() {
            match socket.flush(&self.buffers) {
                Ok(true) => report(Event::Drained { id }),
                Ok(false) => {}
                Err(errno) => {
                    socket.failed = true;
                    report(Event::Failed { id, errno });
                    return;
                }
            }
        }
        let read_on = EventFlags::RDHUP | EventFlags::PRI;
        if flags.intersects(EventFlags::IN | read_on) || broken {
            socket.readable = true;
            socket.hung_up |= broken || flags.intersects(read_on);
            socket.queue(id, &mut self.ready);
        }
    }

    /// Reads once from a connection.
    fn read(&mut self, id: Id, report: &mut impl FnMut(Event<'_>)) {
        let Self { sockets, scratch, ready, .. } = self;
        let Some(socket) = sockets.get_mut(id as usize).and_then(Option::as_mut) else { return };
        socket.queued = false;
        // It may have been paused since it was queued.
        if let Some(errno) = socket.fails_unread() {
            report(Event::Failed { id, errno });
            return;
        }
        while socket.readable && !(socket.paused || socket.ended || socket.failed) {
            match rustix::net::recv(&socket.fd, &mut scratch[..], RecvFlags::DONTWAIT) {
                Ok((0, _)) => {
                    socket.ended = true;
                    report(Event::Ended { id });
                }
                Ok((count, _)) => {
                    report(Event::Received { id, bytes: &mut scratch[..count] });
                    if count == scratch.len() || socket.hung_up {
                        // More, the end, or what follows urgent data, at which a read stops, comes
                        // in the next turn: each connection is read once in one.
                        socket.queue(id, ready);
                        return;
                    }
                    // A short read has emptied the socket.
                    socket.readable = false;
                }
                // After the peer's end there is always that to read, so this was urgent data.
                Err(Errno::AGAIN) => (socket.readable, socket.hung_up) = (false, false),
                Err(Errno::INTR) => {}
                Err(errno) => {
                    socket.failed = true;
                    report(Event::Failed { id, errno });
                }
            }
        }
    }

    fn accept(&mut self, listener: Listener, report: &mut impl FnMut(Event<'_>)) {
        let Some(Some(socket)) = self.listeners.get(listener as usize) else { return };
        for _ in 0..ACCEPTS {
            match rustix::net::accept_with(socket, SocketFlags::CLOEXEC) {
                Ok(socket) => report(Event::Accepted { listener, socket }),
                Err(Errno::AGAIN) => return,
                // The client went away while it waited.
                Err(Errno::CONNABORTED | Errno::INTR) => {}
                Err(errno) => {
                    report(Event::AcceptFailed { listener, errno });
                    return;
                }
            }
        }
        self.more.push(listener);
    }

    fn wait(&mut self, wait: Option<Duration>) -> io::Result<()> {
        let busy = !(self.ready.is_empty() && self.more.is_empty() && self.notices.is_empty());
        let wait = if busy { Some(Duration::ZERO) } else { wait };
        let wait = wait.map(|wait| {
            Timespec::try_from(wait).unwrap_or(Timespec { tv_sec: i64::from(i32::MAX), tv_nsec: 0 })
        });
        self.events.clear();
        match epoll::wait(&self.descriptor, spare_capacity(&mut self.events), wait.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl Socket {
    fn queue(&mut self, id: Id, ready: &mut Vec<Id>) {
        if !std::mem::replace(&mut self.queued, true) {
            ready.push(id);
        }
    }

    /// Why a broken connection from which nothing is read fails. Once.
    fn fails_unread(&mut self) -> Option<Errno> {
        if !self.broken || self.failed || !(self.paused || self.ended) {
            return None;
        }
        self.failed = true;
        let errno = rustix::net::sockopt::socket_error(&self.fd).ok().and_then(Result::err);
        Some(errno.unwrap_or(Errno::CONNRESET))
    }

    /// Sends what waits. Whether nothing is left.
    fn flush(&mut self, buffers: &Buffers) -> Result<bool, Errno> {
        let Some(mut unsent) = self.unsent.take() else { return Ok(true) };
        unsent.from += send(&self.fd, &unsent.bytes[unsent.from..])?;
        if unsent.from < unsent.bytes.len() {
            self.unsent = Some(unsent);
            return Ok(false);
        }
        buffers.give(unsent.bytes);
        self.end_if_finished();
        Ok(true)
    }

    fn end_if_finished(&mut self) {
        if self.finish && self.unsent.is_none() {
            // Fails only on a connection that is gone already.
            let _ = rustix::net::shutdown(&self.fd, Shutdown::Write);
        }
    }
}

/// How many bytes the kernel took.
fn send(fd: &OwnedFd, bytes: &[u8]) -> Result<usize, Errno> {
    loop {
        match rustix::net::send(fd, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(count) => return Ok(count),
            Err(Errno::AGAIN) => return Ok(0),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

impl Driver for Epoll {
    fn listen(&mut self, socket: OwnedFd) -> io::Result<Listener> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        let listener = Listener::try_from(self.listeners.len()).unwrap_or(Listener::MAX);
        epoll::add(
            &self.descriptor,
            &socket,
            EventData::new_u64(LISTENER | u64::from(listener)),
            EventFlags::IN | EventFlags::ET,
        )?;
        self.listeners.push(Some(socket));
        Ok(listener)
    }

    fn accept_again(&mut self, listener: Listener) {
        self.more.push(listener);
    }

    fn stop_listening(&mut self) {
        for listener in self.listeners.iter_mut().filter_map(Option::take) {
            // Others may hold the same socket open.
            let _ = epoll::delete(&self.descriptor, &listener);
        }
        self.more.clear();
    }

    fn add(&mut self, id: Id, fd: OwnedFd) -> io::Result<()> {
        let read = EventFlags::IN | EventFlags::PRI | EventFlags::RDHUP;
        let edges = read | EventFlags::OUT | EventFlags::ET;
        epoll::add(&self.descriptor, &fd, EventData::new_u64(u64::from(id)), edges)?;
        if self.sockets.len() <= id as usize {
            self.sockets.resize_with(id as usize + 1, || None);
        }
        debug_assert!(self.sockets[id as usize].is_none(), "connection {id} is there already");
        self.sockets[id as usize] = Some(Socket {
            fd,
            readable: false,
            hung_up: false,
            broken: false,
            queued: false,
            paused: false,
            ended: false,
            failed: false,
            finish: false,
            unsent: None,
        });
        Ok(())
    }

    fn pause(&mut self, id: Id) {
        if let Some(socket) = self.socket(id) {
            socket.paused = true;
        }
    }

    fn resume(&mut self, id: Id) {
        let Some(socket) = self.sockets.get_mut(id as usize).and_then(Option::as_mut) else {
            return;
        };
        socket.paused = false;
        if socket.readable {
            socket.queue(id, &mut self.ready);
        }
    }

    fn send(&mut self, id: Id, bytes: Vec<u8>) {
        let Some(socket) = self.sockets.get_mut(id as usize).and_then(Option::as_mut) else {
            return self.buffers.give(bytes);
        };
        if let Some(unsent) = &mut socket.unsent {
            unsent.push(&bytes);
            return self.buffers.give(bytes);
        }
        match send(&socket.fd, &bytes) {
            Ok(count) if count == bytes.len() => {
                self.buffers.give(bytes);
                socket.end_if_finished();
            }
            Ok(from) => socket.unsent = Some(Box::new(Unsent { bytes, from })),
            Err(errno) => {
                self.buffers.give(bytes);
                if !std::mem::replace(&mut socket.failed, true) {
                    self.notices.push(Notice::Failed(id, errno));
                }
            }
        }
    }

    fn unsent(&self, id: Id) -> usize {
        let socket = self.sockets.get(id as usize).and_then(Option::as_ref);
        socket
            .and_then(|socket| socket.unsent.as_ref())
            .map_or(0, |unsent| unsent.bytes.len() - unsent.from)
    }

    fn finish(&mut self, id: Id) {
        if let Some(socket) = self.socket(id) {
            socket.finish = true;
            socket.end_if_finished();
        }
    }

    fn close(&mut self, id: Id) {
        if let Some(socket) = self.sockets.get_mut(id as usize).and_then(Option::take) {
            if let Some(unsent) = socket.unsent {
                self.buffers.give(unsent.bytes);
            }
            self.notices.push(Notice::Closed(id));
        }
    }

    fn release(&mut self, id: Id) {
        if let Some(socket) = self.sockets.get_mut(id as usize).and_then(Option::take) {
            debug_assert!(socket.unsent.is_none(), "connection {id} has bytes to send");
            // Fails only for a descriptor that was never added.
            let _ = epoll::delete(&self.descriptor, &socket.fd);
            self.notices.push(Notice::Released(id, socket.fd));
        }
    }

    fn turn(
        &mut self,
        wait: Option<Duration>,
        mut report: impl FnMut(Event<'_>),
    ) -> io::Result<()> {
        self.wait(wait)?;
        for notice in self.notices.drain(..) {
            match notice {
                Notice::Failed(id, errno) => {
                    // It may have been closed since.
                    if self.sockets.get(id as usize).is_some_and(Option::is_some) {
                        report(Event::Failed { id, errno });
                    }
                }
                Notice::Closed(id) => report(Event::Closed { id }),
                Notice::Released(id, socket) => report(Event::Released { id, socket }),
            }
        }
        // Those left over from the last turn come after those that are new in this one, and each
        // is read once.
        let left = std::mem::take(&mut self.ready);
        for listener in std::mem::take(&mut self.more) {
            self.accept(listener, &mut report);
        }
        let events = std::mem::take(&mut self.events);
        for event in &events {
            let (data, flags) = (event.data.u64(), event.flags);
            let number = u32::try_from(data & u64::from(u32::MAX)).unwrap_or(u32::MAX);
            match data & !u64::from(u32::MAX) {
                0 => self.note(number, flags, &mut report),
                LISTENER => self.accept(number, &mut report),
                _ => report(Event::Woken),
            }
        }
        self.events = events;
        let new = std::mem::take(&mut self.ready);
        for id in new.iter().chain(&left) {
            self.read(*id, &mut report);
        }
        // Keeps the larger allocation.
        let mut spare = if new.capacity() > left.capacity() { new } else { left };
        spare.clear();
        spare.append(&mut self.ready);
        self.ready = spare;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_peer_that_sends_on_after_urgent_data_is_read_once_in_a_turn() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut peer = std::net::TcpStream::connect(address).expect("connected");
        peer.set_nodelay(true).expect("set");
        let (ours, _) = listener.accept().expect("accepted");
        let waker = Arc::new(Waker::new().expect("an eventfd"));
        let mut epoll = Epoll::new(waker, Buffers::default()).expect("a driver");
        epoll.add(0, ours.into()).expect("added");
        peer.write_all(b"a").expect("sent");
        assert_eq!(rustix::net::send(&peer, b"!", SendFlags::OOB), Ok(1));
        let mut most = 0;
        for _ in 0..20 {
            let mut reads = 0;
            let turn = epoll.turn(Some(Duration::from_millis(20)), |event| {
                if let Event::Received { .. } = event {
                    reads += 1;
                    // There is always more.
                    if reads < 100 {
                        peer.write_all(b"b").expect("sent");
                    }
                }
            });
            turn.expect("a turn");
            most = most.max(reads);
        }
        assert_eq!(most, 1);
    }

    #[test]
    fn a_connection_paused_at_the_last_bytes_before_a_reset_is_told_of_it() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut peer = std::net::TcpStream::connect(address).expect("connected");
        let (ours, _) = listener.accept().expect("accepted");
        let waker = Arc::new(Waker::new().expect("an eventfd"));
        let mut epoll = Epoll::new(waker, Buffers::default()).expect("a driver");
        epoll.add(0, ours.into()).expect("added");
        peer.write_all(b"a").expect("sent");
        rustix::net::sockopt::set_socket_linger(&peer, Some(Duration::ZERO)).expect("set");
        drop(peer);
        let (mut received, mut failed) = (0, Vec::new());
        for _ in 0..4 {
            let before = received;
            let turn = epoll.turn(Some(Duration::from_millis(20)), |event| match event {
                Event::Received { bytes, .. } => received += bytes.len(),
                Event::Failed { errno, .. } => failed.push(errno),
                _ => {}
            });
            turn.expect("a turn");
            if received > before {
                epoll.pause(0);
            }
        }
        assert_eq!((received, failed), (1, vec![Errno::CONNRESET]));
    }

    #[test]
    fn a_peer_that_always_leaves_a_little_does_not_make_what_waits_for_it_grow() {
        let mut unsent = Unsent { bytes: vec![0; 1000], from: 0 };
        for round in 0..10_000_usize {
            unsent.from += 100;
            unsent.push(&[round.to_le_bytes()[0]; 100]);
            assert_eq!(unsent.bytes.len() - unsent.from, 1000);
        }
        assert_eq!(unsent.bytes[unsent.from..][..2], [9990_usize.to_le_bytes()[0]; 2]);
        assert!(unsent.bytes.len() <= 2200, "{}", unsent.bytes.len());
    }
}
