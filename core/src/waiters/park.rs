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
#[cfg(any(target_has_atomic = "32", feature = "portable-atomic"))]
use crate::shared::{Backend, SharedProducer};

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

    /// Parks this thread until readers have left room for a record of `payload_bytes` in a ring
    /// that many produce into: [`space_in_shared`](Self::space_in_shared) for a thread. One thread
    /// at a time, so several take a lock around it; and another may be quicker to claim the room.
    /// While another thread publishes, it looks again and again instead of parking.
    ///
    /// # Errors
    /// As [`Producer::want_space`](crate::Producer::want_space).
    ///
    /// ```
    /// use std::sync::Mutex;
    ///
    /// use aqueduct_core::{ClaimError, Meta, Next, Ring, waiters::Waiters};
    ///
    /// let (ring, waiters, waiting) = (Ring::<256>::new(), Waiters::<1>::new(), Mutex::new(()));
    /// let (shared, [mut reader]) = ring.split_shared::<8>().expect("nobody has split it");
    /// let push = |payload: &[u8]| loop {
    ///     match shared.push(Meta::default(), payload) {
    ///         Ok(commit) => break Ok(waiters.wake(commit.wake)),
    ///         Err(ClaimError::Full { .. }) => {
    ///             let _one = waiting.lock();
    ///             waiters.wait_for_space_in_shared(&shared, payload.len())?;
    ///         }
    ///         Err(ClaimError::Busy { .. }) => std::thread::yield_now(),
    ///         Err(error) => break Err(error),
    ///     }
    /// };
    /// std::thread::scope(|scope| {
    ///     for thread in 0..3_u8 {
    ///         let push = &push;
    ///         scope.spawn(move || (0..20).try_for_each(|_| push(&[thread])));
    ///     }
    ///     let mut of = [0; 3];
    ///     for _ in 0..60 {
    ///         let mut buf = [0];
    ///         let next = waiters.recv(0, &mut reader, &mut buf)?;
    ///         assert!(matches!(next, Next::Record(_)));
    ///         of[usize::from(buf[0])] += 1;
    ///         waiters.released(reader.release());
    ///     }
    ///     assert_eq!(of, [20; 3]);
    ///     Ok::<(), aqueduct_core::ReadError>(())
    /// })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(any(target_has_atomic = "32", feature = "portable-atomic"))]
    pub fn wait_for_space_in_shared<M, C, B, const CLAIMS: usize, const LIMIT: usize>(
        &self,
        shared: &SharedProducer<M, C, B, CLAIMS, LIMIT>,
        payload_bytes: usize,
    ) -> Result<(), ClaimError>
    where
        M: MemoryMut + Clone,
        C: MemoryMut,
        B: Backend,
    {
        block_on(self.space_in_shared(shared, payload_bytes), None).unwrap_or(Ok(()))
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
