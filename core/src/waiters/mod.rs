//! Awaiting, inside one program: tasks that sleep until there is a record, or space for one.
//!
//! The protocol of sleeping is that of every reader; what is added is a place for each waker. The
//! core wakes nobody by itself here either: who publishes or releases hands the answer to
//! [`Waiters::wake`] or [`Waiters::released`].

#[cfg(feature = "std")]
mod park;

use core::fmt;
use core::future::{Future, poll_fn};
use core::task::{Context, Poll, Waker};

use atomic_waker::AtomicWaker;

use crate::memory::{Memory, MemoryMut};
use crate::producer::{ClaimError, Producer, Wake};
use crate::read::{Next, ReadError, Reader, Sleep, WaitMode};
#[cfg(any(target_has_atomic = "32", feature = "portable-atomic"))]
use crate::shared::{Backend, SharedProducer};

/// How often one poll looks for a record that is announced and not there yet, before it lets other
/// tasks run.
const LOOKS: u32 = 8;

/// A place for the waker of one task.
///
/// A `wake` that happens after a `register` wakes what was registered. One that is under way at the
/// same time may do so or not, as [`atomic_waker::AtomicWaker`] has it; that of `embassy-sync` fits
/// too, and so does anything under a critical section.
///
/// ```
/// use std::sync::Mutex;
/// use std::task::Waker;
///
/// use aqueduct_core::waiters::{WakerCell, Waiters};
///
/// /// Where the ecosystem's cells do not fit: a lock of the platform.
/// struct Locked(Mutex<Option<Waker>>);
///
/// impl WakerCell for Locked {
///     fn register(&self, waker: &Waker) {
///         *self.0.lock().unwrap() = Some(waker.clone());
///     }
///
///     fn wake(&self) {
///         let waker = self.0.lock().unwrap().take();
///         if let Some(waker) = waker {
///             waker.wake();
///         }
///     }
/// }
///
/// static WAITERS: Waiters<1, Locked> =
///     Waiters::with([Locked(Mutex::new(None))], Locked(Mutex::new(None)));
/// WAITERS.released(true);
/// ```
pub trait WakerCell {
    /// Keeps the waker, instead of an earlier one.
    fn register(&self, waker: &Waker);
    /// Wakes what was registered last, once.
    fn wake(&self);
}

impl WakerCell for AtomicWaker {
    fn register(&self, waker: &Waker) {
        self.register(waker);
    }

    fn wake(&self) {
        self.wake();
    }
}

/// Places for the wakers of `READERS` readers, by the index of their subscriptions, and of a
/// producer that waits for space. One task at a time waits in each.
///
/// ```
/// use aqueduct_core::{Meta, Next, Ring, waiters::Waiters};
/// # use std::{future::Future, pin::pin, task::{Context, Poll, Waker}};
///
/// static RING: Ring<1024> = Ring::new();
/// static WAITERS: Waiters = Waiters::new();
///
/// let (mut producer, [mut reader]) = RING.split().expect("nobody has split it");
/// let mut buf = [0; 32];
/// # let mut context = Context::from_waker(Waker::noop());
/// {
///     let mut next = pin!(WAITERS.next(0, &mut reader, &mut buf)); // or `.await` it in a task
///     assert!(next.as_mut().poll(&mut context).is_pending());
///     let (_, wake) = producer.push(Meta::default(), b"here")?;
///     assert_eq!(wake.sockets, 1);
///     WAITERS.wake(wake);
///     assert!(matches!(next.poll(&mut context), Poll::Ready(Ok(Next::Record(_)))));
/// }
/// WAITERS.released(reader.release());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Waiters<const READERS: usize = 1, W = AtomicWaker> {
    readers: [W; READERS],
    space: W,
}

impl<const READERS: usize> Waiters<READERS> {
    /// Creates places that nobody waits in.
    #[must_use]
    pub const fn new() -> Self {
        Self::with([const { AtomicWaker::new() }; READERS], AtomicWaker::new())
    }
}

