//! `io_uring`: multishot receive into provided buffers, and one system call per turn that
//! hands over all sends and brings all results.
//!
//! What each socket has under way is counted here; what the kernel may touch is `queue`'s.

mod queue;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::Shutdown;

use self::queue::{Completion, Filled, Operation, Outcome, Queue, Token};
use super::{Buffers, Driver, Event, Id, Listener, Waker};

/// Number under which the waker is polled.
const WAKER: u32 = u32::MAX;
/// Poll flags, as the kernel has them on every architecture.
const POLLIN: u32 = 0x01;
const POLLERR: u32 = 0x08;
const POLLHUP: u32 = 0x10;

/// One connection. With no operation under way and `Leaving` set, it is let go.
#[allow(clippy::struct_excessive_bools, reason = "independent facts about one socket")]
struct Socket {
    fd: OwnedFd,
    /// Operations under way.
    receiving: bool,
    sending: bool,
    polling: bool,
    /// Not to be read.
    paused: bool,
    /// Its end has been reported.
    ended: bool,
    /// Its failure has been reported.
    failed: bool,
    /// Shut down the sending side once everything is sent.
    finish: bool,
    leaving: Leaving,
    /// Bytes of the send under way, at least that have not been sent.
    in_flight: u32,
    /// What is sent next.
    next: Vec<u8>,
}

/// Whether a connection is on its way out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leaving {
    No,
    Closing,
    Releasing,
}

/// A listening socket.
struct Accepting {
    fd: OwnedFd,
    under_way: bool,
    stopped: bool,
}

/// The driver.
pub struct Uring {
    queue: Queue,
    listeners: Vec<Option<Accepting>>,
    sockets: Vec<Option<Socket>>,
    /// Connections on their way out with nothing under way.
    leaving: Vec<Id>,
    buffers: Buffers,
    waker: Arc<Waker>,
}

