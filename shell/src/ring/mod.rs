//! Rings and their one record path: whatever brings records ends in [`Ring::turn`] or
//! [`Ring::publish`].
//!
//! The producer's mutex is held for one turn and never across a wait. A ring knows its readers by
//! a [`Doorbell`] only; sockets and protocols are others' business.

mod attach;
mod consumed;
mod doorbell;
mod durable;
mod error;
mod fed;
mod journaled;
mod kept;
mod look;
mod memory;
mod publish;
mod settings;
mod subscription;
#[cfg(test)]
mod tests;
mod waiters;

use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Waker;
use std::time::Duration;

use aqueduct_core::layout::{DATA_OFFSET_MAPPED, GRANULE_BYTES};
use aqueduct_core::{Memory, Producer, RingConfig, Start, Violation, Wake};
use rustix::rand::GetRandomFlags;
use rustix::time::ClockId;

use crate::metrics::{Eviction, Metrics, RingMetrics};
use crate::segment::{CursorSegment, RingSegment};
use crate::sync::lock;

pub use attach::{AttachError, Attached, Attachment};
pub use doorbell::Doorbell;
pub use durable::Standing;
use durable::{Holding, Progress};
pub use error::RingError;
pub use journaled::JournalLook;
use journaled::Journaled;
use kept::Kept;
pub use kept::Left;
pub use look::{NotEvicted, RingLook, SubscriptionLook};
use memory::RingMemory;
pub use publish::{Label, Published, Turn};
pub use settings::{ClockName, MAX_SUBSCRIPTIONS, RingFlags, RingSettings, RingTable};
use subscription::Subscription;
use waiters::Waiters;
pub use waiters::{Need, Ticket, WAITING_MAX};

#[allow(clippy::disallowed_types, reason = "inside the process, not in shared memory")]
type Number = std::sync::atomic::AtomicU64;

/// One ring with its subscriptions.
pub struct Ring {
    name: String,
    epoch: u64,
    capacity: u32,
    max_payload_bytes: u32,
    /// Milliseconds.
    full_wait: Number,
    clock: ClockName,
    has_attributes: bool,
    /// In the order of the configuration.
    subscription_names: Vec<String>,
    segment: RingSegment,
    inner: Mutex<Inner>,
    /// Locked after `inner` where both are. INVARIANT: grows only while `inner` is locked.
    waiters: Arc<Mutex<Waiters>>,
    /// How far publication has come, where it waits for something.
    progress: Option<Progress>,
    /// Where its records are made safe.
    journal: Option<Journaled>,
    /// How it is kept for a later process.
    kept: Option<Kept>,
    /// Processes in a row, before this one, that ended without a word.
    crashes: u32,
    /// Sequence number that the first record of this process gets.
    first_seq: u64,
    metrics: RingMetrics,
}

type RingProducer = Producer<RingMemory, CursorSegment, MAX_SUBSCRIPTIONS>;

/// What the producer's mutex guards.
struct Inner {
    producer: RingProducer,
    /// In the order of the configuration.
    subscriptions: Vec<Subscription>,
    /// Attachments so far: distinguishes an attachment from the next one of the same subscription.
    attachments: u64,
    closed: bool,
    /// What keeps records back until they are safe.
    holding: Option<Holding>,
    /// Ticket on whose behalf the readers were asked for space, since it last tried.
    asked_for: Option<u64>,
    /// Granules that the last refused record needed; 0 once a record was published after it.
    refused_granules: u32,
}

/// System calls and log lines that are due once the mutex is free.
#[derive(Default)]
struct Deferred {
    doorbells: Vec<Arc<dyn Doorbell>>,
    futex: bool,
    /// Those who wait for space and may try now.
    waiting: Vec<Waker>,
    /// Names of subscriptions whose readers were evicted, and for what.
    evicted: Vec<(String, Violation)>,
}

impl Deferred {
    fn is_empty(&self) -> bool {
        let Self { doorbells, futex, waiting, evicted } = self;
        !futex && doorbells.is_empty() && waiting.is_empty() && evicted.is_empty()
    }

    /// Adds what is due for something else.
    fn add(&mut self, other: Self) {
        let Self { doorbells, futex, waiting, evicted } = other;
        self.futex |= futex;
        self.doorbells.extend(doorbells);
        self.waiting.extend(waiting);
        self.evicted.extend(evicted);
    }
}

/// Wake-ups that are due for what a [`Turn`] has published. Dropping them makes them.
#[must_use = "readers sleep until it is dropped"]
pub struct Wakeups<'a> {
    ring: &'a Ring,
    deferred: Deferred,
}

/// What a look at the cursors of a ring found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingStatus {
    /// Bytes that the slowest subscription has not released.
    pub used_bytes: u64,
    /// Nothing fits, or not even the record that was refused last.
    pub full: bool,
    /// Bytes that the slowest subscription with a reader has not released.
    pub attached_lag_bytes: u64,
}

