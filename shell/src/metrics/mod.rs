//! What is counted, by name: the one list of metrics, their help and their labels.
//!
//! Values that can be looked up are set when they are asked for.

#[cfg(feature = "otel")]
mod exemplars;
#[cfg(feature = "otel")]
mod open_metrics;

#[cfg(feature = "otel")]
use std::collections::HashMap;
#[cfg(feature = "otel")]
use std::sync::Arc;
use std::sync::Mutex;

use prometheus::core::Collector;
use prometheus::{
    Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec,
    IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::refusal::Refusal;
use crate::sync::lock;

#[cfg(feature = "otel")]
pub use exemplars::{Exemplar, Exemplars};
#[cfg(feature = "otel")]
pub use open_metrics::MEDIA_TYPE as OPEN_METRICS;

/// Buckets of the publish wait, seconds: from a reader that is quick to one that is slow for
/// people.
const WAIT_BUCKETS_SECONDS: [f64; 12] =
    [1e-6, 5e-6, 2.5e-5, 1e-4, 5e-4, 2.5e-3, 1e-2, 5e-2, 0.25, 1.0, 5.0, 25.0];

/// Buckets of commits, seconds: from a write to memory to a disk in trouble.
const COMMIT_BUCKETS_SECONDS: [f64; 12] =
    [2e-6, 5e-6, 1e-5, 5e-5, 2e-4, 5e-4, 1e-3, 2.5e-3, 1e-2, 5e-2, 0.25, 1.0];
/// Buckets of the records of a batch.
const BATCH_BUCKETS: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 512.0, 2048.0];

/// The reason why a reader was evicted; values of the label `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eviction {
    /// It stored a cursor that no honest reader can have.
    Cursor,
    /// It sent a packet that no reader sends.
    Packet,
    /// An operator had it evicted.
    Operator,
}

/// All metrics of the process.
pub struct Metrics {
    registry: Registry,
    /// HTTP responses, by status.
    pub http_requests: IntCounterVec,
    /// Connections open now.
    pub http_connections: IntGauge,
    /// Connections beyond the limit.
    pub http_connections_refused: IntCounter,
    /// Connections to the address for operators that found no place.
    pub admin_connections_refused: IntCounter,
    /// Bytes of incomplete messages that all connections keep now.
    pub buffered_bytes: IntGauge,
    /// Connections that ended because their peer broke its protocol.
    pub protocol_errors: IntCounter,
    /// Control connections open now.
    pub control_connections: IntGauge,
    /// Handshakes, by outcome.
    pub control_handshakes: IntCounterVec,
    /// Reloads of the configuration, by outcome.
    pub reloads: IntCounterVec,
    /// 1 while `/readyz` says so.
    pub ready: IntGauge,
    certificate_expiry: IntGaugeVec,
    /// The same, to be read.
    certificate: Mutex<Option<(String, i64)>>,
    log_dropped: IntCounter,
    log_suppressed: IntCounter,
    #[cfg(feature = "otel")]
    telemetry: [IntCounterVec; 3],
    #[cfg(feature = "otel")]
    traced: HistogramVec,
    /// Those of each ring, by its name.
    #[cfg(feature = "otel")]
    exemplars: Mutex<Vec<(String, Arc<Exemplars>)>>,
    /// Held while counts of elsewhere are brought up to date, so that nothing is counted twice.
    counting_log_lines: Mutex<()>,
    records: IntCounterVec,
    payload_bytes: IntCounterVec,
    rejected: IntCounterVec,
    capacity_bytes: IntGaugeVec,
    used_bytes: IntGaugeVec,
    full: IntGaugeVec,
    wait: HistogramVec,
    journal_commit: HistogramVec,
    journal_batch: HistogramVec,
    journal_bytes: IntCounterVec,
    journal_segments: IntGaugeVec,
    journal_size_bytes: IntGaugeVec,
    journal_room_bytes: IntGaugeVec,
    journal_failed: IntGaugeVec,
    journal_short: IntGaugeVec,
    journal_waiting: GaugeVec,
    journal_cursor_failures: IntCounterVec,
    journal_damaged_places: IntGaugeVec,
    journal_missing_records: IntGaugeVec,
    wakes: IntCounterVec,
    evictions: IntCounterVec,
    keys: IntCounterVec,
    lag_bytes: IntGaugeVec,
    lag_records: IntGaugeVec,
    lag_seconds: GaugeVec,
    released: IntCounterVec,
    attached: IntGaugeVec,
    address_connections: IntGaugeVec,
    address_records: IntCounterVec,
    address_rejected: IntCounterVec,
    corrupt: IntCounterVec,
    lost: IntCounterVec,
    missed_wakes: IntCounterVec,
}

