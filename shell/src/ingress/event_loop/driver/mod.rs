//! The system's side of an event loop: sockets in, events out, bytes back.
//!
//! Two drivers stand behind one small trait. [`Epoll`] runs everywhere; [`Uring`] saves most system
//! calls where the kernel and the container allow it. Neither knows a protocol.

mod buffers;
mod epoll;
mod pending;
mod select;
#[cfg(test)]
mod tests;
mod uring;
mod waker;

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;

pub use buffers::Buffers;
pub use epoll::Epoll;
pub use select::{Choice, Kind, select};
pub use uring::Uring;
pub use waker::Waker;

/// Number of a connection within one driver, chosen by the loop. It is free again once
/// [`Event::Closed`] or [`Event::Released`] names it.
pub type Id = u32;

/// Number of a listening socket within one driver.
pub type Listener = u32;

/// What happened to one socket.
#[derive(Debug)]
pub enum Event<'a> {
    /// A client connected. The socket belongs to no driver yet.
    Accepted {
        /// Where it came in.
        listener: Listener,
        /// The connection.
        socket: OwnedFd,
    },
    /// No client could be accepted; accepting pauses until [`Driver::accept_again`].
    AcceptFailed {
        /// Where.
        listener: Listener,
        /// Mostly a lack of descriptors.
        errno: Errno,
    },
    /// Bytes arrived. They are lent for the call, to be read or rewritten.
    Received {
        /// Which connection.
        id: Id,
        /// At least one.
        bytes: &'a mut [u8],
    },
    /// The peer has shut down its sending side; nothing more is received.
    Ended {
        /// Which connection.
        id: Id,
    },
    /// The kernel has taken everything that was to be sent.
    Drained {
        /// Which connection.
        id: Id,
    },
    /// The connection is broken. The loop answers with [`Driver::close`].
    Failed {
        /// Which connection.
        id: Id,
        /// What the system said.
        errno: Errno,
    },
    /// The connection is closed and its number free.
    Closed {
        /// Which connection.
        id: Id,
    },
    /// The driver has let go of the connection and its number is free.
    Released {
        /// Which connection.
        id: Id,
        /// Its socket.
        socket: OwnedFd,
    },
    /// Another thread called [`Waker::wake`].
    Woken,
}

/// What an event loop asks of the system. Between two turns any method may be called for any
/// connection that is not closed.
pub trait Driver {
    /// Accepts from a listening socket from now on.
    fn listen(&mut self, socket: OwnedFd) -> io::Result<Listener>;

    /// Accepts again after [`Event::AcceptFailed`].
    fn accept_again(&mut self, listener: Listener);

    /// Closes all listening sockets. Clients that were not accepted yet are reset.
    fn stop_listening(&mut self);

    /// Serves a connection under this number, which is free.
    fn add(&mut self, id: Id, socket: OwnedFd) -> io::Result<()>;

    /// Stops reading: what the peer sends stays in the kernel. Bytes that had already been received
    /// may still be reported. A broken connection still is.
    fn pause(&mut self, id: Id);

    /// Reads again.
    fn resume(&mut self, id: Id);

    /// Sends bytes after those sent before; the buffer then goes to the [`Buffers`] the driver was
    /// made with. What the kernel does not take waits; [`Event::Drained`] tells its end.
    fn send(&mut self, id: Id, bytes: Vec<u8>);

    /// Returns how many bytes the kernel has not taken yet.
    fn unsent(&self, id: Id) -> usize;

    /// Shuts down the sending side once everything is sent.
    fn finish(&mut self, id: Id);

    /// Closes at once, sent or not. [`Event::Closed`] follows; nothing else does.
    fn close(&mut self, id: Id);

    /// Gives the socket back. Bytes that had already been received are still reported; then
    /// [`Event::Released`] follows. Nothing may be unsent.
    fn release(&mut self, id: Id);

    /// Waits for events, at most this long, and reports what there is. Reads a bounded amount from
    /// each connection, so that none keeps the others waiting.
    fn turn(&mut self, wait: Option<Duration>, report: impl FnMut(Event<'_>)) -> io::Result<()>;
}