impl Ring {
    /// Creates the ring, with all its subscriptions. Its records live as long as the process.
    pub fn create(settings: &RingSettings, metrics: &Metrics) -> Result<Self, RingError> {
        let segment = Self::make_segment(settings)?;
        let epoch = random_epoch()?;
        let producer = Self::format(settings, &segment, epoch, 0)?;
        Self::assemble(settings, metrics, segment, producer, epoch, |_| Start::Latest)
    }

    fn make_segment(settings: &RingSettings) -> Result<RingSegment, RingError> {
        let data = usize::try_from(settings.capacity_bytes)
            .map_err(|_| RingError::AddressSpace { bytes: settings.capacity_bytes })?;
        Ok(RingSegment::create(&settings.name, data + DATA_OFFSET_MAPPED as usize)?)
    }

    /// Formats a segment as an empty ring.
    fn format(
        settings: &RingSettings,
        segment: &RingSegment,
        epoch: u64,
        first_position: u32,
    ) -> Result<RingProducer, RingError> {
        let data = usize::try_from(settings.capacity_bytes).unwrap_or(usize::MAX);
        let mut config = RingConfig::new(&settings.name, epoch, data);
        config.max_payload_bytes = Some(settings.max_payload_bytes);
        config.data_offset_bytes = DATA_OFFSET_MAPPED;
        config.created_ns = now_ns(ClockName::Realtime);
        config.clock_id = settings.clock.id();
        config.first_position = first_position;
        Ok(Producer::create(RingMemory::new(segment.region()), &config)?)
    }

    /// Puts a ring together; `start` says where each subscription begins.
    fn assemble(
        settings: &RingSettings,
        metrics: &Metrics,
        segment: RingSegment,
        mut producer: RingProducer,
        epoch: u64,
        start: impl Fn(&str) -> Start,
    ) -> Result<Self, RingError> {
        let mut subscriptions = Vec::with_capacity(settings.subscriptions.len());
        let held = |name: &&String| !settings.lagging.contains(name);
        for name in settings.subscriptions.iter().filter(held) {
            let id = producer.subscribe(start(name))?;
            let metrics = metrics.subscription(&settings.name, name);
            subscriptions.push(Subscription::new(name.clone(), id, metrics));
        }
        let (capacity, first_seq) = (producer.geometry().capacity(), producer.next_seq());
        let inner = Inner {
            producer,
            subscriptions,
            attachments: 0,
            closed: false,
            holding: None,
            asked_for: None,
            refused_granules: 0,
        };
        Ok(Self {
            name: settings.name.clone(),
            epoch,
            capacity,
            max_payload_bytes: settings.max_payload_bytes,
            full_wait: Number::new(written_ms(settings.full_wait)),
            clock: settings.clock,
            has_attributes: settings.has_attributes,
            subscription_names: settings.subscriptions.clone(),
            segment,
            inner: Mutex::new(inner),
            waiters: Arc::default(),
            progress: None,
            journal: None,
            kept: None,
            crashes: 0,
            first_seq,
            metrics: metrics.ring(&settings.name, settings.capacity_bytes),
        })
    }

    /// Returns the sequence number that the first record of this process got or will get.
    pub fn first_seq(&self) -> u64 {
        self.first_seq
    }

    /// Returns whether its records may have attributes.
    pub fn has_attributes(&self) -> bool {
        self.has_attributes
    }

    /// Returns its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the epoch, which with a sequence number identifies a record for ever.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Returns the size of the largest payload, bytes.
    pub fn max_payload_bytes(&self) -> u32 {
        self.max_payload_bytes
    }

    /// Returns the size of the data area, bytes.
    pub fn capacity_bytes(&self) -> u64 {
        bytes(self.capacity)
    }

    /// Returns how long a record is meant to wait for space.
    pub fn full_wait(&self) -> Duration {
        // ORDER(none): a setting; nothing is read because of it.
        Duration::from_millis(self.full_wait.load(Ordering::Relaxed))
    }

    /// Has records wait for this long from now on.
    pub fn set_full_wait(&self, wait: Duration) {
        // ORDER(none): as above.
        self.full_wait.store(written_ms(wait), Ordering::Relaxed);
    }

    /// Returns where the events of this ring are counted.
    pub fn metrics(&self) -> &RingMetrics {
        &self.metrics
    }

    /// Returns the segment's size and descriptor, as readers get them.
    pub fn handout(&self) -> (u64, BorrowedFd<'_>) {
        (self.segment.region().size() as u64, self.segment.handout())
    }