/// The metrics of one ring.
pub struct RingMetrics {
    /// Records published.
    pub records: IntCounter,
    /// Payload bytes published.
    pub payload_bytes: IntCounter,
    refused: [IntCounter; Refusal::LABELS.len()],
    /// Bytes that gating readers have not released.
    pub used_bytes: IntGauge,
    /// 1 while nothing fits, or not even the record that was refused last.
    pub full: IntGauge,
    /// How long published records waited for space, if they did, seconds.
    pub wait: Histogram,
    /// Futex calls.
    pub wakes_futex: IntCounter,
    /// `W` packets.
    pub wakes_socket: IntCounter,
    evictions: [IntCounter; 3],
    /// Idempotency keys that were answered with their first answer.
    pub keys_repeated: IntCounter,
    /// Those that came with another body.
    pub keys_conflicting: IntCounter,
    /// Those that were forgotten before their time.
    pub keys_forgotten: IntCounter,
    #[cfg(feature = "otel")]
    traced: Histogram,
    #[cfg(feature = "otel")]
    exemplars: Arc<Exemplars>,
}

/// The metrics of the journal of one ring.
pub struct JournalMetrics {
    /// How long batches took to be safe, seconds.
    pub commit: Histogram,
    /// Records in a batch.
    pub batch: Histogram,
    /// Bytes written, headers and padding included.
    pub bytes: IntCounter,
    /// Segments on the disk.
    pub segments: IntGauge,
    /// Bytes that these and a reserved one take.
    pub size_bytes: IntGauge,
    /// Bytes that the file system has left for this process.
    pub room_bytes: IntGauge,
    /// 1 once it has failed.
    pub failed: IntGauge,
    /// 1 while no further segment can be reserved.
    pub short: IntGauge,
    /// How long the commit that is under way has taken, seconds; 0 if none is.
    pub waiting: Gauge,
    /// Tries to save cursors that failed.
    pub cursor_failures: IntCounter,
    /// Places that the start found damaged or missing.
    pub damaged_places: IntGauge,
    /// Records that the start found missing, as far as their numbers are known.
    pub missing_records: IntGauge,
}

/// The metrics of one listening address. There are as many as are configured.
#[derive(Clone, Debug)]
pub struct AddressMetrics {
    /// Connections open now.
    pub connections: IntGauge,
    /// Records that came in there and were taken.
    pub records: IntCounter,
    /// Records that came in there and were refused.
    pub refused: IntCounter,
}

/// The metrics of one subscription.
pub struct SubscriptionMetrics {
    /// Bytes published and not released.
    pub lag_bytes: IntGauge,
    /// Records published and not released.
    pub lag_records: IntGauge,
    /// Age of the oldest of them, seconds.
    pub lag_seconds: Gauge,
    /// Records released.
    pub released: IntCounter,
    /// 1 while a reader is attached.
    pub attached: IntGauge,
    /// Damaged records and stretches that its readers saw.
    pub corrupt: IntCounter,
    /// Records that its readers lost to damage.
    pub lost: IntCounter,
    /// Sleeps of its readers that ended by timeout with data there.
    pub missed_wakes: IntCounter,
}

