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

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// What is queued of the lines that this logs.
    fn logged(log: impl FnOnce()) -> Vec<LogRecord> {
        let inbox = Arc::<Inbox>::default();
        let lines = tracing_subscriber::registry().with(Lines(Arc::clone(&inbox)));
        tracing::subscriber::with_default(lines, log);
        inbox.take(Instant::now(), (true, true)).lines
    }

    #[test]
    fn a_line_has_its_severity_its_message_and_every_field_by_its_type() {
        let lines = logged(|| {
            tracing::error!("a");
            tracing::warn!("b");
            tracing::info!("c");
            tracing::debug!("d");
            tracing::trace!("e");
        });
        let severities = lines.iter().map(|line| (line.severity_number, &*line.severity_text));
        let expected = [(17, "ERROR"), (13, "WARN"), (9, "INFO"), (5, "DEBUG"), (1, "TRACE")];
        assert_eq!(severities.collect::<Vec<_>>(), expected);
        assert_eq!(lines[3].body, Some(Value::Text("d".to_owned()).into()));
        assert!(lines.iter().all(|line| {
            line.time_unix_nano > 1 << 60 && line.time_unix_nano == line.observed_time_unix_nano
        }));

        let line = &logged(|| {
            tracing::info!(
                target: "t",
                text = "x",
                shown = %"y",
                less = -1_i64,
                more = 2_u64,
                most = u64::MAX,
                part = 0.5,
                is = true,
                "said"
            );
        })[0];
        let expected = vec![
            KeyValue::text("text", "x"),
            KeyValue::text("shown", "y"),
            KeyValue::new("less", Value::Int(-1)),
            KeyValue::new("more", Value::Int(2)),
            KeyValue::new("most", Value::Int(i64::MAX)),
            KeyValue::new("part", Value::Double(0.5)),
            KeyValue::new("is", Value::Bool(true)),
            KeyValue::text("code.namespace", "t"),
        ];
        assert_eq!(line.attributes, expected);
        assert_eq!(line.body, Some(Value::Text("said".to_owned()).into()));
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let cut_at = |text: &str| {
            let mut text = text.to_owned();
            cut(&mut text);
            text.len()
        };
        assert_eq!(cut_at(&"x".repeat(TEXT_MAX)), TEXT_MAX);
        assert_eq!(cut_at(&"x".repeat(TEXT_MAX + 1)), TEXT_MAX);
        assert_eq!(cut_at(&("x".to_owned() + &"\u{e4}".repeat(TEXT_MAX))), TEXT_MAX - 1);
        let long = "x".repeat(TEXT_MAX + 1);
        let line = &logged(|| tracing::info!(field = &*long, other = %long, "{long}"))[0];
        let short = "x".repeat(TEXT_MAX);
        assert_eq!(line.attributes[0], KeyValue::text("field", &*short));
        assert_eq!(line.attributes[1], KeyValue::text("other", &*short));
        assert_eq!(line.body, Some(Value::Text(short).into()));
    }
}