    /// Looks at every cursor as it is now: evicts readers whose cursors are impossible, brings the
    /// metrics of the ring and of its subscriptions up to date, and returns what it found.
    pub fn refresh(&self) -> RingStatus {
        let lag_of_fed = self.feeds().map_or(0, fed::Feeds::refresh);
        let (status, deferred) = {
            let mut inner = self.lock();
            let used = inner.producer.backlog();
            let mut attached_lag = 0;
            for index in 0..inner.subscriptions.len() {
                let status = inner.record(index);
                attached_lag = attached_lag.max(
                    status.filter(|status| status.attached).map_or(0, |status| status.lag_granules),
                );
            }
            if let Some(kept) = &self.kept {
                kept.note(&mut inner);
            }
            if inner.holding.as_ref().is_some_and(|holding| holding.failed) {
                // What no reader will ever see is not waited for.
                let memory = inner.producer.ring();
                let unseen = memory.tail().wrapping_sub(memory.published());
                attached_lag = attached_lag.saturating_sub(unseen);
            }
            // One granule is the core's own.
            let free = (self.capacity - 1).saturating_sub(used);
            let needed = inner.refused_granules.max(1);
            let status = RingStatus {
                used_bytes: bytes(used),
                full: free < needed || self.is_kept_out(&inner, needed),
                attached_lag_bytes: bytes(attached_lag).max(lag_of_fed),
            };
            (status, inner.settle(Wake::NONE))
        };
        self.run(deferred);
        self.metrics.used_bytes.set(i64::try_from(status.used_bytes).unwrap_or(i64::MAX));
        status
    }

    /// Lets the first of those who wait try again, because a reader may have released something.
    pub fn space_released(&self) {
        let first = lock(&self.waiters).first_waker();
        if let Some(first) = first {
            first.wake();
        }
    }

    /// Ends the stream and wakes every sleeper, unless records were appended that may not be
    /// published. Records published before stay readable; whatever
    /// waits for space is refused.
    pub fn close(&self) {
        let deferred = {
            let mut inner = self.lock();
            inner.closed = true;
            // A stream that is not whole ends with the process, not with a mark.
            let is_whole = inner.stop_holding();
            let wake = if is_whole { inner.producer.close() } else { Wake::NONE };
            self.close_feeds(is_whole);
            let mut deferred = inner.settle(wake);
            deferred.waiting.extend(lock(&self.waiters).all_wakers());
            if let Some(kept) = &self.kept {
                kept.note(&mut inner);
                kept.end();
            }
            deferred
        };
        self.run(deferred);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }

    /// Makes the system calls and writes the log lines that were deferred. Nothing is locked.
    fn run(&self, deferred: Deferred) {
        if deferred.futex {
            self.segment.wake_sleepers();
            self.metrics.wakes_futex.inc();
        }
        for doorbell in deferred.doorbells {
            if doorbell.ring() {
                self.metrics.wakes_socket.inc();
            }
        }
        for waker in deferred.waiting {
            waker.wake();
        }
        if !deferred.evicted.is_empty() {
            for (subscription, violation) in deferred.evicted {
                self.metrics.evicted(Eviction::Cursor);
                tracing::warn!(ring = %self.name, subscription, %violation, "reader evicted");
            }
            // The last cursor that was believed may be further than the one that the waiting
            // record was measured by.
            self.space_released();
        }
    }
}

impl Drop for Wakeups<'_> {
    fn drop(&mut self) {
        self.ring.run(std::mem::take(&mut self.deferred));
    }
}

impl Inner {
    /// Collects whom to wake, and evicts readers whose cursors lied.
    fn settle(&mut self, wake: Wake) -> Deferred {
        let mut deferred = Deferred { futex: wake.futex, ..Deferred::default() };
        if wake.sockets != 0 {
            let sleeps =
                |subscription: &&Subscription| wake.sockets & (1 << subscription.id.index()) != 0;
            deferred.doorbells = self
                .subscriptions
                .iter()
                .filter(sleeps)
                .filter_map(Subscription::doorbell)
                .collect();
        }
        while let Some(violation) = self.producer.take_violation() {
            let Some(subscription) =
                self.subscriptions.iter_mut().find(|each| each.id == violation.subscription)
            else {
                continue;
            };
            subscription.evict();
            deferred.evicted.push((subscription.name.clone(), violation));
        }
        deferred
    }
}

/// Counts milliseconds.
fn written_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Reads the clock, nanoseconds.
fn now_ns(clock: ClockName) -> u64 {
    let id = match clock {
        ClockName::Realtime => ClockId::Realtime,
        ClockName::Monotonic => ClockId::Monotonic,
    };
    let now = rustix::time::clock_gettime(id);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// Draws an epoch: random, not 0, and below 2^63, because a RESP id names it in decimal and some
/// clients parse that as a signed number.
fn random_epoch() -> Result<u64, RingError> {
    let mut bytes = [0; 8];
    loop {
        let filled = rustix::rand::getrandom(&mut bytes[..], GetRandomFlags::empty())
            .map_err(|errno| RingError::Random { errno })?;
        let epoch = u64::from_ne_bytes(bytes) >> 1;
        if filled == bytes.len() && epoch != 0 {
            return Ok(epoch);
        }
    }
}

/// Converts granules to bytes.
fn bytes(granules: impl Into<u64>) -> u64 {
    granules.into() * GRANULE_BYTES as u64
}