impl Metrics {
    /// Registers all metrics, at zero.
    #[allow(clippy::too_many_lines, reason = "a list")]
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let make = Make(&registry);
        let (ring, reader): (&[&str], &[&str]) = (&["ring"], &["ring", "subscription"]);
        make.gauges("aqueduct_build_info", "Always 1; the label tells the version.", &["version"])?
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);
        make.gauge(
            "process_start_time_seconds",
            "Start time of the process since unix epoch in seconds.",
        )?
        .set(started_s());
        Ok(Self {
            http_requests: make.counters(
                "aqueduct_http_requests_total",
                "HTTP responses, by status.",
                &["status"],
            )?,
            http_connections: make
                .gauge("aqueduct_http_connections", "HTTP connections open now.")?,
            http_connections_refused: make.counter(
                "aqueduct_http_connections_refused_total",
                "HTTP connections refused because too many were open.",
            )?,
            admin_connections_refused: make.counter(
                "aqueduct_admin_connections_refused_total",
                "Connections to the address for operators refused because too many were open.",
            )?,
            buffered_bytes: make.gauge(
                "aqueduct_buffered_bytes",
                "Memory for incomplete messages of all connections.",
            )?,
            protocol_errors: make.counter(
                "aqueduct_protocol_errors_total",
                "Connections closed because their peer broke its protocol.",
            )?,
            control_connections: make
                .gauge("aqueduct_control_connections", "Control connections open now.")?,
            control_handshakes: make.counters(
                "aqueduct_control_handshakes_total",
                "Readers that asked to attach, by outcome.",
                &["outcome"],
            )?,
            reloads: make.counters(
                "aqueduct_config_reloads_total",
                "Times that the configuration was read again, by outcome.",
                &["outcome"],
            )?,
            ready: make.gauge(
                "aqueduct_ready",
                "1 while a record that is sent has a chance, as /readyz says.",
            )?,
            certificate_expiry: make.gauges(
                "aqueduct_tls_certificate_expiry_timestamp_seconds",
                "When the first certificate of the chain in use ends, since unix epoch.",
                &["file"],
            )?,
            log_dropped: make.counter(
                "aqueduct_log_lines_dropped_total",
                "Log lines lost because nobody took them or the other end was gone.",
            )?,
            log_suppressed: make.counter(
                "aqueduct_log_lines_suppressed_total",
                "Log lines not written because there were too many of their kind.",
            )?,
            #[cfg(feature = "otel")]
            telemetry: [
                make.counters(
                    "aqueduct_telemetry_sent_total",
                    "Spans, points and log lines that the collector took.",
                    &["signal"],
                )?,
                make.counters(
                    "aqueduct_telemetry_lost_total",
                    "Spans, points and log lines that the collector refused or was too slow for.",
                    &["signal"],
                )?,
                make.counters(
                    "aqueduct_telemetry_failures_total",
                    "Requests to the collector that failed.",
                    &["signal"],
                )?,
            ],
            #[cfg(feature = "otel")]
            traced: make.histograms(
                "aqueduct_traced_publish_seconds",
                "Time from receipt to publication of messages whose trace is recorded.",
                exemplars::TRACED_BUCKETS_SECONDS,
                ring,
            )?,
            #[cfg(feature = "otel")]
            exemplars: Mutex::default(),
            records: make.counters("aqueduct_records_total", "Records published.", ring)?,
            payload_bytes: make.counters(
                "aqueduct_payload_bytes_total",
                "Payload bytes published.",
                ring,
            )?,
            rejected: make.counters(
                "aqueduct_records_rejected_total",
                "Records not published, by reason.",
                &["ring", "reason"],
            )?,
            capacity_bytes: make.gauges(
                "aqueduct_ring_capacity_bytes",
                "Size of the data area.",
                ring,
            )?,
            used_bytes: make.gauges(
                "aqueduct_ring_used_bytes",
                "Bytes of the data area that gating readers have not released.",
                ring,
            )?,
            full: make.gauges(
                "aqueduct_ring_full",
                "1 while nothing fits, or not even the record that was refused last.",
                ring,
            )?,
            wait: make.histograms(
                "aqueduct_publish_wait_seconds",
                "Time that published records waited for space, if they had to.",
                WAIT_BUCKETS_SECONDS,
                ring,
            )?,
            journal_commit: make.histograms(
                "aqueduct_journal_commit_seconds",
                "Time that a batch of records took to be as safe as the ring promises.",
                COMMIT_BUCKETS_SECONDS,
                ring,
            )?,
            journal_batch: make.histograms(
                "aqueduct_journal_batch_records",
                "Records that were made safe together.",
                BATCH_BUCKETS,
                ring,
            )?,
            journal_bytes: make.counters(
                "aqueduct_journal_bytes_total",
                "Bytes written to the journal, headers and padding included.",
                ring,
            )?,
            journal_segments: make.gauges(
                "aqueduct_journal_segments",
                "Segments of the journal on the disk.",
                ring,
            )?,
            journal_size_bytes: make.gauges(
                "aqueduct_journal_size_bytes",
                "Bytes that the files of the journal take, the reserved one included.",
                ring,
            )?,
            journal_room_bytes: make.gauges(
                "aqueduct_journal_room_bytes",
                "Bytes that the file system of the journal has left for this process.",
                ring,
            )?,
            journal_failed: make.gauges(
                "aqueduct_journal_failed",
                "1 once the journal has failed: nothing is taken until the next start.",
                ring,
            )?,
            journal_short: make.gauges(
                "aqueduct_journal_out_of_space",
                "1 while there is no space for a further segment.",
                ring,
            )?,
            journal_waiting: make.real_gauges(
                "aqueduct_journal_waiting_seconds",
                "Time that the commit that is under way has taken; 0 if none is.",
                ring,
            )?,
            journal_cursor_failures: make.counters(
                "aqueduct_journal_cursor_failures_total",
                "Tries to save the cursors of subscriptions that failed.",
                ring,
            )?,
            journal_damaged_places: make.gauges(
                "aqueduct_journal_damaged_places",
                "Places of the journal that the start of this process found damaged or missing.",
                ring,
            )?,
            journal_missing_records: make.gauges(
                "aqueduct_journal_missing_records",
                "Records that the start of this process found missing, as far as it knows numbers.",
                ring,
            )?,
            wakes: make.counters(
                "aqueduct_wakes_total",
                "Wake-ups sent to sleeping readers, by way.",
                &["ring", "way"],
            )?,
            evictions: make.counters(
                "aqueduct_evictions_total",
                "Readers evicted, by reason.",
                &["ring", "reason"],
            )?,
            keys: make.counters(
                "aqueduct_idempotency_keys_total",
                "Idempotency keys that were repeated, repeated with another body, and forgotten \
                 before their time because too many came.",
                &["ring", "outcome"],
            )?,
            lag_bytes: make.gauges(
                "aqueduct_subscription_lag_bytes",
                "Bytes published and not released by the subscription.",
                reader,
            )?,
            lag_records: make.gauges(
                "aqueduct_subscription_lag_records",
                "Records published and not released by the subscription.",
                reader,
            )?,
            lag_seconds: make.real_gauges(
                "aqueduct_subscription_lag_seconds",
                "Age of the oldest record that the subscription has not released.",
                reader,
            )?,
            released: make.counters(
                "aqueduct_subscription_released_records_total",
                "Records released by the subscription, in this epoch of the ring.",
                reader,
            )?,
            attached: make.gauges(
                "aqueduct_subscription_attached",
                "1 while a reader is attached.",
                reader,
            )?,
            corrupt: make.counters(
                "aqueduct_subscription_corrupt_total",
                "Damaged records and stretches that readers report.",
                reader,
            )?,
            lost: make.counters(
                "aqueduct_subscription_lost_records_total",
                "Records lost to damage that readers report.",
                reader,
            )?,
            missed_wakes: make.counters(
                "aqueduct_subscription_missed_wakes_total",
                "Sleeps that ended by timeout with data there, as readers report.",
                reader,
            )?,
            address_connections: make.gauges(
                "aqueduct_address_connections",
                "Connections open now at the address.",
                &["protocol", "address"],
            )?,
            address_records: make.counters(
                "aqueduct_address_records_total",
                "Records that came in at the address and were taken.",
                &["protocol", "address"],
            )?,
            address_rejected: make.counters(
                "aqueduct_address_records_rejected_total",
                "Records that came in at the address and were not taken.",
                &["protocol", "address"],
            )?,
            certificate: Mutex::default(),
            counting_log_lines: Mutex::default(),
            registry,
        })
    }

    /// The metrics of a ring, all of them present from now on.
    pub fn ring(&self, name: &str, capacity_bytes: u64) -> RingMetrics {
        self.capacity_bytes
            .with_label_values(&[name])
            .set(i64::try_from(capacity_bytes).unwrap_or(i64::MAX));
        #[cfg(feature = "otel")]
        let exemplars = Arc::<Exemplars>::default();
        #[cfg(feature = "otel")]
        lock(&self.exemplars).push((name.to_owned(), Arc::clone(&exemplars)));
        RingMetrics {
            records: self.records.with_label_values(&[name]),
            payload_bytes: self.payload_bytes.with_label_values(&[name]),
            refused: Refusal::LABELS.map(|reason| self.rejected.with_label_values(&[name, reason])),
            used_bytes: self.used_bytes.with_label_values(&[name]),
            full: self.full.with_label_values(&[name]),
            wait: self.wait.with_label_values(&[name]),
            keys_repeated: self.keys.with_label_values(&[name, "repeated"]),
            keys_conflicting: self.keys.with_label_values(&[name, "conflict"]),
            keys_forgotten: self.keys.with_label_values(&[name, "forgotten"]),
            wakes_futex: self.wakes.with_label_values(&[name, "futex"]),
            wakes_socket: self.wakes.with_label_values(&[name, "socket"]),
            evictions: ["cursor", "packet", "operator"]
                .map(|reason| self.evictions.with_label_values(&[name, reason])),
            #[cfg(feature = "otel")]
            traced: self.traced.with_label_values(&[name]),
            #[cfg(feature = "otel")]
            exemplars,
        }
    }

    /// The metrics of a listening address, all of them present from now on.
    pub fn address(&self, protocol: &str, address: &str) -> AddressMetrics {
        let labels = [protocol, address];
        AddressMetrics {
            connections: self.address_connections.with_label_values(&labels),
            records: self.address_records.with_label_values(&labels),
            refused: self.address_rejected.with_label_values(&labels),
        }
    }

    /// The metrics of a ring's journal, all of them present from now on.
    pub fn journal(&self, ring: &str) -> JournalMetrics {
        let labels = [ring];
        JournalMetrics {
            commit: self.journal_commit.with_label_values(&labels),
            batch: self.journal_batch.with_label_values(&labels),
            bytes: self.journal_bytes.with_label_values(&labels),
            segments: self.journal_segments.with_label_values(&labels),
            size_bytes: self.journal_size_bytes.with_label_values(&labels),
            room_bytes: self.journal_room_bytes.with_label_values(&labels),
            failed: self.journal_failed.with_label_values(&labels),
            short: self.journal_short.with_label_values(&labels),
            waiting: self.journal_waiting.with_label_values(&labels),
            cursor_failures: self.journal_cursor_failures.with_label_values(&labels),
            damaged_places: self.journal_damaged_places.with_label_values(&labels),
            missing_records: self.journal_missing_records.with_label_values(&labels),
        }
    }

    /// The metrics of a subscription, all of them present from now on.
    pub fn subscription(&self, ring: &str, name: &str) -> SubscriptionMetrics {
        let labels = [ring, name];
        SubscriptionMetrics {
            lag_bytes: self.lag_bytes.with_label_values(&labels),
            lag_records: self.lag_records.with_label_values(&labels),
            lag_seconds: self.lag_seconds.with_label_values(&labels),
            released: self.released.with_label_values(&labels),
            attached: self.attached.with_label_values(&labels),
            corrupt: self.corrupt.with_label_values(&labels),
            lost: self.lost.with_label_values(&labels),
            missed_wakes: self.missed_wakes.with_label_values(&labels),
        }
    }

    /// Says when the chain of certificates in use ends, seconds since 1970; `None` without TLS.
    pub fn certificate_expires(&self, file: &str, at: Option<i64>) {
        let mut certificate = lock(&self.certificate);
        self.certificate_expiry.reset();
        if let Some(at) = at {
            self.certificate_expiry.with_label_values(&[file]).set(at);
        }
        *certificate = at.map(|at| (file.to_owned(), at));
    }

    /// Returns the file of the certificates in use, and when the first of the chain ends, seconds
    /// since 1970.
    pub fn certificate(&self) -> Option<(String, i64)> {
        lock(&self.certificate).clone()
    }

    /// Brings the counts of log lines up to date.
    pub fn count_log_lines(&self, dropped: u64, suppressed: u64) {
        let _counting = lock(&self.counting_log_lines);
        for (counter, now) in [(&self.log_dropped, dropped), (&self.log_suppressed, suppressed)] {
            counter.inc_by(now.saturating_sub(counter.get()));
        }
    }

    /// Brings up to date what a collector was sent of a signal: what it took, what is lost, and
    /// requests that failed.
    #[cfg(feature = "otel")]
    pub fn count_telemetry(&self, signal: &str, counts: [u64; 3]) {
        let _counting = lock(&self.counting_log_lines);
        for (counters, now) in self.telemetry.iter().zip(counts) {
            let counter = counters.with_label_values(&[signal]);
            counter.inc_by(now.saturating_sub(counter.get()));
        }
    }

    /// Returns all metrics as they are.
    #[cfg(feature = "otel")]
    pub fn gather(&self) -> Vec<prometheus::proto::MetricFamily> {
        self.registry.gather()
    }

    /// Returns how many lines of the log are lost, as far as they are counted.
    pub fn log_lines_dropped(&self) -> u64 {
        self.log_dropped.get()
    }

    /// Everything in the text format, version 0.0.4.
    pub fn text(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::with_capacity(8192);
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }

    /// Everything as `OpenMetrics` 1.0, with the last trace of each bucket of latencies and of each
    /// reason of refusals.
    #[cfg(feature = "otel")]
    pub fn open_metrics(&self) -> String {
        use open_metrics::Place;
        use prometheus::proto::LabelPair;

        let known: HashMap<String, Arc<Exemplars>> =
            lock(&self.exemplars).iter().cloned().collect();
        open_metrics::text(&self.registry.gather(), |family, labels, place| {
            let label =
                |name: &str| labels.iter().find(|pair| pair.name() == name).map(LabelPair::value);
            let of_ring = || known.get(label("ring")?);
            match (family, place) {
                ("aqueduct_traced_publish_seconds", Place::Bucket(index)) => {
                    of_ring()?.in_bucket(index)
                }
                ("aqueduct_records_rejected_total", Place::Counter) => {
                    of_ring()?.of_reason(label("reason")?)
                }
                _ => None,
            }
        })
    }
}

