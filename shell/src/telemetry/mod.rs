//! `OpenTelemetry`: spans, metrics and lines of the log, by OTLP over HTTP to a collector.
//!
//! A record whose attribute `traceparent` says that its trace is recorded gets a span, from the
//! receipt of its message to its publication, and the attribute is that of the span: whoever reads
//! the record continues the trace. Whoever has something to be sent only queues it; one thread
//! sends, and it alone waits. While the collector is slow or gone, what finds no room is lost and
//! counted, and nothing else changes.
//!
//! Without the cargo feature `otel` there are the settings, which are refused.
//!
//! The messages are those of OTLP, encoded by prost, and sent by hyper, which are there for other
//! reasons: the crates of `OpenTelemetry` bring a runtime or a second HTTP client, and a model of
//! spans that lives in thread locals, where here a span outlives the turn of its event loop.

#[cfg(feature = "otel")]
mod context;
#[cfg(feature = "otel")]
mod exporter;
#[cfg(feature = "otel")]
mod inbox;
#[cfg(feature = "otel")]
mod lines;
#[cfg(feature = "otel")]
pub mod messages;
#[cfg(feature = "otel")]
mod points;
#[cfg(feature = "otel")]
mod post;
#[cfg(feature = "otel")]
mod running;
mod settings;
#[cfg(feature = "otel")]
mod span;
#[cfg(feature = "otel")]
mod tracer;

#[cfg(feature = "otel")]
pub use context::Context;
#[cfg(feature = "otel")]
pub use exporter::Source;
#[cfg(feature = "otel")]
pub use inbox::{Counts, Signal};
#[cfg(feature = "otel")]
pub use running::{counts, end, lines, send, start, tracer};
pub use settings::{OtelSettings, OtelTable};
#[cfg(feature = "otel")]
pub use span::Span;
#[cfg(feature = "otel")]
pub use tracer::Tracer;

/// Length of a `traceparent` of version 00 (W3C Trace Context), bytes.
pub const TRACEPARENT_BYTES: usize = 55;

/// Now, since 1970, nanoseconds.
#[cfg(feature = "otel")]
pub fn now_ns() -> u64 {
    ns_since_1970(std::time::SystemTime::now())
}

/// A time as it is sent, since 1970, nanoseconds; 0 before that.
#[cfg(feature = "otel")]
pub fn ns_since_1970(time: std::time::SystemTime) -> u64 {
    let since = time.duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(all(test, feature = "otel"))]
mod tests {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn times_are_sent_in_nanoseconds_since_1970() {
        let of = |since: Duration| ns_since_1970(UNIX_EPOCH + since);
        assert_eq!(of(Duration::from_nanos(1_500_000_007)), 1_500_000_007);
        assert_eq!(ns_since_1970(UNIX_EPOCH - Duration::from_secs(1)), 0);
        let (before, now) = (ns_since_1970(SystemTime::now()), now_ns());
        assert!(before <= now && now <= ns_since_1970(SystemTime::now()));
    }
}
