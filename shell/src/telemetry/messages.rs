//! The messages of OTLP 1.x, as far as they are sent: `opentelemetry/proto/*/v1/*.proto` of
//! `open-telemetry/opentelemetry-proto`. What is left out is at its default.

/// What is sent to `/v1/traces`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Traces {
    /// One, of this process.
    #[prost(message, repeated, tag = "1")]
    pub resource_spans: Vec<ResourceSpans>,
}

/// Spans of a process.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ResourceSpans {
    /// The process.
    #[prost(message, optional, tag = "1")]
    pub resource: Option<Resource>,
    /// One.
    #[prost(message, repeated, tag = "2")]
    pub scope_spans: Vec<ScopeSpans>,
}

/// Spans of a library.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ScopeSpans {
    /// The library.
    #[prost(message, optional, tag = "1")]
    pub scope: Option<Scope>,
    /// The spans.
    #[prost(message, repeated, tag = "2")]
    pub spans: Vec<Span>,
}

/// A span.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Span {
    /// 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub trace_id: Vec<u8>,
    /// 8 bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub span_id: Vec<u8>,
    /// 8 bytes, or none of a root.
    #[prost(bytes = "vec", tag = "4")]
    pub parent_span_id: Vec<u8>,
    /// What is done to what.
    #[prost(string, tag = "5")]
    pub name: String,
    /// [`KIND_PRODUCER`].
    #[prost(int32, tag = "6")]
    pub kind: i32,
    /// Since 1970, nanoseconds.
    #[prost(fixed64, tag = "7")]
    pub start_time_unix_nano: u64,
    /// Since 1970, nanoseconds.
    #[prost(fixed64, tag = "8")]
    pub end_time_unix_nano: u64,
    /// What is known of it.
    #[prost(message, repeated, tag = "9")]
    pub attributes: Vec<KeyValue>,
    /// How it ended; left out if well.
    #[prost(message, optional, tag = "15")]
    pub status: Option<Status>,
    /// Those of W3C, and whether the parent is of another process.
    #[prost(fixed32, tag = "16")]
    pub flags: u32,
}

/// The kind of a span that hands something on.
pub const KIND_PRODUCER: i32 = 4;
/// The code of a span that failed.
pub const STATUS_ERROR: i32 = 2;

/// How a span ended.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Status {
    /// Why it failed.
    #[prost(string, tag = "2")]
    pub message: String,
    /// [`STATUS_ERROR`].
    #[prost(int32, tag = "3")]
    pub code: i32,
}

/// What is sent to `/v1/metrics`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Metrics {
    /// One, of this process.
    #[prost(message, repeated, tag = "1")]
    pub resource_metrics: Vec<ResourceMetrics>,
}

/// Metrics of a process.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ResourceMetrics {
    /// The process.
    #[prost(message, optional, tag = "1")]
    pub resource: Option<Resource>,
    /// One.
    #[prost(message, repeated, tag = "2")]
    pub scope_metrics: Vec<ScopeMetrics>,
}

/// Metrics of a library.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ScopeMetrics {
    /// The library.
    #[prost(message, optional, tag = "1")]
    pub scope: Option<Scope>,
    /// The metrics.
    #[prost(message, repeated, tag = "2")]
    pub metrics: Vec<Metric>,
}

/// A metric with all its labels.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Metric {
    /// Its name, with its unit.
    #[prost(string, tag = "1")]
    pub name: String,
    /// What it is.
    #[prost(string, tag = "2")]
    pub description: String,
    /// Its values.
    #[prost(oneof = "Data", tags = "5, 7, 9")]
    pub data: Option<Data>,
}

/// Values of a metric.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Data {
    /// What goes up and down.
    #[prost(message, tag = "5")]
    Gauge(Gauge),
    /// What only grows.
    #[prost(message, tag = "7")]
    Sum(Sum),
    /// How values are spread.
    #[prost(message, tag = "9")]
    Histogram(Histogram),
}

/// Values of what goes up and down.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Gauge {
    /// One for all values of labels.
    #[prost(message, repeated, tag = "1")]
    pub data_points: Vec<Point>,
}

/// Values of what only grows.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Sum {
    /// One for all values of labels.
    #[prost(message, repeated, tag = "1")]
    pub data_points: Vec<Point>,
    /// [`CUMULATIVE`].
    #[prost(int32, tag = "2")]
    pub aggregation_temporality: i32,
    /// True.
    #[prost(bool, tag = "3")]
    pub is_monotonic: bool,
}

/// Values count from the start of the process.
pub const CUMULATIVE: i32 = 2;

/// A value.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Point {
    /// Since when it counts: since 1970, nanoseconds.
    #[prost(fixed64, tag = "2")]
    pub start_time_unix_nano: u64,
    /// Since 1970, nanoseconds.
    #[prost(fixed64, tag = "3")]
    pub time_unix_nano: u64,
    /// The value: also written if it is 0.
    #[prost(double, optional, tag = "4")]
    pub as_double: Option<f64>,
    /// Its labels.
    #[prost(message, repeated, tag = "7")]
    pub attributes: Vec<KeyValue>,
}

/// Values of a histogram.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Histogram {
    /// One for all values of labels.
    #[prost(message, repeated, tag = "1")]
    pub data_points: Vec<Spread>,
    /// [`CUMULATIVE`].
    #[prost(int32, tag = "2")]
    pub aggregation_temporality: i32,
}