/// Now, seconds since 1970. Called once, at the start.
fn started_s() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(0))
}

/// Makes metrics and registers them.
struct Make<'a>(&'a Registry);

impl Make<'_> {
    fn registered<M: Collector + Clone + 'static>(
        &self,
        metric: M,
    ) -> Result<M, prometheus::Error> {
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn counter(&self, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
        self.registered(IntCounter::new(name, help)?)
    }

    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        self.registered(IntGauge::new(name, help)?)
    }

    fn counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntCounterVec, prometheus::Error> {
        self.registered(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    fn gauges(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntGaugeVec, prometheus::Error> {
        self.registered(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    fn real_gauges(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<GaugeVec, prometheus::Error> {
        self.registered(GaugeVec::new(Opts::new(name, help), labels)?)
    }

    fn histograms<const N: usize>(
        &self,
        name: &str,
        help: &str,
        buckets: [f64; N],
        labels: &[&str],
    ) -> Result<HistogramVec, prometheus::Error> {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.registered(HistogramVec::new(options, labels)?)
    }
}

impl RingMetrics {
    /// Counts a record that was not published.
    pub fn refused(&self, reason: Refusal) {
        self.refused_many(reason, 1);
    }

    /// Counts records that were refused together.
    pub fn refused_many(&self, reason: Refusal, records: u64) {
        self.refused[reason.index()].inc_by(records);
    }

    /// Returns how many records were not published, by the place of the reason in
    /// [`Refusal::LABELS`].
    pub fn refusals(&self) -> [u64; Refusal::LABELS.len()] {
        std::array::from_fn(|reason| self.refused[reason].get())
    }

    /// Returns how many readers were evicted for this reason.
    pub fn evictions(&self, reason: Eviction) -> u64 {
        self.evictions[reason as usize].get()
    }

    /// Counts a message whose trace is recorded, which was published after so many seconds; or one
    /// that was refused for a reason, with so many records.
    #[cfg(feature = "otel")]
    pub fn traced(&self, exemplar: Exemplar, refusal: Option<&str>) {
        if let Some(reason) = refusal {
            self.exemplars.refused(reason, exemplar);
        } else {
            self.traced.observe(exemplar.value);
            self.exemplars.published(exemplar);
        }
    }

    /// Counts a reader that was evicted.
    pub fn evicted(&self, reason: Eviction) {
        self.evictions[reason as usize].inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value of a line, `None` if it is not there.
    fn value(metrics: &Metrics, line: &str) -> Option<f64> {
        let text = String::from_utf8(metrics.text().expect("text")).expect("UTF-8");
        let rest = text.lines().find_map(|each| each.strip_prefix(line)?.strip_prefix(' '));
        rest.map(|number| number.parse().expect("a number"))
    }

    #[test]
    fn the_metrics_of_a_ring_are_there_from_the_start_by_all_their_labels() {
        let metrics = Metrics::new().expect("distinct names");
        let ring = metrics.ring("r", 4096);
        let subscription = metrics.subscription("r", "s");
        assert_eq!(value(&metrics, "aqueduct_ring_capacity_bytes{ring=\"r\"}"), Some(4096.0));
        for (place, reason) in Refusal::LABELS.into_iter().enumerate() {
            let line = format!("aqueduct_records_rejected_total{{reason=\"{reason}\",ring=\"r\"}}");
            assert_eq!(value(&metrics, &line), Some(0.0), "{reason}");
            assert_eq!(ring.refusals()[place], 0);
        }
        ring.refused(Refusal::BadType);
        ring.refused_many(Refusal::BadType, 4);
        let index = Refusal::BadType.index();
        assert_eq!(ring.refusals()[index], 5);
        assert_eq!(ring.refusals().iter().sum::<u64>(), 5);
        for (reason, label, times) in [
            (Eviction::Cursor, "cursor", 1),
            (Eviction::Packet, "packet", 2),
            (Eviction::Operator, "operator", 3),
        ] {
            (0..times).for_each(|_| ring.evicted(reason));
            assert_eq!(ring.evictions(reason), times);
            let line = format!("aqueduct_evictions_total{{reason=\"{label}\",ring=\"r\"}}");
            assert_eq!(value(&metrics, &line), u32::try_from(times).ok().map(f64::from));
        }
        subscription.lag_records.set(7);
        let line = "aqueduct_subscription_lag_records{ring=\"r\",subscription=\"s\"}";
        assert_eq!(value(&metrics, line), Some(7.0));
        ring.wait.observe(0.001);
        let line = "aqueduct_publish_wait_seconds_bucket{ring=\"r\",le=\"0.0005\"}";
        assert_eq!(value(&metrics, line), Some(0.0));
        let line = "aqueduct_publish_wait_seconds_bucket{ring=\"r\",le=\"0.0025\"}";
        assert_eq!(value(&metrics, line), Some(1.0));
        let journal = metrics.journal("r");
        journal.batch.observe(3.0);
        assert_eq!(value(&metrics, "aqueduct_journal_batch_records_sum{ring=\"r\"}"), Some(3.0));
    }

    #[test]
    fn counts_of_elsewhere_only_grow_and_are_counted_once() {
        let metrics = Metrics::new().expect("distinct names");
        metrics.count_log_lines(3, 5);
        metrics.count_log_lines(3, 5);
        metrics.count_log_lines(2, 9);
        assert_eq!(metrics.log_lines_dropped(), 3);
        assert_eq!(value(&metrics, "aqueduct_log_lines_dropped_total"), Some(3.0));
        assert_eq!(value(&metrics, "aqueduct_log_lines_suppressed_total"), Some(9.0));
        #[cfg(feature = "otel")]
        {
            metrics.count_telemetry("spans", [1, 2, 3]);
            metrics.count_telemetry("spans", [4, 2, 1]);
            for (name, count) in [("sent", 4.0), ("lost", 2.0), ("failures", 3.0)] {
                let line = format!("aqueduct_telemetry_{name}_total{{signal=\"spans\"}}");
                assert_eq!(value(&metrics, &line), Some(count));
            }
            assert!(!metrics.gather().is_empty());
        }
    }

    #[test]
    fn the_end_of_a_certificate_is_there_as_long_as_there_is_one() {
        let metrics = Metrics::new().expect("distinct names");
        let line = |file: &str| {
            let name = "aqueduct_tls_certificate_expiry_timestamp_seconds";
            value(&metrics, &format!("{name}{{file=\"{file}\"}}"))
        };
        assert_eq!((metrics.certificate(), line("a")), (None, None));
        metrics.certificate_expires("a", Some(7));
        assert_eq!((metrics.certificate(), line("a")), (Some(("a".into(), 7)), Some(7.0)));
        metrics.certificate_expires("b", Some(8));
        assert_eq!((line("a"), line("b")), (None, Some(8.0)));
        metrics.certificate_expires("b", None);
        assert_eq!((metrics.certificate(), line("b")), (None, None));
    }

    #[test]
    fn the_process_says_when_it_was_started() {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now = i64::try_from(now.expect("after 1970").as_secs()).expect("small");
        assert!((now - 60..=now).contains(&started_s()));
    }
}
