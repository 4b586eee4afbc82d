//! The only `unsafe` of the event loops: an `io_uring` and its provided buffers as safe calls.
//!
//! Owns everything the kernel may touch while an operation is under way: the receive buffers, which
//! the kernel chooses from, and each buffer that is being sent. What is on its way when the queue
//! is dropped is cancelled and waited for; if even that fails, its memory is never freed.
#![allow(unsafe_code)]

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::Ordering;
use std::time::Duration;

use io_uring::types::{BufRingEntry, CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};

/// Operations handed over with one system call.
const SUBMISSIONS: u32 = 1024;
/// Results between two turns; what is more waits in the kernel.
const COMPLETIONS: u32 = 8192;
/// Receive buffers, a power of two.
const BUFFERS: u16 = 512;
/// Size of a receive buffer, bytes.
const BUFFER_BYTES: usize = 8 << 10;
/// Size of a line of a processor's cache, bytes.
const LINE_BYTES: usize = 64;
/// From one buffer to the next, bytes: an odd number of lines. The kernel takes all buffers in turn
/// and mostly fills only their first lines. A power of two apart, these would all be in the same
/// few sets of the caches, and each would be gone from there when its turn comes again.
const STRIDE_BYTES: usize = BUFFER_BYTES + 7 * LINE_BYTES;
/// The one group of receive buffers.
const GROUP: u16 = 0;
/// How long a dropped queue waits for what is on its way.
const LAST_WAIT: Duration = Duration::from_secs(1);

const _: () = assert!(
    STRIDE_BYTES >= BUFFER_BYTES
        && (STRIDE_BYTES / LINE_BYTES) % 2 == 1
        && STRIDE_BYTES.is_multiple_of(LINE_BYTES)
);

/// Operations, told apart in the upper half of the kernel's 64 bits of user data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Operation {
    Accept = 1,
    Receive = 2,
    Send = 3,
    Poll = 4,
    Cancel = 5,
}

/// An operation of one socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) operation: Operation,
    /// Socket or listener it was asked for.
    pub(super) number: u32,
}

/// A receive buffer that the kernel has filled and handed over.
#[derive(Debug)]
pub(super) struct Filled {
    /// INVARIANT: below `BUFFERS`, and not in the buffer ring: this value owns the buffer.
    index: u16,
    /// INVARIANT: at most `BUFFER_BYTES`.
    bytes: usize,
}

/// What became of an operation.
#[derive(Debug)]
pub(super) enum Outcome {
    Accepted(Result<OwnedFd, Errno>),
    /// `None`: the end of the stream.
    Received(Result<Option<Filled>, Errno>),
    /// The buffer, and how far it is sent.
    Sent(Vec<u8>, Result<usize, Errno>),
    /// Poll flags.
    Polled(Result<u32, Errno>),
    Cancelled,
}

/// A result.
#[derive(Debug)]
pub(super) struct Completion {
    pub(super) token: Token,
    pub(super) outcome: Outcome,
    /// The operation goes on.
    pub(super) more: bool,
}

/// Memory from the system, zeroed and page-aligned; unmapped when dropped.
struct Pages {
    start: NonNull<u8>,
    bytes: usize,
}

/// An `io_uring` with its buffers.
pub(super) struct Queue {
    /// Dropped by hand, before the memory that the kernel uses.
    ring: ManuallyDrop<IoUring>,
    /// `BUFFERS` entries of `BufRingEntry`, through which the kernel is given buffers.
    entries: ManuallyDrop<Pages>,
    /// `BUFFERS` times `STRIDE_BYTES`.
    memory: ManuallyDrop<Pages>,
    /// Our copy of the buffer ring's tail.
    tail: u16,
    /// What is being sent, by socket.
    ///
    /// INVARIANT: a buffer whose send is under way is here, and neither moved nor changed.
    sending: ManuallyDrop<Vec<Option<Sending>>>,
    /// Operations whose last completion has not been seen.
    under_way: usize,
}