/// Checks that everything this driver needs works in this kernel and this container: makes a queue
/// and receives a byte and the end of a stream with it.
pub(super) fn probe() -> io::Result<()> {
    let mut queue = Queue::new()?;
    let (ours, theirs) = rustix::net::socketpair(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::STREAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?;
    queue.receive(ours.as_fd(), 0)?;
    queue.send(theirs.as_fd(), 1, vec![7], 0)?;
    let (mut received, mut ended) = (false, false);
    for _ in 0..8 {
        queue.wait(Some(Duration::from_secs(1)))?;
        while let Some(Completion { outcome, .. }) = queue.next() {
            match outcome {
                Outcome::Received(Ok(Some(mut filled))) => {
                    received = queue.bytes(&mut filled) == [7];
                    queue.recycle(filled);
                }
                Outcome::Received(Ok(None)) => ended = true,
                Outcome::Sent(_, Ok(_)) => rustix::net::shutdown(&theirs, Shutdown::Write)?,
                Outcome::Received(Err(errno)) | Outcome::Sent(_, Err(errno)) => {
                    return Err(errno.into());
                }
                _ => {}
            }
        }
        if received && ended {
            return Ok(());
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

impl Uring {
    /// Makes a driver for the calling thread that this waker wakes.
    pub fn new(waker: Arc<Waker>, buffers: Buffers) -> io::Result<Self> {
        let mut queue = Queue::new()?;
        queue.poll(waker.as_fd(), WAKER, POLLIN, true)?;
        Ok(Self {
            queue,
            listeners: Vec::new(),
            sockets: Vec::new(),
            leaving: Vec::new(),
            buffers,
            waker,
        })
    }

    fn accepted(
        &mut self,
        listener: Listener,
        result: Result<OwnedFd, Errno>,
        more: bool,
        report: &mut impl FnMut(Event<'_>),
    ) -> io::Result<()> {
        let Some(entry) = self.listeners.get_mut(listener as usize) else { return Ok(()) };
        let Some(accepting) = entry else { return Ok(()) };
        accepting.under_way = more;
        if accepting.stopped {
            if !more {
                *entry = None;
            }
            return Ok(());
        }
        match result {
            Ok(socket) => report(Event::Accepted { listener, socket }),
            // The client went away while it waited.
            Err(Errno::CONNABORTED | Errno::INTR | Errno::AGAIN | Errno::CANCELED) => {}
            Err(errno) => {
                report(Event::AcceptFailed { listener, errno });
                return Ok(());
            }
        }
        if !more {
            accepting.under_way = true;
            self.queue.accept(accepting.fd.as_fd(), listener)?;
        }
        Ok(())
    }

    fn received(
        &mut self,
        id: Id,
        result: Result<Option<Filled>, Errno>,
        more: bool,
        report: &mut impl FnMut(Event<'_>),
    ) -> io::Result<()> {
        let Some(socket) = self.sockets.get_mut(id as usize).and_then(Option::as_mut) else {
            return Ok(());
        };
        socket.receiving = more;
        let silent = socket.leaving == Leaving::Closing || socket.failed;
        match result {
            Ok(Some(mut filled)) => {
                if !silent {
                    report(Event::Received { id, bytes: self.queue.bytes(&mut filled) });
                }
                self.queue.recycle(filled);
            }
            Ok(None) => {
                if !std::mem::replace(&mut socket.ended, true) && !silent {
                    report(Event::Ended { id });
                }
            }
            // Not the connection's: cancelled, or no buffer was left.
            Err(Errno::CANCELED | Errno::NOBUFS | Errno::INTR | Errno::AGAIN) => {}
            Err(errno) => {
                socket.failed = true;
                if !silent {
                    report(Event::Failed { id, errno });
                }
            }
        }
        if more { Ok(()) } else { self.settle(id) }
    }

    fn sent(
        &mut self,
        id: Id,
        bytes: Vec<u8>,
        result: Result<usize, Errno>,
        report: &mut impl FnMut(Event<'_>),
    ) -> io::Result<()> {
        let Some(socket) = self.sockets.get_mut(id as usize).and_then(Option::as_mut) else {
            return Ok(());
        };
        socket.sending = false;
        socket.in_flight = 0;
        let silent = socket.leaving == Leaving::Closing || socket.failed;
        match result {
            Ok(to) if to < bytes.len() && !silent => {
                socket.send(&mut self.queue, id, bytes, to)?;
            }
            Ok(_) => {
                self.buffers.give(bytes);
                if !silent && socket.next.is_empty() {
                    socket.end_if_finished();
                    report(Event::Drained { id });
                } else if !silent {
                    let next = std::mem::take(&mut socket.next);
                    socket.send(&mut self.queue, id, next, 0)?;
                }
            }
            Err(errno) => {
                self.buffers.give(bytes);
                socket.failed = true;
                if !silent {
                    report(Event::Failed { id, errno });
                }
            }
        }
        self.settle(id)
    }

    /// A poll of a paused connection ended: cancelled, or the connection is broken.
    fn polled(
        &mut self,
        id: Id,
        result: Result<u32, Errno>,
        report: &mut impl FnMut(Event<'_>),
    ) -> io::Result<()> {
        let Some(socket) = self.sockets.get_mut(id as usize).and_then(Option::as_mut) else {
            return Ok(());
        };
        socket.polling = false;
        let broken = result
            .is_ok_and(|flags| flags & POLLERR != 0 || flags & POLLHUP != 0 && !socket.finish);
        if broken && socket.leaving != Leaving::Closing && !socket.failed && socket.paused {
            socket.failed = true;
            let errno = rustix::net::sockopt::socket_error(&socket.fd)
                .ok()
                .and_then(Result::err)
                .unwrap_or(Errno::CONNRESET);
            report(Event::Failed { id, errno });
        }
        self.settle(id)
    }

    /// Starts what a connection should have under way, ends what it should not, and lets it go once
    /// nothing is left.
    fn settle(&mut self, id: Id) -> io::Result<()> {
        let Some(socket) = self.sockets.get_mut(id as usize).and_then(Option::as_mut) else {
            return Ok(());
        };
        if socket.leaving != Leaving::No {
            if !(socket.receiving || socket.sending || socket.polling) {
                self.leaving.push(id);
            }
            return Ok(());
        }
        let reads = !(socket.paused || socket.ended || socket.failed);
        if reads && !socket.receiving {
            socket.receiving = true;
            self.queue.receive(socket.fd.as_fd(), id)?;
        }
        if socket.paused && !socket.receiving && !socket.polling && !socket.failed {
            socket.polling = true;
            self.queue.poll(socket.fd.as_fd(), id, 0, false)?;
        }
        Ok(())
    }

    fn leave(&mut self, id: Id, leaving: Leaving) {
        let Some(socket) = self.sockets.get_mut(id as usize).and_then(Option::as_mut) else {
            return;
        };
        if socket.leaving != Leaving::No {
            return;
        }
        socket.leaving = leaving;
        if leaving == Leaving::Closing {
            self.buffers.give(std::mem::take(&mut socket.next));
            if socket.receiving || socket.sending || socket.polling {
                // Ends whatever is under way. Fails only if the peer has closed before.
                let _ = rustix::net::shutdown(&socket.fd, Shutdown::Both);
            }
        }
        let result = socket.cancel(&mut self.queue, id);
        asked(result.and_then(|()| self.settle(id)));
    }
}

impl Socket {
    fn send(&mut self, queue: &mut Queue, id: Id, bytes: Vec<u8>, from: usize) -> io::Result<()> {
        self.sending = true;
        self.in_flight = u32::try_from(bytes.len() - from).unwrap_or(u32::MAX);
        queue.send(self.fd.as_fd(), id, bytes, from)
    }

    /// Ends receiving and polling.
    fn cancel(&self, queue: &mut Queue, id: Id) -> io::Result<()> {
        for (under_way, operation) in
            [(self.receiving, Operation::Receive), (self.polling, Operation::Poll)]
        {
            if under_way {
                queue.cancel(Token { operation, number: id })?;
            }
        }
        Ok(())
    }

    fn end_if_finished(&self) {
        if self.finish && !self.sending && self.next.is_empty() {
            // Fails only on a connection that is gone already.
            let _ = rustix::net::shutdown(&self.fd, Shutdown::Write);
        }
    }
}

impl Driver for Uring {
    fn listen(&mut self, fd: OwnedFd) -> io::Result<Listener> {
        rustix::io::ioctl_fionbio(&fd, false)?;
        let listener = Listener::try_from(self.listeners.len()).unwrap_or(Listener::MAX);
        self.queue.accept(fd.as_fd(), listener)?;
        self.listeners.push(Some(Accepting { fd, under_way: true, stopped: false }));
        Ok(listener)
    }

    fn accept_again(&mut self, listener: Listener) {
        let Some(Some(accepting)) = self.listeners.get_mut(listener as usize) else { return };
        if !accepting.under_way {
            accepting.under_way = true;
            let result = self.queue.accept(accepting.fd.as_fd(), listener);
            asked(result);
        }
    }

    fn stop_listening(&mut self) {
        let Self { listeners, queue, .. } = self;
        let mut result = Ok(());
        for (number, entry) in (0..).zip(listeners) {
            let Some(accepting) = entry else { continue };
            if accepting.under_way {
                accepting.stopped = true;
                let token = Token { operation: Operation::Accept, number };
                result = result.and(queue.cancel(token));
            } else {
                *entry = None;
            }
        }
        asked(result);
    }

    fn add(&mut self, id: Id, fd: OwnedFd) -> io::Result<()> {
        if self.sockets.len() <= id as usize {
            self.sockets.resize_with(id as usize + 1, || None);
        }
        debug_assert!(self.sockets[id as usize].is_none(), "connection {id} is there already");
        self.queue.receive(fd.as_fd(), id)?;
        self.sockets[id as usize] = Some(Socket {
            fd,
            receiving: true,
            sending: false,
            polling: false,
            paused: false,
            ended: false,
            failed: false,
            finish: false,
            leaving: Leaving::No,
            in_flight: 0,
            next: Vec::new(),
        });
        Ok(())
    }

    fn pause(&mut self, id: Id) {
        let Some(socket) = self.sockets.get_mut(id as usize).and_then(Option::as_mut) else {
            return;
        };
        if std::mem::replace(&mut socket.paused, true) {
            return;
        }
        let result = if socket.receiving {
            self.queue.cancel(Token { operation: Operation::Receive, number: id })
        } else {
            self.settle(id)
        };
        asked(result);
    }

    fn resume(&mut self, id: Id) {
        let Some(socket) = self.sockets.get_mut(id as usize).and_then(Option::as_mut) else {
            return;
        };
        if !std::mem::replace(&mut socket.paused, false) {
            return;
        }
        let mut result = Ok(());
        if socket.polling {
            result = self.queue.cancel(Token { operation: Operation::Poll, number: id });
        }
        asked(result.and_then(|()| self.settle(id)));
    }

    fn send(&mut self, id: Id, bytes: Vec<u8>) {
        let socket = self.sockets.get_mut(id as usize).and_then(Option::as_mut);
        let Some(socket) = socket.filter(|socket| socket.leaving == Leaving::No && !socket.failed)
        else {
            return self.buffers.give(bytes);
        };
        if bytes.is_empty() {
            return self.buffers.give(bytes);
        }
        if !socket.sending {
            let result = socket.send(&mut self.queue, id, bytes, 0);
            return asked(result);
        }
        if socket.next.is_empty() {
            socket.next = bytes;
        } else {
            socket.next.extend_from_slice(&bytes);
            self.buffers.give(bytes);
        }
    }

    fn unsent(&self, id: Id) -> usize {
        let socket = self.sockets.get(id as usize).and_then(Option::as_ref);
        socket.map_or(0, |socket| socket.in_flight as usize + socket.next.len())
    }

    fn finish(&mut self, id: Id) {
        if let Some(socket) = self.sockets.get_mut(id as usize).and_then(Option::as_mut) {
            socket.finish = true;
            socket.end_if_finished();
        }
    }

    fn close(&mut self, id: Id) {
        self.leave(id, Leaving::Closing);
    }

    fn release(&mut self, id: Id) {
        self.leave(id, Leaving::Releasing);
    }

    fn turn(
        &mut self,
        wait: Option<Duration>,
        mut report: impl FnMut(Event<'_>),
    ) -> io::Result<()> {
        let wait = if self.leaving.is_empty() { wait } else { Some(Duration::ZERO) };
        self.queue.wait(wait)?;
        while let Some(Completion { token: Token { operation, number }, outcome, more }) =
            self.queue.next()
        {
            match outcome {
                Outcome::Accepted(result) => self.accepted(number, result, more, &mut report)?,
                Outcome::Received(result) => self.received(number, result, more, &mut report)?,
                Outcome::Sent(bytes, result) => self.sent(number, bytes, result, &mut report)?,
                Outcome::Polled(_) if number == WAKER => {
                    report(Event::Woken);
                    if !more {
                        self.queue.poll(self.waker.as_fd(), WAKER, POLLIN, true)?;
                    }
                }
                Outcome::Polled(result) => self.polled(number, result, &mut report)?,
                Outcome::Cancelled => debug_assert_eq!(operation, Operation::Cancel),
            }
        }
        for id in std::mem::take(&mut self.leaving) {
            let Some(socket) = self.sockets.get_mut(id as usize).and_then(Option::take) else {
                continue;
            };
            match socket.leaving {
                Leaving::Closing => {
                    drop(socket);
                    report(Event::Closed { id });
                }
                Leaving::Releasing | Leaving::No => {
                    report(Event::Released { id, socket: socket.fd });
                }
            }
        }
        Ok(())
    }
}

/// A failed submission shows itself again at the next turn, which returns it.
fn asked(result: io::Result<()>) {
    if let Err(error) = result {
        tracing::warn!(%error, "io_uring takes no operations");
    }
}