/// How values are spread.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Spread {
    /// Since when they are counted: since 1970, nanoseconds.
    #[prost(fixed64, tag = "2")]
    pub start_time_unix_nano: u64,
    /// Since 1970, nanoseconds.
    #[prost(fixed64, tag = "3")]
    pub time_unix_nano: u64,
    /// How many there are.
    #[prost(fixed64, tag = "4")]
    pub count: u64,
    /// Their sum.
    #[prost(double, optional, tag = "5")]
    pub sum: Option<f64>,
    /// How many are in each bucket; one more than bounds.
    #[prost(fixed64, repeated, tag = "6")]
    pub bucket_counts: Vec<u64>,
    /// Upper bounds of the buckets but the last.
    #[prost(double, repeated, tag = "7")]
    pub explicit_bounds: Vec<f64>,
    /// Labels.
    #[prost(message, repeated, tag = "9")]
    pub attributes: Vec<KeyValue>,
}

/// What is sent to `/v1/logs`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Logs {
    /// One, of this process.
    #[prost(message, repeated, tag = "1")]
    pub resource_logs: Vec<ResourceLogs>,
}

/// Lines of a process.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ResourceLogs {
    /// The process.
    #[prost(message, optional, tag = "1")]
    pub resource: Option<Resource>,
    /// One.
    #[prost(message, repeated, tag = "2")]
    pub scope_logs: Vec<ScopeLogs>,
}

/// Lines of a library.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ScopeLogs {
    /// The library.
    #[prost(message, optional, tag = "1")]
    pub scope: Option<Scope>,
    /// The lines.
    #[prost(message, repeated, tag = "2")]
    pub log_records: Vec<LogRecord>,
}

/// A line of the log.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LogRecord {
    /// Since 1970, nanoseconds.
    #[prost(fixed64, tag = "1")]
    pub time_unix_nano: u64,
    /// 1 to 24: `trace` 1, `debug` 5, `info` 9, `warn` 13, `error` 17.
    #[prost(int32, tag = "2")]
    pub severity_number: i32,
    /// The same as the log writes it.
    #[prost(string, tag = "3")]
    pub severity_text: String,
    /// The message.
    #[prost(message, optional, tag = "5")]
    pub body: Option<AnyValue>,
    /// The other fields.
    #[prost(message, repeated, tag = "6")]
    pub attributes: Vec<KeyValue>,
    /// When it was seen: since 1970, nanoseconds.
    #[prost(fixed64, tag = "11")]
    pub observed_time_unix_nano: u64,
}

/// Who sends.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Resource {
    /// What it is.
    #[prost(message, repeated, tag = "1")]
    pub attributes: Vec<KeyValue>,
}

/// What made it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Scope {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its version.
    #[prost(string, tag = "2")]
    pub version: String,
}

/// A named value.
#[derive(Clone, PartialEq, prost::Message)]
pub struct KeyValue {
    /// Its name.
    #[prost(string, tag = "1")]
    pub key: String,
    /// The value.
    #[prost(message, optional, tag = "2")]
    pub value: Option<AnyValue>,
}

/// A value.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AnyValue {
    /// One of its types.
    #[prost(oneof = "Value", tags = "1, 2, 3, 4")]
    pub value: Option<Value>,
}

/// Types of values.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Value {
    /// Text.
    #[prost(string, tag = "1")]
    Text(String),
    /// True or false.
    #[prost(bool, tag = "2")]
    Bool(bool),
    /// A whole number.
    #[prost(int64, tag = "3")]
    Int(i64),
    /// Any number.
    #[prost(double, tag = "4")]
    Double(f64),
}

/// What a collector answers.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Answer {
    /// There if it did not take everything.
    #[prost(message, optional, tag = "1")]
    pub partial_success: Option<PartialSuccess>,
}

/// What a collector did not take.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PartialSuccess {
    /// How much.
    #[prost(int64, tag = "1")]
    pub rejected: i64,
    /// Why.
    #[prost(string, tag = "2")]
    pub error_message: String,
}

impl From<Value> for AnyValue {
    fn from(value: Value) -> Self {
        Self { value: Some(value) }
    }
}

impl KeyValue {
    /// Names a value.
    pub fn new(key: impl Into<String>, value: Value) -> Self {
        Self { key: key.into(), value: Some(value.into()) }
    }

    /// Names a text.
    pub fn text(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self::new(key, Value::Text(value.into()))
    }

    /// Names a number.
    pub fn number(key: impl Into<String>, value: u64) -> Self {
        Self::new(key, Value::Int(i64::try_from(value).unwrap_or(i64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    #[test]
    fn named_values_are_encoded_as_opentelemetry_has_them() {
        for (pair, bytes) in [
            (KeyValue::text("a", "b"), &b"\x0a\x01a\x12\x03\x0a\x01b"[..]),
            (KeyValue::number("a", 7), b"\x0a\x01a\x12\x02\x18\x07"),
            (KeyValue::new("a", Value::Bool(true)), b"\x0a\x01a\x12\x02\x10\x01"),
            (KeyValue::new("a", Value::Double(1.0)), b"\x0a\x01a\x12\x09\x21\0\0\0\0\0\0\xf0\x3f"),
        ] {
            assert_eq!(pair.encode_to_vec(), bytes, "{pair:?}");
        }
        let largest = KeyValue::new("a", Value::Int(i64::MAX));
        assert_eq!(KeyValue::number("a", u64::MAX), largest);
    }
}
