//! The one record path: every record of every protocol goes through [`Ring::publish`].
//!
//! The producer's mutex is held for one push and never across an await; whoever finds the ring full
//! queues up and is told when readers release something. Next: `control`.

mod error;
mod subscriptions;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use aqueduct_core::layout::{CLOCK_MONOTONIC, CLOCK_REALTIME, DATA_OFFSET_MAPPED, GRANULE_BYTES};
use aqueduct_core::{ClaimError, Meta, Producer, Region, RingConfig, Start, Violation, Wake};
use event_listener::Event;
use rustix::rand::GetRandomFlags;
use rustix::time::ClockId;
use smol::{Timer, future};

use crate::config::{ClockName, MAX_SUBSCRIPTIONS, RingSettings};
use crate::handoff::Link;
use crate::mapping::{CursorSegment, RingSegment};
use crate::metrics::{Eviction, Metrics, RingMetrics};
use crate::presence::lock;

pub use error::{PublishError, RingError};
use subscriptions::Subscription;
pub use subscriptions::{AttachError, Attached, Attachment, Place, RingStatus};

/// A record that is in the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// Its number.
    pub seq: u64,
    /// The ring's epoch.
    pub epoch: u64,
}

/// One ring with its subscriptions.
pub struct Ring {
    name: String,
    epoch: u64,
    capacity: u32,
    max_payload_bytes: u32,
    clock: ClockName,
    segment: RingSegment,
    inner: Mutex<Inner>,
    /// Notified whenever a reader may have released something, and when the ring is closed.
    space: Event,
    /// Held by the one who asks the readers for space; the others wait behind it. One asker at a
    /// time: the ring has one `space_wanted`.
    turn: smol::lock::Mutex<()>,
    metrics: RingMetrics,
}

/// What the mutex guards.
struct Inner {
    producer: Producer<Region<'static>, CursorSegment, MAX_SUBSCRIPTIONS>,
    /// In the order of the configuration.
    subscriptions: Vec<Subscription>,
    /// Attachments so far: tells an attachment from the next one of the same subscription.
    attachments: u64,
    /// Records that wait for space. While there are any, new ones queue behind them.
    queued: usize,
    /// Granules that the last refused record needed; 0 once a record was published after it.
    refused_granules: u32,
}

/// Who makes a try, and so what it may do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// New: waits behind those who wait already.
    New,
    /// The first of those who wait: asks for space.
    First,
    /// Out of time.
    Last,
}

/// What is left to do once the mutex is free.
#[derive(Default)]
struct Errands {
    wake: Vec<Arc<Link>>,
    futex: bool,
    /// Names of subscriptions whose readers were thrown out, and for what.
    evicted: Vec<(String, Violation)>,
}

