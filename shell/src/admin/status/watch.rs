//! Looks at everything every two seconds, and keeps ten minutes of it.
//!
//! What is kept is bounded: some kilobytes for each ring, and series of the first
//! [`READERS_KEPT`] readers.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use smol::Timer;

use super::forwarder::{self, ForwarderStatus};
use super::journal::KeptJournal;
use super::series::Series;
use crate::admin::Admin;
use crate::log;
use crate::metrics::{AddressMetrics, Eviction};
use crate::refusal::Refusal;
use crate::ring::{Ring, RingLook, SubscriptionLook};
use crate::sync::lock;

/// Time between two samples.
pub(super) const INTERVAL: Duration = Duration::from_secs(2);
/// Readers of all rings whose lag is kept.
const READERS_KEPT: usize = 4096;

/// Number of refusals by reason, as in [`Refusal::LABELS`].
pub(super) type Refusals = [u64; Refusal::LABELS.len()];

/// What is kept, and where forwarders are asked.
pub struct Watch {
    began: Instant,
    /// Addresses of the pages of forwarders.
    forwarders: Vec<SocketAddr>,
    kept: Mutex<Kept>,
}

/// Everything as of the latest sample.
#[derive(Default)]
pub(super) struct Kept {
    /// When it was taken.
    pub(super) at: Option<Instant>,
    /// In the order of the configuration.
    pub(super) rings: Vec<KeptRing>,
    /// Of all rings together.
    pub(super) records_per_second: Series,
    pub(super) refused_per_second: Series,
    /// Age of the oldest record that is not released, of all readers.
    pub(super) worst_lag_seconds: Series,
    /// Connections beyond the limit, and lost lines of the log, between two samples.
    pub(super) connections_refused: Series,
    pub(super) admin_connections_refused: Series,
    pub(super) log_lines_dropped: Series,
    pub(super) forwarders: Vec<KeptForwarder>,
    /// In the order of [`Admin::addresses`].
    pub(super) addresses: Vec<KeptAddress>,
    counted: Counted,
}

/// Counters as of the latest sample.
#[derive(Default)]
struct Counted {
    connections_refused: u64,
    admin_connections_refused: u64,
    log_lines_dropped: u64,
}

/// A ring as of the latest sample.
pub(super) struct KeptRing {
    pub(super) look: RingLook,
    pub(super) journal_trouble: Option<String>,
    pub(super) journal: Option<KeptJournal>,
    pub(super) records_per_second: Series,
    pub(super) bytes_per_second: Series,
    pub(super) refused_per_second: Series,
    pub(super) used_bytes: Series,
    pub(super) readers: Vec<KeptReader>,
    /// Refusals since the sample before.
    pub(super) refusals: Refusals,
    /// The latest eviction of a reader that broke the rules.
    pub(super) eviction: Option<(Instant, Eviction)>,
    payload_bytes: u64,
    records: u64,
    refused: Refusals,
    evicted: [u64; 2],
}

/// A reader as of the latest sample.
pub(super) struct KeptReader {
    /// When it last released something, had nothing to release, or was not attached.
    pub(super) moved: Instant,
    /// The sample since which a reader has been attached; none while there is no reader.
    pub(super) attached: Option<Instant>,
    /// Nothing beyond [`READERS_KEPT`].
    pub(super) lag_bytes: Option<Series>,
    cursor: u32,
}

/// A listening address as of the latest sample.
#[derive(Default)]
pub(super) struct KeptAddress {
    pub(super) records_per_second: f64,
    pub(super) refused_per_second: f64,
    records: u64,
    refused: u64,
}

/// A forwarder, as it was asked last.
pub(super) struct KeptForwarder {
    pub(super) address: String,
    /// What it said; nothing before it was asked.
    pub(super) said: Option<Result<ForwarderStatus, String>>,
    pub(super) delivered_per_second: Series,
    asked: Option<Instant>,
}

impl Watch {
    /// Keeps nothing yet; `forwarders` are addresses of their pages.
    pub fn new(forwarders: Vec<SocketAddr>) -> Self {
        let kept = forwarders.iter().map(|address| KeptForwarder {
            address: address.to_string(),
            said: None,
            delivered_per_second: Series::default(),
            asked: None,
        });
        let kept = Kept { forwarders: kept.collect(), ..Kept::default() };
        Self { began: Instant::now(), forwarders, kept: Mutex::new(kept) }
    }

