//! What is counted, and the page that shows it. Only numbers: nobody waits here.
#![allow(clippy::disallowed_types, reason = "statistics of this process alone")]

use std::fmt::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aqueduct::admin::ForwarderStatus;
use aqueduct::log;

// ORDER(none): all of them are statistics; nothing is read because of them.
const ANY: Ordering = Ordering::Relaxed;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, ANY);
    }

    /// Returns it.
    pub fn get(&self) -> u64 {
        self.0.load(ANY)
    }
}

/// A number that comes and goes.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Sets it.
    pub fn set(&self, value: u64) {
        self.0.store(value, ANY);
    }

    /// Returns it.
    pub fn get(&self) -> u64 {
        self.0.load(ANY)
    }
}

/// From where to where records are carried.
#[derive(Clone, Debug)]
pub struct Flow {
    /// The kind of the sink.
    pub sink: String,
    /// The ring as it is configured: empty for the listener's only one.
    pub ring: String,
    /// The subscription.
    pub subscription: String,
}

/// All numbers of a process.
#[derive(Debug)]
pub struct Metrics {
    began: Instant,
    /// Records durably acknowledged by the other side.
    pub delivered_records: Counter,
    /// Bytes of their payloads.
    pub delivered_bytes: Counter,
    /// Batches acknowledged as a whole.
    pub delivered_batches: Counter,
    /// Records of types that are not wanted.
    pub filtered_records: Counter,
    /// Records that the other side had already, where it says so.
    pub known_records: Counter,
    /// Attempts that failed and were repeated.
    pub retries: Counter,
    /// Records in the dead-letter file.
    pub dead_lettered_records: Counter,
    /// Damaged records and stretches of the ring.
    pub damaged: Counter,
    /// Changes of epoch after which records are missing, as far as the ring tells.
    pub missed: Counter,
    /// Times that the circuit breaker opened.
    pub breaker_openings: Counter,
    /// Records read and not acknowledged, those that are still gathered among them.
    pub in_flight_records: Gauge,
    /// Records published and not read.
    pub lag_records: Gauge,
    /// Bytes that they take in the ring.
    pub lag_bytes: Gauge,
    /// Age of the oldest of them, milliseconds.
    pub lag_ms: Gauge,
    /// Whether the ring is attached.
    is_attached: AtomicBool,
    /// Whether the circuit is open.
    is_open: AtomicBool,
    /// Whether the last thing that the other side did was an answer.
    is_answering: AtomicBool,
    /// When it last acknowledged a batch or answered a probe, milliseconds after the beginning; 0:
    /// never.
    answered_ms: AtomicU64,
    /// When it last acknowledged a batch; 0: never.
    acknowledged_ms: AtomicU64,
    /// Since when records wait for their acknowledgement; 0: none do.
    waiting_since_ms: AtomicU64,
}

/// When a process is ready.
#[derive(Clone, Copy, Debug)]
pub struct Readiness {
    /// The longest that records may wait for their acknowledgement.
    pub acknowledgement: Duration,
    /// The most records that may be undelivered.
    pub lag_records: u64,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            delivered_records: Counter::default(),
            delivered_bytes: Counter::default(),
            delivered_batches: Counter::default(),
            filtered_records: Counter::default(),
            known_records: Counter::default(),
            retries: Counter::default(),
            dead_lettered_records: Counter::default(),
            damaged: Counter::default(),
            missed: Counter::default(),
            breaker_openings: Counter::default(),
            in_flight_records: Gauge::default(),
            lag_records: Gauge::default(),
            lag_bytes: Gauge::default(),
            lag_ms: Gauge::default(),
            is_attached: AtomicBool::default(),
            is_open: AtomicBool::default(),
            is_answering: AtomicBool::default(),
            answered_ms: AtomicU64::default(),
            acknowledged_ms: AtomicU64::default(),
            waiting_since_ms: AtomicU64::default(),
        }
    }
}