struct Sending {
    bytes: Vec<u8>,
    from: usize,
}

impl Pages {
    fn new(bytes: usize) -> io::Result<Self> {
        // SAFETY: a new anonymous mapping, placed by the kernel; it aliases nothing.
        let start = unsafe {
            rustix::mm::mmap_anonymous(
                std::ptr::null_mut(),
                bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
        }?;
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, bytes })
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: `new` mapped exactly this, and nothing borrows from it any more: `Queue` hands
        // out only borrows of itself, and drops this after the kernel is done with it.
        let unmapped = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.bytes) };
        debug_assert!(unmapped.is_ok(), "{unmapped:?}");
    }
}

// SAFETY: `Pages` owns its mapping, which is bound to no thread.
unsafe impl Send for Pages {}

impl Queue {
    /// Makes a queue for the calling thread, the only one that may use it.
    pub(super) fn new() -> io::Result<Self> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_coop_taskrun()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_cqsize(COMPLETIONS)
            .build(SUBMISSIONS)?;
        let entries = Pages::new(usize::from(BUFFERS) * size_of::<BufRingEntry>())?;
        let memory = Pages::new(usize::from(BUFFERS) * STRIDE_BYTES)?;
        let address = entries.start.as_ptr() as u64;
        // SAFETY: `entries` is page-aligned, holds `BUFFERS` entries and outlives the ring: `drop`
        // frees it after the ring, or never.
        unsafe { ring.submitter().register_buf_ring_with_flags(address, BUFFERS, GROUP, 0) }?;
        let mut queue = Self {
            ring: ManuallyDrop::new(ring),
            entries: ManuallyDrop::new(entries),
            memory: ManuallyDrop::new(memory),
            tail: 0,
            sending: ManuallyDrop::new(Vec::new()),
            under_way: 0,
        };
        // Not everywhere; without it each system call looks the descriptor up.
        let _ = queue.ring.submitter().register_ring_fd();
        for index in 0..BUFFERS {
            queue.recycle(Filled { index, bytes: 0 });
        }
        Ok(queue)
    }

    /// Accepts one connection from a listening socket. Not until cancelled: that would take every
    /// descriptor that is left before the loop can refuse one.
    pub(super) fn accept(&mut self, listener: BorrowedFd<'_>, number: u32) -> io::Result<()> {
        let (fd, nowhere) = (Fd(listener.as_raw_fd()), std::ptr::null_mut());
        let accept =
            opcode::Accept::new(fd, nowhere, nowhere.cast()).flags(libc::SOCK_CLOEXEC).build();
        self.push(accept, Token { operation: Operation::Accept, number })
    }

    /// Receives from a socket until cancelled, its end, or a lack of buffers.
    pub(super) fn receive(&mut self, socket: BorrowedFd<'_>, number: u32) -> io::Result<()> {
        let receive = opcode::RecvMulti::new(Fd(socket.as_raw_fd()), GROUP).build();
        self.push(receive, Token { operation: Operation::Receive, number })
    }

    /// Sends what is in the buffer from `from` on. One send per socket at a time.
    pub(super) fn send(
        &mut self,
        socket: BorrowedFd<'_>,
        number: u32,
        bytes: Vec<u8>,
        from: usize,
    ) -> io::Result<()> {
        let slot = number as usize;
        if self.sending.len() <= slot {
            self.sending.resize_with(slot + 1, || None);
        }
        assert!(self.sending[slot].is_none(), "two sends of connection {number} at once");
        let rest = &bytes[from..];
        let length = u32::try_from(rest.len()).unwrap_or(u32::MAX);
        let send = opcode::Send::new(Fd(socket.as_raw_fd()), rest.as_ptr(), length)
            .flags(libc::MSG_NOSIGNAL)
            .build();
        // Moving a `Vec` moves its three words and not what the kernel reads.
        self.sending[slot] = Some(Sending { bytes, from });
        self.push(send, Token { operation: Operation::Send, number })
    }

    /// Waits for poll flags beside errors and hang-ups, which are always waited for.
    pub(super) fn poll(
        &mut self,
        fd: BorrowedFd<'_>,
        number: u32,
        flags: u32,
        multi: bool,
    ) -> io::Result<()> {
        let poll = opcode::PollAdd::new(Fd(fd.as_raw_fd()), flags).multi(multi).build();
        self.push(poll, Token { operation: Operation::Poll, number })
    }

    /// Ends an operation; its last completion says so.
    pub(super) fn cancel(&mut self, token: Token) -> io::Result<()> {
        let cancel = opcode::AsyncCancel::new(token.pack()).build();
        self.push(cancel, Token { operation: Operation::Cancel, number: token.number })
    }

    fn push(&mut self, entry: squeue::Entry, token: Token) -> io::Result<()> {
        let entry = entry.user_data(token.pack());
        loop {
            // SAFETY: what the operation points to lives until its last completion: accepts, polls
            // and cancels point to nothing, receives to the registered buffers, and a send to a
            // buffer in `sending`. All are kept by `self` until then, see `drop`.
            if unsafe { self.ring.submission().push(&entry) }.is_ok() {
                self.under_way += 1;
                return Ok(());
            }
            self.ring.submit()?;
        }
    }

    /// Hands over what was asked for and waits for at least one completion.
    pub(super) fn wait(&mut self, wait: Option<Duration>) -> io::Result<()> {
        let result = match wait {
            // Waits for at least 1, or deferred work is not run.
            None => self.ring.submit_and_wait(1),
            // Runs deferred work where the kernel's flag says that there is some.
            Some(Duration::ZERO) => self.poll_now(),
            Some(wait) => {
                let timespec = Timespec::from(wait);
                self.ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&timespec))
            }
        };
        match result {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                // Time is up, a signal came, or completions are to be taken first.
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
                _ => Err(error),
            },
        }
    }

    /// Hands over what was asked for without a wait: no system call where that is nothing and no
    /// work is deferred.
    fn poll_now(&mut self) -> io::Result<usize> {
        let submission = self.ring.submission();
        if submission.is_empty() && !submission.taskrun() && !submission.cq_overflow() {
            return Ok(0);
        }
        drop(submission);
        self.ring.submit()
    }

    /// Takes the next completion, if there is one.
    pub(super) fn next(&mut self) -> Option<Completion> {
        let entry = self.ring.completion().next()?;
        let more = cqueue::more(entry.flags());
        if !more {
            self.under_way -= 1;
        }
        let token = Token::unpack(entry.user_data());
        let result = match entry.result() {
            error @ ..0 => Err(Errno::from_raw_os_error(-error)),
            count => Ok(count.unsigned_abs()),
        };
        let outcome = match token.operation {
            Operation::Accept => Outcome::Accepted(result.map(|fd| {
                // SAFETY: a result of accept is a descriptor that was just made, for us to own.
                unsafe { OwnedFd::from_raw_fd(fd.cast_signed()) }
            })),
            Operation::Receive => Outcome::Received(result.map(|count| {
                let index = cqueue::buffer_select(entry.flags())?;
                let filled = Filled { index, bytes: count as usize };
                if count == 0 {
                    self.recycle(filled);
                    return None;
                }
                Some(filled)
            })),
            Operation::Send => {
                let sending = self.sending[token.number as usize].take();
                let Sending { bytes, from } =
                    sending.unwrap_or(Sending { bytes: Vec::new(), from: 0 });
                Outcome::Sent(bytes, result.map(|count| from + count as usize))
            }
            Operation::Poll => Outcome::Polled(result),
            Operation::Cancel => Outcome::Cancelled,
        };
        Some(Completion { token, outcome, more })
    }

    /// What was received.
    pub(super) fn bytes<'a>(&'a mut self, filled: &'a mut Filled) -> &'a mut [u8] {
        let at = usize::from(filled.index) * STRIDE_BYTES;
        assert!(filled.index < BUFFERS && filled.bytes <= BUFFER_BYTES, "{filled:?}");
        let start = self.memory.start.as_ptr().wrapping_add(at);
        // SAFETY: 1. in bounds of `memory` by the assertion, for a stride is no less than a buffer;
        // 2. initialised: mapped as zeros, then written by the kernel; 3. nobody else has it:
        // `filled` owns the buffer, so the kernel has it back only through `recycle`, which takes
        // the value that is borrowed here.
        unsafe { std::slice::from_raw_parts_mut(start, filled.bytes) }
    }

    /// Gives a receive buffer back to the kernel.
    pub(super) fn recycle(&mut self, Filled { index, .. }: Filled) {
        #[allow(clippy::cast_ptr_alignment, reason = "the start of a page")]
        let base = self.entries.start.as_ptr().cast::<BufRingEntry>();
        let slot = usize::from(self.tail & (BUFFERS - 1));
        // SAFETY: `slot` is below `BUFFERS`, and the entry at the tail is ours until the tail is
        // stored: there are as many entries as buffers, and `filled` owns one that is in none.
        let entry = unsafe { &mut *base.wrapping_add(slot) };
        let at = usize::from(index) * STRIDE_BYTES;
        entry.set_addr(self.memory.start.as_ptr().wrapping_add(at) as u64);
        entry.set_len(u32::try_from(BUFFER_BYTES).unwrap_or(u32::MAX));
        entry.set_bid(index);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: `base` is the start of a buffer ring.
        let tail = unsafe { BufRingEntry::tail(base) };
        // SAFETY: 1. aligned and in `entries`, as the kernel laid it out; 2. written by this thread
        // only, read by the kernel; every access here is atomic.
        #[allow(clippy::disallowed_types, reason = "shared with the kernel, not with a reader")]
        let tail = unsafe { std::sync::atomic::AtomicU16::from_ptr(tail.cast_mut()) };
        // ORDER(provided buffers): Release. The kernel loads the tail with acquire and then sees
        // the entry.
        tail.store(self.tail, Ordering::Release);
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let until = std::time::Instant::now() + LAST_WAIT;
        let _ = self.ring.submit();
        let timeout = Timespec::from(LAST_WAIT);
        let _ = self.ring.submitter().register_sync_cancel(Some(timeout), CancelBuilder::any());
        while self.under_way > 0 && std::time::Instant::now() < until {
            if self.wait(Some(Duration::from_millis(10))).is_err() {
                break;
            }
            while let Some(completion) = self.next() {
                if let Outcome::Received(Ok(Some(filled))) = completion.outcome {
                    self.recycle(filled);
                }
            }
        }
        let quiet = self.under_way == 0;
        // SAFETY: dropped here and nowhere else; `self` is not used by anyone after `drop`.
        unsafe { ManuallyDrop::drop(&mut self.ring) };
        if !quiet {
            // The kernel may yet use the memory: leak it.
            return;
        }
        // SAFETY: as above, and no operation is left that could use it.
        unsafe { ManuallyDrop::drop(&mut self.entries) };
        // SAFETY: as above.
        unsafe { ManuallyDrop::drop(&mut self.memory) };
        // SAFETY: as above.
        unsafe { ManuallyDrop::drop(&mut self.sending) };
    }
}

impl Token {
    fn pack(self) -> u64 {
        u64::from(self.operation as u32) << 32 | u64::from(self.number)
    }

    fn unpack(data: u64) -> Self {
        let operation = match data >> 32 {
            1 => Operation::Accept,
            2 => Operation::Receive,
            3 => Operation::Send,
            4 => Operation::Poll,
            _ => Operation::Cancel,
        };
        Self { operation, number: u32::try_from(data & u64::from(u32::MAX)).unwrap_or(u32::MAX) }
    }
}