impl<const READERS: usize> Default for Waiters<READERS> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const READERS: usize, W> Waiters<READERS, W> {
    /// Creates them of cells of another kind.
    ///
    /// ```
    /// use atomic_waker::AtomicWaker;
    /// use aqueduct_core::waiters::Waiters;
    ///
    /// static WAITERS: Waiters<2> =
    ///     Waiters::with([const { AtomicWaker::new() }; 2], AtomicWaker::new());
    /// ```
    #[must_use]
    pub const fn with(readers: [W; READERS], space: W) -> Self {
        const { assert!(READERS <= 64, "a Wake has 64 bits") };
        Self { readers, space }
    }
}

impl<const READERS: usize, W: WakerCell> Waiters<READERS, W> {
    /// Wakes the readers that a publication named.
    pub fn wake(&self, wake: Wake) {
        for (index, cell) in self.readers.iter().enumerate() {
            if wake.sockets >> index & 1 == 1 {
                cell.wake();
            }
        }
    }

    /// Wakes the producer that waits for space, if [`Reader::release`] said so.
    pub fn released(&self, notify: bool) {
        if notify {
            self.space.wake();
        }
    }

    /// Waits for the next record or the end of the stream, and copies it as [`Reader::next`] does;
    /// [`Next::Empty`] never comes. `index` is that of the reader's subscription. Release what was
    /// read before, because a producer without space publishes nothing.
    ///
    /// May be dropped at any time: no record is lost. Where the producer may be a resumed one, wait
    /// with a timeout of the executor's besides (see [`Producer::close`]).
    ///
    /// # Errors
    /// As [`Reader::next`].
    pub fn next<R: Memory, C: MemoryMut>(
        &self,
        index: usize,
        reader: &mut Reader<R, C>,
        buf: &mut [u8],
    ) -> impl Future<Output = Result<Next, ReadError>> {
        debug_assert!(index < READERS, "nobody wakes a reader that has no place");
        let mut asleep = false;
        poll_fn(move |context| {
            if core::mem::take(&mut asleep) {
                reader.awake();
            }
            let next = self.poll_next(index, reader, buf, context);
            asleep = next.is_pending();
            next
        })
    }

