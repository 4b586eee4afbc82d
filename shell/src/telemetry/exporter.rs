//! The thread that encodes and sends. It alone waits for the collector; each request has a bound,
//! and one that failed is sent again later, while what comes meanwhile waits or is lost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus::proto::MetricFamily;
use prost::Message;

use super::inbox::{Inbox, Signal, Taken};
use super::messages::{
    KeyValue, Logs, Metrics, Resource, ResourceLogs, ResourceMetrics, ResourceSpans, Scope,
    ScopeLogs, ScopeMetrics, ScopeSpans, Traces,
};
use super::post::{Failure, post};
use super::{OtelSettings, now_ns, points};

/// How long spans and lines wait for others.
const TICK: Duration = Duration::from_secs(1);
/// The first wait after a failure; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// What the last requests may take in all.
pub(super) const LAST_WORDS: Duration = Duration::from_millis(500);

/// Brings the metrics up to date and returns them.
pub type Source = Box<dyn Fn() -> Vec<MetricFamily> + Send>;

/// Who sends.
pub(super) struct Exporter {
    settings: OtelSettings,
    inbox: Arc<Inbox>,
    source: Source,
    resource: Resource,
    start_ns: u64,
    spans: Outgoing,
    lines: Outgoing,
    points: Outgoing,
    metrics_at: Instant,
    /// That the collector takes nothing was said.
    has_complained: bool,
}

/// Requests of one signal.
struct Outgoing {
    signal: Signal,
    path: String,
    /// What is to be sent, and how much it is.
    body: Option<(Vec<u8>, u64)>,
    failures: u32,
    /// Not before.
    at: Instant,
}

impl Exporter {
    pub(super) fn new(settings: OtelSettings, inbox: Arc<Inbox>, source: Source) -> Self {
        let outgoing = |signal, path: &str| Outgoing {
            signal,
            path: format!("{}/v1/{path}", settings.base),
            body: None,
            failures: 0,
            at: Instant::now(),
        };
        Self {
            resource: resource(&settings.service_name),
            start_ns: now_ns(),
            spans: outgoing(Signal::Spans, "traces"),
            lines: outgoing(Signal::Lines, "logs"),
            points: outgoing(Signal::Points, "metrics"),
            metrics_at: Instant::now(),
            has_complained: false,
            settings,
            inbox,
            source,
        }
    }

    /// Sends until the end.
    pub(super) fn run(mut self) {
        loop {
            let wanted = (self.spans.body.is_none(), self.lines.body.is_none());
            let taken = self.inbox.take(Instant::now() + TICK, wanted);
            let is_ending = taken.is_ending;
            self.encode(taken);
            let deadline = is_ending.then(|| Instant::now() + LAST_WORDS);
            for which in [Signal::Spans, Signal::Lines, Signal::Points] {
                self.send(which, deadline);
            }
            if is_ending {
                for outgoing in [&self.spans, &self.lines] {
                    let left = outgoing.body.as_ref().map_or(0, |(_, count)| *count);
                    self.inbox.lose(outgoing.signal, left);
                }
                self.inbox.finish();
                return;
            }
        }
    }