impl Metrics {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX).max(1)
    }

    /// Says whether there is a ring.
    pub fn attached(&self, is_attached: bool) {
        self.is_attached.store(is_attached, ANY);
    }

    /// Says whether records wait for their acknowledgement; those that are still gathered do not.
    pub fn waiting(&self, is_waiting: bool) {
        self.waiting_since_ms.store(if is_waiting { self.now_ms() } else { 0 }, ANY);
    }

    /// Says that records were acknowledged.
    pub fn acknowledged(&self, records: u64, bytes: u64) {
        self.delivered_records.add(records);
        self.delivered_bytes.add(bytes);
        self.acknowledged_ms.store(self.now_ms(), ANY);
        self.waiting_since_ms.store(self.now_ms(), ANY);
        self.answered();
    }

    /// Says that the other side is there.
    pub fn answered(&self) {
        self.answered_ms.store(self.now_ms(), ANY);
        self.is_answering.store(true, ANY);
    }

    /// Says that the other side is not.
    pub fn failed(&self) {
        self.is_answering.store(false, ANY);
    }

    /// Says whether the circuit is open.
    pub fn circuit(&self, is_open: bool) {
        if !self.is_open.swap(is_open, ANY) && is_open {
            self.breaker_openings.add(1);
        }
    }

    /// How long records have waited for an acknowledgement, milliseconds; 0 if none wait.
    fn waiting_ms(&self) -> u64 {
        match self.waiting_since_ms.load(ANY) {
            0 => 0,
            since => self.now_ms().saturating_sub(since),
        }
    }

    /// Says why the process is not ready; `None` if it is.
    pub fn unready(&self, limits: Readiness) -> Option<String> {
        if !self.is_attached.load(ANY) {
            return Some("not attached to the ring".to_owned());
        }
        if self.is_open.load(ANY) || !self.is_answering.load(ANY) {
            return Some("the other side does not answer".to_owned());
        }
        let limit = u64::try_from(limits.acknowledgement.as_millis()).unwrap_or(u64::MAX);
        let since = self.waiting_since_ms.load(ANY);
        if since > 0 && self.now_ms().saturating_sub(since) > limit {
            return Some(format!("records have waited {limit} ms for an acknowledgement"));
        }
        // An idle process asks now and then; one that was stopped, or hangs, does not.
        if since == 0 && self.now_ms().saturating_sub(self.answered_ms.load(ANY)) > limit {
            return Some(format!("the other side has said nothing for {limit} ms"));
        }
        let lag = self.lag_records.get() + self.in_flight_records.get();
        (lag > limits.lag_records).then(|| format!("{lag} records behind"))
    }

    /// Describes the process for the status page of the listener.
    pub fn status(&self, flow: &Flow, limits: Readiness) -> ForwarderStatus {
        let detail = self.unready(limits);
        let acknowledged = self.acknowledged_ms.load(ANY);
        let age = Duration::from_millis(self.now_ms().saturating_sub(acknowledged));
        ForwarderStatus {
            sink: flow.sink.clone(),
            ring: flow.ring.clone(),
            subscription: flow.subscription.clone(),
            ready: detail.is_none(),
            detail,
            delivered_records: self.delivered_records.get(),
            retries: self.retries.get(),
            dead_lettered_records: self.dead_lettered_records.get(),
            in_flight_records: self.in_flight_records.get(),
            lag_records: self.lag_records.get(),
            acknowledgement_age_seconds: (acknowledged > 0).then_some(age.as_secs_f64()),
        }
    }

    /// Writes them in Prometheus' text format.
    pub fn page(&self, sink: &str, limits: Readiness) -> String {
        let mut page = String::new();
        let mut write = |name: &str, kind: &str, help: &str, value: String| {
            // Writing to a string does not fail.
            let _ = writeln!(
                page,
                "# HELP aqueduct_forward_{name} {help}\n# TYPE aqueduct_forward_{name} {kind}\n\
                 aqueduct_forward_{name}{{sink=\"{sink}\"}} {value}"
            );
        };
        for (name, help, counter) in [
            ("delivered_records_total", "Records acknowledged.", &self.delivered_records),
            ("delivered_bytes_total", "Bytes of their payloads.", &self.delivered_bytes),
            ("delivered_batches_total", "Batches acknowledged.", &self.delivered_batches),
            ("filtered_records_total", "Records of unwanted types.", &self.filtered_records),
            ("known_records_total", "Records that were there already.", &self.known_records),
            ("retries_total", "Attempts that failed and were repeated.", &self.retries),
            (
                "dead_lettered_total",
                "Records in the dead-letter file.",
                &self.dead_lettered_records,
            ),
            ("damaged_total", "Damaged records and stretches of the ring.", &self.damaged),
            ("missed_total", "Changes of epoch that lost records.", &self.missed),
            ("breaker_openings_total", "Openings of the circuit.", &self.breaker_openings),
        ] {
            write(name, "counter", help, counter.get().to_string());
        }
        let help = "Log lines lost because nobody took them.";
        write("log_lines_dropped_total", "counter", help, log::dropped_lines().to_string());
        let help = "Log lines left out because there were too many of their kind.";
        write("log_lines_suppressed_total", "counter", help, log::suppressed_lines().to_string());
        for (name, help, gauge) in [
            ("in_flight_records", "Records read and not acknowledged.", &self.in_flight_records),
            ("lag_records", "Records published and not read.", &self.lag_records),
            ("lag_bytes", "Bytes that they take in the ring.", &self.lag_bytes),
        ] {
            write(name, "gauge", help, gauge.get().to_string());
        }
        let seconds = |ms: u64| format!("{}.{:03}", ms / 1000, ms % 1000);
        let help = "Age of the oldest record that was not read.";
        write("lag_seconds", "gauge", help, seconds(self.lag_ms.get()));
        let acknowledged = self.acknowledged_ms.load(ANY);
        let age = match acknowledged {
            0 => "NaN".to_owned(),
            at => seconds(self.now_ms().saturating_sub(at)),
        };
        let help = "Time since the last acknowledgement; NaN before the first.";
        write("last_acknowledgement_age_seconds", "gauge", help, age);
        let bit = |is: bool| u8::from(is).to_string();
        let help = "Time that records have waited for an acknowledgement; 0 if none do.";
        write("waiting_seconds", "gauge", help, seconds(self.waiting_ms()));
        let help = "1 while nothing is sent because too much failed.";
        write("breaker_open", "gauge", help, bit(self.is_open.load(ANY)));
        write("attached", "gauge", "1 with a ring.", bit(self.is_attached.load(ANY)));
        let help = "1 if ready.";
        write("ready", "gauge", help, bit(self.unready(limits).is_none()));
        let started = SystemTime::now().checked_sub(self.began.elapsed());
        let started = started.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let help = "Start time of the process since unix epoch in seconds.";
        let name = "process_start_time_seconds";
        // Writing to a string does not fail.
        let _ = writeln!(
            page,
            "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {}",
            started.map_or(0, |at| at.as_secs())
        );
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_means_attached_answering_and_not_behind() {
        let limits = Readiness { acknowledgement: Duration::from_millis(50), lag_records: 10 };
        let metrics = Metrics::default();
        assert_eq!(metrics.unready(limits).as_deref(), Some("not attached to the ring"));
        metrics.attached(true);
        let gone = Some("the other side does not answer".to_owned());
        assert_eq!(metrics.unready(limits), gone, "it never answered");
        metrics.answered();
        assert_eq!(metrics.unready(limits), None);
        metrics.lag_records.set(8);
        metrics.in_flight_records.set(3);
        assert_eq!(metrics.unready(limits).as_deref(), Some("11 records behind"));
        metrics.lag_records.set(0);
        metrics.failed();
        assert_eq!(metrics.unready(limits), gone);
        metrics.acknowledged(1, 1);
        metrics.waiting(true);
        std::thread::sleep(Duration::from_millis(60));
        let waiting = metrics.page("file", limits);
        assert!(
            waiting.contains("aqueduct_forward_waiting_seconds{sink=\"file\"} 0.0"),
            "{waiting}"
        );
        assert!(!waiting.contains("aqueduct_forward_waiting_seconds{sink=\"file\"} 0.000\n"));
        let slow = metrics.unready(limits).expect("too slow");
        assert!(slow.starts_with("records have waited"), "{slow}");
        metrics.waiting(false);
        assert!(metrics.unready(limits).is_some_and(|why| why.contains("said nothing")));
        metrics.answered();
        assert_eq!(metrics.unready(limits), None);
        metrics.circuit(true);
        metrics.circuit(true);
        assert_eq!((metrics.unready(limits), metrics.breaker_openings.get()), (gone, 1));
        let page = metrics.page("file", limits);
        assert!(page.contains("aqueduct_forward_ready{sink=\"file\"} 0\n"), "{page}");
        assert!(page.contains("aqueduct_forward_delivered_records_total{sink=\"file\"} 1\n"));
        assert!(page.contains("aqueduct_forward_waiting_seconds{sink=\"file\"} 0.000\n"));
        assert!(page.contains("\nprocess_start_time_seconds 1"), "{page}");
    }
}