    fn poll_next<R: Memory, C: MemoryMut>(
        &self,
        index: usize,
        reader: &mut Reader<R, C>,
        buf: &mut [u8],
        context: &Context<'_>,
    ) -> Poll<Result<Next, ReadError>> {
        for _ in 0..LOOKS {
            match reader.next(buf) {
                Ok(Next::Empty) => {}
                other => return Poll::Ready(other),
            }
            if let Some(cell) = self.readers.get(index) {
                cell.register(context.waker());
            }
            match reader.prepare_sleep(WaitMode::Socket) {
                Ok(Sleep::Ready) => {}
                Ok(Sleep::Wait { .. }) => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        // A producer that commits nothing but padding, or a broken one, must not keep the executor.
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Waits until there is room for a record of `payload_bytes`; then claim it. Publish what is
    /// committed first. May be dropped at any time.
    ///
    /// # Errors
    /// As [`Producer::want_space`].
    ///
    /// ```
    /// use aqueduct_core::waiters::Waiters;
    /// use aqueduct_core::{ClaimError, Meta, Producer, Region};
    ///
    /// async fn push(producer: &mut Producer<Region<'_>>, waiters: &Waiters) -> Result<u64, ClaimError> {
    ///     loop {
    ///         match producer.push(Meta::default(), b"hello") {
    ///             Ok((seq, wake)) => {
    ///                 waiters.wake(wake);
    ///                 return Ok(seq);
    ///             }
    ///             Err(ClaimError::Full { .. }) => waiters.space(producer, 5).await?,
    ///             Err(error) => return Err(error),
    ///         }
    ///     }
    /// }
    /// ```
    pub fn space<M: MemoryMut, C: MemoryMut, const LIMIT: usize>(
        &self,
        producer: &mut Producer<M, C, LIMIT>,
        payload_bytes: usize,
    ) -> impl Future<Output = Result<(), ClaimError>> {
        self.space_by(move || producer.want_space(payload_bytes))
    }

    /// Waits until there is room for a record of `payload_bytes` in a [`Ring`](crate::Ring).
    ///
    /// # Errors
    /// As [`Producer::want_space`].
    ///
    /// ```
    /// use aqueduct_core::{ClaimError, Meta, Ring, waiters::Waiters};
    /// # use std::{future::Future, pin::pin, task::{Context, Poll, Waker}};
    ///
    /// /// A task that pushes, whenever there is room.
    /// async fn push(ring: &mut aqueduct_core::ring::RingProducer<'_>, waiters: &Waiters) -> Result<(), ClaimError> {
    ///     waiters.space_in_ring(ring, 5).await?;
    ///     let (_, wake) = ring.push(Meta::default(), b"hello")?;
    ///     waiters.wake(wake);
    ///     Ok(())
    /// }
    ///
    /// let (ring, waiters) = (Ring::<1024>::new(), Waiters::new());
    /// let (mut producer, _reader) = ring.split().expect("nobody has split it");
    /// let mut task = pin!(push(&mut producer, &waiters)); // an executor does this
    /// assert_eq!(task.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(Ok(())));
    /// ```
    pub fn space_in_ring<const LIMIT: usize>(
        &self,
        producer: &mut crate::ring::RingProducer<'_, LIMIT>,
        payload_bytes: usize,
    ) -> impl Future<Output = Result<(), ClaimError>> {
        self.space_by(move || producer.want_space(payload_bytes))
    }

    /// Waits until readers have left room for a record of `payload_bytes` in a ring that many
    /// produce into; then claim it. While another party publishes, the task lets others run and
    /// asks again. May be dropped at any time.
    ///
    /// One task at a time: where several wait, keep them apart by a mutex of the executor's. And as
    /// [`SharedProducer::want_space`] has it, a claim may fail afterwards although there was room:
    /// wait again then.
    ///
    /// # Errors
    /// As [`Producer::want_space`].
    ///
    /// ```
    /// use aqueduct_core::{ClaimError, Meta, Ring, waiters::Waiters};
    /// # use std::{future::Future, pin::pin, task::{Context, Poll, Waker}};
    ///
    /// let (ring, waiters) = (Ring::<1024>::new(), Waiters::<1>::new());
    /// let (shared, [_reader]) = ring.split_shared::<8>().expect("nobody has split it");
    /// let task = async {
    ///     waiters.space_in_shared(&shared, 5).await?;
    ///     let commit = shared.push(Meta::default(), b"hello")?;
    ///     waiters.wake(commit.wake);
    ///     Ok::<_, ClaimError>(commit.seq)
    /// };
    /// # let mut context = Context::from_waker(Waker::noop());
    /// assert_eq!(pin!(task).poll(&mut context), Poll::Ready(Ok(Some(0)))); // an executor does this
    /// ```
    #[cfg(any(target_has_atomic = "32", feature = "portable-atomic"))]
    pub fn space_in_shared<M, C, B, const CLAIMS: usize, const LIMIT: usize>(
        &self,
        shared: &SharedProducer<M, C, B, CLAIMS, LIMIT>,
        payload_bytes: usize,
    ) -> impl Future<Output = Result<(), ClaimError>>
    where
        M: MemoryMut + Clone,
        C: MemoryMut,
        B: Backend,
    {
        poll_fn(move |context| {
            self.space.register(context.waker());
            let Ok(outcome) = shared.want_space(payload_bytes) else {
                // The party that publishes is done soon, and tells nobody.
                context.waker().wake_by_ref();
                return Poll::Pending;
            };
            self.wake(outcome.wake);
            match outcome.value {
                Ok(true) => Poll::Ready(Ok(())),
                Ok(false) => Poll::Pending,
                Err(error) => Poll::Ready(Err(error)),
            }
        })
    }

    fn space_by(
        &self,
        mut want_space: impl FnMut() -> Result<bool, ClaimError>,
    ) -> impl Future<Output = Result<(), ClaimError>> {
        poll_fn(move |context| {
            self.space.register(context.waker());
            match want_space() {
                Ok(true) => Poll::Ready(Ok(())),
                Ok(false) => Poll::Pending,
                Err(error) => Poll::Ready(Err(error)),
            }
        })
    }
}

impl<const READERS: usize, W> fmt::Debug for Waiters<READERS, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiters").field("readers", &READERS).finish_non_exhaustive()
    }
}