    /// Returns how long the process has been running.
    pub(super) fn uptime(&self) -> Duration {
        self.began.elapsed()
    }

    /// Has the latest sample looked at.
    pub(super) fn with<T>(&self, look: impl FnOnce(&Kept) -> T) -> T {
        look(&lock(&self.kept))
    }

    /// Asks one forwarder until the process ends, by its place in the configuration.
    pub async fn forwarder(admin: Arc<Admin>, index: usize) {
        let watch = &admin.watch;
        loop {
            let said = forwarder::ask(watch.forwarders[index]).await;
            lock(&watch.kept).forwarders[index].hear(said, Instant::now());
            Timer::after(INTERVAL).await;
        }
    }

    /// Returns how many forwarders there are.
    pub fn forwarders(&self) -> usize {
        self.forwarders.len()
    }

    /// Takes a sample. One that comes early changes nothing: rates need time.
    pub(super) fn sample(&self, admin: &Admin, now: Instant) {
        let mut kept = lock(&self.kept);
        let kept = &mut *kept;
        let seconds = kept.at.map(|at| now.saturating_duration_since(at).as_secs_f64());
        if seconds.is_some_and(|seconds| seconds < 0.5) {
            return;
        }
        let mut readers_left = READERS_KEPT;
        for (index, ring) in admin.rings.iter().enumerate() {
            if index == kept.rings.len() {
                kept.rings.push(KeptRing::new(ring, now, readers_left));
            } else if let Some(seconds) = seconds {
                kept.rings[index].sample(ring, now, seconds, readers_left);
            }
            readers_left = readers_left.saturating_sub(kept.rings[index].readers.len());
        }
        kept.addresses.resize_with(admin.by_address.len(), KeptAddress::default);
        for (address, metrics) in kept.addresses.iter_mut().zip(&*admin.by_address) {
            address.sample(metrics, seconds);
        }
        let rate = |of: fn(&KeptRing) -> &Series| -> f64 {
            kept.rings.iter().map(|ring| of(ring).last()).sum()
        };
        let (records, refused) =
            (rate(|ring| &ring.records_per_second), rate(|ring| &ring.refused_per_second));
        kept.records_per_second.push(records);
        kept.refused_per_second.push(refused);
        let lags = kept.rings.iter().flat_map(|ring| &ring.look.subscriptions);
        let worst = lags.map(|reader| reader.lag_ns).max().unwrap_or(0);
        kept.worst_lag_seconds.push(Duration::from_nanos(worst).as_secs_f64());
        let refused = admin.metrics.http_connections_refused.get();
        let refused_admin = admin.metrics.admin_connections_refused.get();
        let dropped = log::dropped_lines();
        if kept.at.is_some() {
            let more = refused.saturating_sub(kept.counted.connections_refused);
            kept.connections_refused.push(float(more));
            let more = refused_admin.saturating_sub(kept.counted.admin_connections_refused);
            kept.admin_connections_refused.push(float(more));
            kept.log_lines_dropped
                .push(float(dropped.saturating_sub(kept.counted.log_lines_dropped)));
        }
        kept.counted = Counted {
            connections_refused: refused,
            admin_connections_refused: refused_admin,
            log_lines_dropped: dropped,
        };
        kept.at = Some(now);
    }
}

impl KeptRing {
    fn new(ring: &Ring, now: Instant, keep: usize) -> Self {
        let look = ring.look();
        let readers = look.subscriptions.iter().enumerate();
        let readers = readers.map(|(index, reader)| KeptReader::new(reader, now, index < keep));
        let metrics = ring.metrics();
        Self {
            readers: readers.collect(),
            look,
            journal_trouble: ring.journal_trouble(),
            journal: ring.look_at_journal().map(|look| KeptJournal::new(look, None)),
            records_per_second: Series::default(),
            bytes_per_second: Series::default(),
            refused_per_second: Series::default(),
            used_bytes: Series::default(),
            refusals: [0; Refusal::LABELS.len()],
            eviction: None,
            payload_bytes: metrics.payload_bytes.get(),
            records: metrics.records.get(),
            refused: metrics.refusals(),
            evicted: evicted(ring),
        }
    }

