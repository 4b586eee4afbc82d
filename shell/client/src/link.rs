//! The control socket, and the one descriptor that a program sleeps on.
//!
//! An epoll set holds the socket and the interrupter, so that the program has the same descriptor
//! through all reconnections. Knows packets' sizes and nothing of their content.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use aqueduct_core::handshake::SPACE;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags};

use crate::error::OpenError;
use crate::interrupt::Interrupter;

/// Every sleep has a timeout, so that a wake-up that is lost, by any party's fault, costs no more.
pub(crate) const SLEEP_SLICE: Duration = Duration::from_millis(500);
/// Packets taken from the socket at a time: a listener that never stops sending does not keep the
/// reader here.
const PACKETS_PER_DRAIN: u32 = 256;

/// The connection to a listener, or to none at present.
pub(crate) struct Link {
    /// INVARIANT: holds the interrupter and, if there are any, the socket and the timer.
    set: OwnedFd,
    interrupter: Interrupter,
    socket: Option<OwnedFd>,
    /// Ends a sleep that the program does not bound itself.
    timer: Option<OwnedFd>,
    /// The timer was set and not looked at since.
    timer_is_set: bool,
    /// The process that opened it: only that one ends the connection.
    owner: u32,
}

impl Link {
    pub(crate) fn new(interrupter: Interrupter) -> Result<Self, OpenError> {
        let set =
            epoll::create(CreateFlags::CLOEXEC).map_err(OpenError::system("epoll_create1"))?;
        let owner = std::process::id();
        let link = Self { set, interrupter, socket: None, timer: None, timer_is_set: false, owner };
        link.watch(link.interrupter.as_fd(), EventFlags::IN)?;
        Ok(link)
    }

    /// Takes a connected socket in the place of the one before.
    pub(crate) fn adopt(&mut self, socket: OwnedFd) -> Result<(), OpenError> {
        self.disconnect();
        let socket = self.socket.insert(socket);
        let flags = EventFlags::IN | EventFlags::RDHUP;
        watch(&self.set, socket.as_fd(), flags)
    }

    fn watch(&self, fd: BorrowedFd<'_>, flags: EventFlags) -> Result<(), OpenError> {
        watch(&self.set, fd, flags)
    }

    pub(crate) fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().map(AsFd::as_fd)
    }

    pub(crate) const fn interrupter(&self) -> &Interrupter {
        &self.interrupter
    }

    /// Ends the connection, if there is one.
    pub(crate) fn disconnect(&mut self) {
        let Some(socket) = self.socket.take() else { return };
        if std::process::id() == self.owner {
            // Said aloud, because a forked child may hold a copy of the descriptor, which would
            // keep the connection and the place in the set. Both calls fail only if it is over.
            let _ = epoll::delete(&self.set, &socket);
            let _ = rustix::net::shutdown(&socket, Shutdown::Both);
        }
    }

    /// Takes what lies in the socket, whatever it says: a wake-up needs no reading, and later
    /// minors may add other packets. True: the connection has ended.
    pub(crate) fn drain(&mut self) -> bool {
        for _ in 0..PACKETS_PER_DRAIN {
            let Some(socket) = &self.socket else { break };
            match rustix::net::recv(socket, &mut [0_u8; 16], RecvFlags::DONTWAIT) {
                Err(Errno::AGAIN) => break,
                Ok((_, 1..)) | Err(Errno::INTR) => {}
                Ok(_) | Err(_) => {
                    // Out of the set, where it would be readable for ever.
                    self.disconnect();
                    return true;
                }
            }
        }
        false
    }

    /// Tells the producer that there is space.
    pub(crate) fn send_space(&self) {
        if let Some(socket) = &self.socket {
            // A packet that does not fit is as good as sent: the listener has unread ones and will
            // look. One that meets a closed socket is noticed when the socket is read.
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            let _ = rustix::net::send(socket, &[SPACE], flags);
        }
    }

    /// Makes the descriptor readable when this time is over.
    pub(crate) fn set_timer(&mut self, time: Duration) -> Result<(), Errno> {
        if self.timer.is_none() {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)?;
            epoll::add(&self.set, &timer, EventData::new_u64(0), EventFlags::IN)?;
            self.timer = Some(timer);
        }
        let timer = self.timer.as_ref().ok_or(Errno::BADF)?;
        set_timer(timer, time)?;
        self.timer_is_set = true;
        Ok(())
    }

    /// Ends the timer's time. True: it was over already.
    pub(crate) fn take_timer(&mut self) -> bool {
        let (true, Some(timer)) = (self.timer_is_set, &self.timer) else { return false };
        self.timer_is_set = false;
        let is_over = rustix::io::read(timer, &mut [0; 8]) == Ok(8);
        // Zero stops it; it can fail for a bad descriptor or time only.
        is_over || set_timer(timer, Duration::ZERO).is_err()
    }

    /// Sleeps until something is to be looked at. False: the time is over.
    pub(crate) fn sleep(&self, time: Duration) -> Result<bool, Errno> {
        poll(&mut [PollFd::new(&self.set, PollFlags::IN)], time)
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.set.as_fd()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.disconnect();
    }
}

fn set_timer(timer: &OwnedFd, time: Duration) -> Result<(), Errno> {
    let value = Timespec::try_from(time).map_err(|_| Errno::INVAL)?;
    let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
    rustix::time::timerfd_settime(timer, TimerfdTimerFlags::empty(), &once).map(|_| ())
}

fn watch(set: &OwnedFd, fd: BorrowedFd<'_>, flags: EventFlags) -> Result<(), OpenError> {
    epoll::add(set, fd, EventData::new_u64(0), flags).map_err(OpenError::system("epoll_ctl"))
}

/// Whether any of these is ready within the time.
pub(crate) fn poll(on: &mut [PollFd<'_>], time: Duration) -> Result<bool, Errno> {
    let time = Timespec::try_from(time).map_err(|_| Errno::INVAL)?;
    Ok(rustix::event::poll(on, Some(&time))? > 0)
}

/// When to give up; `None`: never.
#[derive(Clone, Copy)]
pub(crate) struct Deadline(Option<Instant>);

impl Deadline {
    /// In the past: do what can be done without waiting.
    pub(crate) fn now() -> Self {
        Self(Some(Instant::now()))
    }

    /// A time from now; one that no clock can count to is never.
    pub(crate) fn after(time: Duration) -> Self {
        Self(Instant::now().checked_add(time))
    }

    pub(crate) const fn never() -> Self {
        Self(None)
    }

    pub(crate) fn is_over(self) -> bool {
        self.0.is_some_and(|at| Instant::now() >= at)
    }

    /// What is left, at most `slice`.
    pub(crate) fn left(self, slice: Duration) -> Duration {
        self.0.map_or(slice, |at| slice.min(at.saturating_duration_since(Instant::now())))
    }

    /// The earlier of both.
    pub(crate) fn or(self, other: Self) -> Self {
        Self(match (self.0, other.0) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        })
    }
}
