//! Waiting in threads: the same, with a thread that parks in place of a task.

extern crate std;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use super::{Waiters, WakerCell};
use crate::memory::{Memory, MemoryMut};
use crate::producer::ClaimError;
use crate::read::{Next, ReadError, Reader};
use crate::ring::RingProducer;

/// Unparks its thread.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

std::thread_local! {
    static UNPARK: Waker = Waker::from(Arc::new(Unpark(thread::current())));
}

impl<const READERS: usize, W: WakerCell> Waiters<READERS, W> {
    /// Parks this thread until there is a record or the end of the stream: [`next`](Self::next) for
    /// a thread.
    ///
    /// # Errors
    /// As [`Reader::next`].
    pub fn recv<R: Memory, C: MemoryMut>(
        &self,
        index: usize,
        reader: &mut Reader<R, C>,
        buf: &mut [u8],
    ) -> Result<Next, ReadError> {
        self.park_until(index, reader, buf, None)
    }

    /// Parks this thread as [`recv`](Self::recv) does, but not longer than `timeout`:
    /// [`Next::Empty`] then.
    ///
    /// # Errors
    /// As [`Reader::next`].
    pub fn recv_timeout<R: Memory, C: MemoryMut>(
        &self,
        index: usize,
        reader: &mut Reader<R, C>,
        buf: &mut [u8],
        timeout: Duration,
    ) -> Result<Next, ReadError> {
        self.park_until(index, reader, buf, Instant::now().checked_add(timeout))
    }

    fn park_until<R: Memory, C: MemoryMut>(
        &self,
        index: usize,
        reader: &mut Reader<R, C>,
        buf: &mut [u8],
        deadline: Option<Instant>,
    ) -> Result<Next, ReadError> {
        if let Some(next) = block_on(self.next(index, reader, buf), deadline) {
            return next;
        }
        reader.finish_sleep(true)?;
        Ok(Next::Empty)
    }

    /// Parks this thread until there is room for a record of `payload_bytes`:
    /// [`space_in_ring`](Self::space_in_ring) for a thread.
    ///
    /// # Errors
    /// As [`Producer::want_space`](crate::Producer::want_space).
    pub fn wait_for_space<const LIMIT: usize>(
        &self,
        producer: &mut RingProducer<'_, LIMIT>,
        payload_bytes: usize,
    ) -> Result<(), ClaimError> {
        block_on(self.space_in_ring(producer, payload_bytes), None).unwrap_or(Ok(()))
    }
}

/// Polls on this thread, which parks in between; `None`: the deadline has passed.
fn block_on<T>(future: impl Future<Output = T>, deadline: Option<Instant>) -> Option<T> {
    let mut future = pin!(future);
    UNPARK.with(|waker| {
        let mut context = Context::from_waker(waker);
        loop {
            if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
                return Some(value);
            }
            let Some(deadline) = deadline else {
                thread::park();
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            thread::park_timeout(left);
        }
    })
}