    /// Makes requests of what was taken, and of the metrics when it is time.
    fn encode(&mut self, taken: Taken) {
        let Taken { spans, lines, is_ending } = taken;
        let resource = || Some(self.resource.clone());
        if !spans.is_empty() {
            let count = spans.len() as u64;
            let spans = spans.iter().map(super::Span::message).collect();
            let scope_spans = vec![ScopeSpans { scope: scope(), spans }];
            let resource_spans = vec![ResourceSpans { resource: resource(), scope_spans }];
            self.spans.body = Some((Traces { resource_spans }.encode_to_vec(), count));
        }
        if !lines.is_empty() {
            let count = lines.len() as u64;
            let scope_logs = vec![ScopeLogs { scope: scope(), log_records: lines }];
            let resource_logs = vec![ResourceLogs { resource: resource(), scope_logs }];
            self.lines.body = Some((Logs { resource_logs }.encode_to_vec(), count));
        }
        let now = Instant::now();
        if self.settings.metrics && (now >= self.metrics_at || is_ending) {
            self.metrics_at = now + self.settings.metrics_interval;
            let (metrics, count) = points::metrics(&(self.source)(), self.start_ns, now_ns());
            let scope_metrics = vec![ScopeMetrics { scope: scope(), metrics }];
            let resource_metrics = vec![ResourceMetrics { resource: resource(), scope_metrics }];
            let body = Metrics { resource_metrics }.encode_to_vec();
            // Later values say what earlier ones did, so nothing but a point of a curve is lost.
            if let Some((_, lost)) = self.points.body.replace((body, count)) {
                self.inbox.lose(Signal::Points, lost);
            }
        }
    }

    fn outgoing(&mut self, signal: Signal) -> &mut Outgoing {
        match signal {
            Signal::Spans => &mut self.spans,
            Signal::Lines => &mut self.lines,
            Signal::Points => &mut self.points,
        }
    }

    /// Sends what there is of a signal, if it is time.
    fn send(&mut self, signal: Signal, deadline: Option<Instant>) {
        let now = Instant::now();
        let left = deadline.map(|deadline| deadline.saturating_duration_since(now));
        let timeout = self.settings.timeout.min(left.unwrap_or(Duration::MAX));
        let outgoing = self.outgoing(signal);
        if outgoing.at > now && deadline.is_none() || timeout.is_zero() {
            return;
        }
        let Some((body, count)) = outgoing.body.take() else { return };
        let path = outgoing.path.clone();
        match smol::block_on(post(&self.settings, &path, body.clone(), timeout)) {
            Ok(rejected) => {
                let rejected = rejected.min(count);
                self.inbox.sent(signal, count - rejected);
                self.inbox.lose(signal, rejected);
                self.outgoing(signal).failures = 0;
                if std::mem::take(&mut self.has_complained) {
                    tracing::info!(
                        collector = self.settings.authority,
                        "the collector takes telemetry again"
                    );
                }
            }
            Err(failure) => self.failed(signal, (body, count), &failure),
        }
    }

    fn failed(&mut self, signal: Signal, (body, count): (Vec<u8>, u64), failure: &Failure) {
        self.inbox.failed(signal);
        if failure.is_final {
            self.inbox.lose(signal, count);
        }
        let outgoing = self.outgoing(signal);
        let wait = FIRST_WAIT * 2_u32.saturating_pow(outgoing.failures.min(16));
        outgoing.failures += 1;
        outgoing.at = Instant::now() + wait.min(LONGEST_WAIT);
        outgoing.body = (!failure.is_final).then_some((body, count));
        if !std::mem::replace(&mut self.has_complained, true) {
            tracing::warn!(
                collector = self.settings.authority,
                signal = signal.label(),
                reason = failure.reason,
                "the collector does not take telemetry: what finds no room is lost and counted"
            );
        }
    }
}

/// Who sends, by the semantic conventions.
fn resource(service_name: &str) -> Resource {
    let mut id = [0; 16];
    let _ = rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::NONBLOCK);
    // Of Linux; elsewhere, and where /proc is not there, nobody knows it.
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    Resource {
        attributes: vec![
            KeyValue::text("service.name", service_name),
            KeyValue::text("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::text("service.instance.id", format!("{:032x}", u128::from_ne_bytes(id))),
            KeyValue::text("host.name", host.trim()),
            KeyValue::number("process.pid", u64::from(std::process::id())),
        ],
    }
}

#[allow(clippy::unnecessary_wraps, reason = "what a message has")]
fn scope() -> Option<Scope> {
    Some(Scope { name: "aqueduct".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() })
}

#[cfg(test)]
mod tests;