    fn sample(&mut self, ring: &Ring, now: Instant, seconds: f64, keep: usize) {
        self.look = ring.look();
        self.journal_trouble = ring.journal_trouble();
        let before = self.journal.take();
        self.journal = ring
            .look_at_journal()
            .map(|look| KeptJournal::new(look, before.as_ref().map(|before| (before, seconds))));
        let metrics = ring.metrics();
        let (records, bytes) = (metrics.records.get(), metrics.payload_bytes.get());
        let refused = metrics.refusals();
        self.refusals = std::array::from_fn(|at| refused[at].saturating_sub(self.refused[at]));
        let more: u64 = self.refusals.iter().sum();
        self.records_per_second.push(float(records.saturating_sub(self.records)) / seconds);
        self.bytes_per_second.push(float(bytes.saturating_sub(self.payload_bytes)) / seconds);
        self.refused_per_second.push(float(more) / seconds);
        self.used_bytes.push(float(self.look.used_bytes));
        (self.records, self.payload_bytes, self.refused) = (records, bytes, refused);
        let evicted = evicted(ring);
        for (index, reason) in [Eviction::Cursor, Eviction::Packet].into_iter().enumerate() {
            if evicted[index] > self.evicted[index] {
                self.eviction = Some((now, reason));
            }
        }
        self.evicted = evicted;
        for (index, look) in self.look.subscriptions.iter().enumerate() {
            match self.readers.get_mut(index) {
                Some(reader) => reader.sample(look, now),
                None => self.readers.push(KeptReader::new(look, now, index < keep)),
            }
        }
    }
}

impl KeptReader {
    pub(super) fn new(look: &SubscriptionLook, now: Instant, keeps_lag: bool) -> Self {
        Self {
            moved: now,
            attached: look.attached.then_some(now),
            lag_bytes: keeps_lag.then(Series::default),
            cursor: look.cursor,
        }
    }

    pub(super) fn sample(&mut self, look: &SubscriptionLook, now: Instant) {
        // The time without a reader is no fault of the one that comes.
        if look.cursor != self.cursor || look.lag_bytes == 0 || self.attached.is_none() {
            self.moved = now;
        }
        self.attached = self.attached.or(Some(now)).filter(|_| look.attached);
        self.cursor = look.cursor;
        if let Some(lag) = &mut self.lag_bytes {
            lag.push(float(look.lag_bytes));
        }
    }
}

impl KeptAddress {
    /// Takes what is counted there; without the time since the last sample there is no rate.
    fn sample(&mut self, metrics: &AddressMetrics, seconds: Option<f64>) {
        let (records, refused) = (metrics.records.get(), metrics.refused.get());
        let rate = |now: u64, before: u64| {
            seconds.map_or(0.0, |seconds| float(now.saturating_sub(before)) / seconds)
        };
        self.records_per_second = rate(records, self.records);
        self.refused_per_second = rate(refused, self.refused);
        (self.records, self.refused) = (records, refused);
    }
}

impl KeptForwarder {
    /// Takes what a forwarder said.
    fn hear(&mut self, said: Result<ForwarderStatus, String>, now: Instant) {
        let delivered = |said: &Result<ForwarderStatus, String>| {
            said.as_ref().map_or(0, |said| said.delivered_records)
        };
        let before = self.said.as_ref().map_or(0, delivered);
        let seconds = self.asked.map(|asked| now.saturating_duration_since(asked).as_secs_f64());
        // Neither a first answer nor one of a process that was started again has a rate.
        let more = delivered(&said).checked_sub(before).filter(|_| before > 0);
        let rate = seconds.zip(more).filter(|&(seconds, _)| seconds > 0.0);
        self.delivered_per_second.push(rate.map_or(0.0, |(seconds, more)| float(more) / seconds));
        (self.said, self.asked) = (Some(said), Some(now));
    }
}

/// Counts the readers of a ring that were evicted by themselves.
fn evicted(ring: &Ring) -> [u64; 2] {
    [Eviction::Cursor, Eviction::Packet].map(|reason| ring.metrics().evictions(reason))
}

#[allow(clippy::cast_precision_loss, reason = "people read it")]
pub(super) fn float(number: u64) -> f64 {
    number as f64
}
