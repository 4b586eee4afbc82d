//! Lines of the log, as a layer that queues them to be sent.

use std::fmt::{Debug, Write};
use std::sync::Arc;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::inbox::Inbox;
use super::messages::{KeyValue, LogRecord, Value};
use super::now_ns;

/// Most bytes of a message or field. The log on stderr has all of it.
const TEXT_MAX: usize = 4096;

/// Queues each line.
pub(super) struct Lines(pub(super) Arc<Inbox>);

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let (severity_number, severity_text) = match *metadata.level() {
            Level::ERROR => (17, "ERROR"),
            Level::WARN => (13, "WARN"),
            Level::INFO => (9, "INFO"),
            Level::DEBUG => (5, "DEBUG"),
            Level::TRACE => (1, "TRACE"),
        };
        let now = now_ns();
        let mut fields = Fields::default();
        event.record(&mut fields);
        fields.attributes.push(KeyValue::text("code.namespace", metadata.target()));
        self.0.push_line(LogRecord {
            time_unix_nano: now,
            observed_time_unix_nano: now,
            severity_number,
            severity_text: severity_text.to_owned(),
            body: Some(Value::Text(fields.message).into()),
            attributes: fields.attributes,
        });
    }
}

/// Collects the fields of an event.
#[derive(Default)]
struct Fields {
    message: String,
    attributes: Vec<KeyValue>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        self.attributes.push(KeyValue::new(field.name(), value));
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = write!(text, "{value:?}");
        cut(&mut text);
        if field.name() == "message" {
            self.message = text;
        } else {
            self.put(field, Value::Text(text));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let mut text = value.to_owned();
        cut(&mut text);
        self.put(field, Value::Text(text));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Value::Int(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, Value::Int(i64::try_from(value).unwrap_or(i64::MAX)));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, Value::Double(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Value::Bool(value));
    }
}

fn cut(text: &mut String) {
    if text.len() > TEXT_MAX {
        let is_boundary = |at: &usize| text.is_char_boundary(*at);
        text.truncate((0..=TEXT_MAX).rev().find(is_boundary).unwrap_or(0));
    }
}
