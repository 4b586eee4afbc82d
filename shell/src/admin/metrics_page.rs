//! The metrics in Prometheus' text format, brought up to date.

use super::{Admin, Page, health};
use crate::log;

/// Looks at everything that is not counted as it happens.
pub(super) fn refresh(admin: &Admin) {
    for ring in &admin.rings {
        ring.measure();
    }
    admin.metrics.ready.set(i64::from(health::obstacles(admin).is_empty()));
    let gauge = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
    admin.metrics.http_connections.set(gauge(admin.http_connections.used()));
    admin.metrics.control_connections.set(gauge(admin.control_connections.used()));
    let buffered = i64::try_from(admin.buffered.used()).unwrap_or(i64::MAX);
    admin.metrics.buffered_bytes.set(buffered);
    admin.metrics.count_log_lines(log::dropped_lines(), log::suppressed_lines());
    #[cfg(feature = "otel")]
    for signal in crate::telemetry::Signal::ALL {
        let crate::telemetry::Counts { sent, lost, failures } = crate::telemetry::counts(signal);
        admin.metrics.count_telemetry(signal.label(), [sent, lost, failures]);
    }
}

/// Writes all metrics down.
pub(super) fn page(admin: &Admin) -> Page {
    refresh(admin);
    match admin.metrics.text() {
        Ok(text) => Page::Content("text/plain; version=0.0.4; charset=utf-8", text),
        Err(error) => {
            tracing::error!(%error, "metrics not encoded");
            Page::Failed("the metrics cannot be encoded")
        }
    }
}

/// Writes all metrics down as `OpenMetrics`, with exemplars.
#[cfg(feature = "otel")]
pub(super) fn open_metrics(admin: &Admin) -> Page {
    refresh(admin);
    Page::Content(crate::metrics::OPEN_METRICS, admin.metrics.open_metrics().into_bytes())
}
