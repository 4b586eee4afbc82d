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
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use aqueduct_core::{Meta, Next, Ring, waiters::Waiters};
    ///
    /// let (ring, waiters) = (Ring::<256>::new(), Waiters::<1>::new());
    /// let (mut producer, [mut reader]) = ring.split().expect("nobody has split it");
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| {
    ///         for number in 0..100_u32 {
    ///             waiters.wait_for_space(&mut producer, 4)?;
    ///             waiters.wake(producer.push(Meta::default(), &number.to_le_bytes())?.1);
    ///         }
    ///         waiters.wake(producer.close());
    ///         Ok::<(), aqueduct_core::ClaimError>(())
    ///     });
    ///     let (mut buf, mut records) = ([0; 4], 0);
    ///     while let Next::Record(_) = waiters.recv(0, &mut reader, &mut buf)? {
    ///         records += 1;
    ///         waiters.released(reader.release());
    ///     }
    ///     assert_eq!(records, 100);
    ///     let soon = Duration::from_millis(1); // returns `Empty` after that, were it not closed
    ///     assert_eq!(waiters.recv_timeout(0, &mut reader, &mut buf, soon)?, Next::Closed);
    ///     Ok::<(), aqueduct_core::ReadError>(())
    /// })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