impl Ring {
    /// Makes the ring, with all its subscriptions.
    pub fn create(settings: &RingSettings, metrics: &Metrics) -> Result<Self, RingError> {
        let data = usize::try_from(settings.capacity_bytes)
            .map_err(|_| RingError::AddressSpace { bytes: settings.capacity_bytes })?;
        let segment = RingSegment::create(&settings.name, data + DATA_OFFSET_MAPPED as usize)?;
        let epoch = random_epoch()?;
        let config = RingConfig {
            max_payload_bytes: Some(settings.max_payload_bytes),
            data_offset_bytes: DATA_OFFSET_MAPPED,
            created_ns: now_ns(ClockName::Realtime),
            clock_id: match settings.clock {
                ClockName::Realtime => CLOCK_REALTIME,
                ClockName::Monotonic => CLOCK_MONOTONIC,
            },
            ..RingConfig::new(&settings.name, epoch, data)
        };
        let mut producer = Producer::create(segment.region(), &config)?;
        let mut subscriptions = Vec::with_capacity(settings.subscriptions.len());
        for name in &settings.subscriptions {
            let id = producer.subscribe(Start::Latest)?;
            subscriptions.push(Subscription::new(
                name.clone(),
                id,
                metrics.subscription(&settings.name, name),
            ));
        }
        let capacity = producer.geometry().capacity();
        let inner =
            Inner { producer, subscriptions, attachments: 0, queued: 0, refused_granules: 0 };
        Ok(Self {
            name: settings.name.clone(),
            epoch,
            capacity,
            max_payload_bytes: settings.max_payload_bytes,
            clock: settings.clock,
            segment,
            inner: Mutex::new(inner),
            space: Event::new(),
            turn: smol::lock::Mutex::new(()),
            metrics: metrics.ring(&settings.name, settings.capacity_bytes),
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Largest payload, bytes.
    pub fn max_payload_bytes(&self) -> u32 {
        self.max_payload_bytes
    }

    /// Where this ring's events are counted.
    pub fn metrics(&self) -> &RingMetrics {
        &self.metrics
    }

    /// Publishes one record, waiting for space up to `full_wait`. The record is in the ring exactly
    /// if this returns `Ok`. Dropping the future early gives up the place in the queue; the record
    /// is then not published.
    pub async fn publish(
        &self,
        type_tag: u16,
        payload: &[u8],
        full_wait: Duration,
    ) -> Result<Published, PublishError> {
        let begun = Instant::now();
        let seq = match self.attempt(Turn::New, type_tag, payload)? {
            Some(seq) => seq,
            None => self.wait_for_space(type_tag, payload, begun + full_wait).await?,
        };
        self.metrics.wait.observe(begun.elapsed().as_secs_f64());
        self.metrics.records.inc();
        self.metrics.payload_bytes.inc_by(payload.len() as u64);
        Ok(Published { seq, epoch: self.epoch })
    }

    async fn wait_for_space(
        &self,
        type_tag: u16,
        payload: &[u8],
        deadline: Instant,
    ) -> Result<u64, PublishError> {
        let _queued = Queued::enter(self);
        let told = async {
            let _turn = self.turn.lock().await;
            loop {
                let space = self.space.listen();
                if let Some(seq) = self.attempt(Turn::First, type_tag, payload)? {
                    return Ok(seq);
                }
                space.await;
            }
        };
        let late = async {
            Timer::at(deadline).await;
            self.attempt(Turn::Last, type_tag, payload)?.ok_or(PublishError::Full)
        };
        future::or(told, late).await
    }

    /// One try. `None`: full.
    fn attempt(
        &self,
        turn: Turn,
        type_tag: u16,
        payload: &[u8],
    ) -> Result<Option<u64>, PublishError> {
        let (result, errands) = {
            let mut inner = self.lock();
            let result = inner.push(turn, type_tag, payload, self.clock);
            let wake = result
                .as_ref()
                .ok()
                .and_then(|pushed| *pushed)
                .map_or(Wake::NONE, |(_, wake)| wake);
            (result, inner.settle(wake))
        };
        self.run(errands);
        match result {
            Ok(pushed) => Ok(pushed.map(|(seq, _)| seq)),
            Err(ClaimError::TooLarge { bytes, limit }) => {
                Err(PublishError::TooLarge { bytes, limit })
            }
            Err(ClaimError::Closed) => Err(PublishError::Closed),
            // A single producer is never busy.
            Err(ClaimError::Full { .. } | ClaimError::Busy { .. }) => Ok(None),
        }
    }

    /// A reader says that it released something.
    pub fn space_released(&self) {
        self.space.notify(usize::MAX);
    }

    /// Ends the stream and wakes every sleeper. Records published before stay readable.
    pub fn close(&self) {
        let errands = {
            let mut inner = self.lock();
            let wake = inner.producer.close();
            inner.settle(wake)
        };
        self.run(errands);
        self.space.notify(usize::MAX);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }

    /// System calls and log lines, outside of the mutex.
    fn run(&self, errands: Errands) {
        if errands.futex {
            self.segment.wake_sleepers();
            self.metrics.wakes_futex.inc();
        }
        for link in errands.wake {
            if link.wake() {
                self.metrics.wakes_socket.inc();
            }
        }
        if !errands.evicted.is_empty() {
            for (subscription, violation) in errands.evicted {
                self.metrics.evicted(Eviction::Cursor);
                tracing::warn!(ring = %self.name, subscription, %violation, "reader evicted");
            }
            // The last cursor that was believed may be further than the one the waiting record was
            // measured by.
            self.space.notify(usize::MAX);
        }
    }
}

impl Inner {
    /// Collects, under the mutex, whom to wake, and throws out readers whose cursors lied.
    fn settle(&mut self, wake: Wake) -> Errands {
        let mut errands = Errands { futex: wake.futex, ..Errands::default() };
        if wake.sockets != 0 {
            let sleeps =
                |subscription: &&Subscription| wake.sockets & (1 << subscription.id.index()) != 0;
            errands.wake =
                self.subscriptions.iter().filter(sleeps).filter_map(Subscription::link).collect();
        }
        while let Some(violation) = self.producer.take_violation() {
            let Some(subscription) =
                self.subscriptions.iter_mut().find(|each| each.id == violation.subscription)
            else {
                continue;
            };
            subscription.throw_out();
            errands.evicted.push((subscription.name.clone(), violation));
        }
        errands
    }

    /// One record, or `None` if those before it still wait.
    fn push(
        &mut self,
        turn: Turn,
        type_tag: u16,
        payload: &[u8],
        clock: ClockName,
    ) -> Result<Option<(u64, Wake)>, ClaimError> {
        if turn == Turn::New && self.queued > 0 {
            return Ok(None);
        }
        if turn == Turn::First && !self.producer.want_space(payload.len())? {
            return Ok(None);
        }
        let result = self.producer.push(Meta { type_tag, timestamp_ns: now_ns(clock) }, payload);
        match &result {
            Ok(_) => self.refused_granules = 0,
            Err(ClaimError::Full { needed, .. }) if turn == Turn::Last => {
                self.refused_granules = *needed;
            }
            Err(_) => {}
        }
        result.map(Some)
    }
}

/// A place in the queue for space.
struct Queued<'a>(&'a Ring);

impl<'a> Queued<'a> {
    fn enter(ring: &'a Ring) -> Self {
        ring.lock().queued += 1;
        Self(ring)
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.lock().queued -= 1;
    }
}

/// Nanoseconds by the clock.
fn now_ns(clock: ClockName) -> u64 {
    let id = match clock {
        ClockName::Realtime => ClockId::Realtime,
        ClockName::Monotonic => ClockId::Monotonic,
    };
    let now = rustix::time::clock_gettime(id);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// Random and not 0.
fn random_epoch() -> Result<u64, RingError> {
    let mut bytes = [0; 8];
    loop {
        let filled = rustix::rand::getrandom(&mut bytes[..], GetRandomFlags::empty())
            .map_err(|errno| RingError::Random { errno })?;
        let epoch = u64::from_ne_bytes(bytes);
        if filled == bytes.len() && epoch != 0 {
            return Ok(epoch);
        }
    }
}

/// Bytes that granules take.
fn bytes(granules: u32) -> u64 {
    u64::from(granules) * GRANULE_BYTES as u64
}
