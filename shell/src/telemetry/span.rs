//! A span: what became of a message from its receipt to its publication.

use super::messages::{self, KIND_PRODUCER, KeyValue, STATUS_ERROR};

/// Bits of a span's flags beyond those of W3C: it is known whether the parent is of another
/// process, and it is.
const REMOTE_PARENT: u32 = 0x300;

/// From the receipt of a message to its publication.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// The trace.
    pub trace_id: [u8; 16],
    /// The span.
    pub span_id: [u8; 8],
    /// Whom it continues; zero if nobody.
    pub parent_id: [u8; 8],
    /// Those of W3C.
    pub flags: u8,
    /// When the message was received, since 1970, nanoseconds.
    pub start_ns: u64,
    /// When readers could see it, since 1970, nanoseconds.
    pub end_ns: u64,
    /// The ring, or all of them with commas between.
    pub ring: String,
    /// Epoch of the first.
    pub epoch: u64,
    /// Number of the first record in it, unless it was refused.
    pub seq: Option<u64>,
    /// How many records it has.
    pub records: u64,
    /// Bytes of their payloads.
    pub payload_bytes: u64,
    /// How long it waited for space, ms.
    pub waited_ms: u64,
    /// Why it was refused.
    pub refusal: Option<&'static str>,
}

impl Span {
    /// Makes it what is sent. Names are those of the semantic conventions for messaging.
    pub(super) fn message(&self) -> messages::Span {
        let mut attributes = vec![
            KeyValue::text("messaging.system", "aqueduct"),
            KeyValue::text("messaging.operation.name", "publish"),
            KeyValue::text("messaging.operation.type", "send"),
            KeyValue::text("messaging.destination.name", self.ring.as_str()),
        ];
        if let Some(seq) = self.seq {
            let id = format!("{:016x}-{seq}", self.epoch);
            attributes.push(KeyValue::text("messaging.message.id", id));
        }
        if self.records == 1 {
            let bytes = self.payload_bytes;
            attributes.push(KeyValue::number("messaging.message.body.size", bytes));
        } else {
            attributes.push(KeyValue::number("messaging.batch.message_count", self.records));
        }
        if self.waited_ms > 0 {
            attributes.push(KeyValue::number("aqueduct.full_wait_ms", self.waited_ms));
        }
        if let Some(refusal) = self.refusal {
            attributes.push(KeyValue::text("error.type", refusal));
        }
        let has_parent = self.parent_id != [0; 8];
        let remote = if has_parent { REMOTE_PARENT } else { 0 };
        messages::Span {
            trace_id: self.trace_id.to_vec(),
            span_id: self.span_id.to_vec(),
            parent_span_id: if has_parent { self.parent_id.to_vec() } else { Vec::new() },
            name: format!("publish {}", self.ring),
            kind: KIND_PRODUCER,
            start_time_unix_nano: self.start_ns,
            // A clock that was set back makes no span of negative length.
            end_time_unix_nano: self.end_ns.max(self.start_ns),
            attributes,
            status: self.refusal.map(|refusal| messages::Status {
                message: format!("refused: {refusal}"),
                code: STATUS_ERROR,
            }),
            flags: u32::from(self.flags) | remote,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span() -> Span {
        Span {
            trace_id: [1; 16],
            span_id: [2; 8],
            parent_id: [3; 8],
            flags: 1,
            start_ns: 10,
            end_ns: 20,
            ring: "r".to_owned(),
            epoch: 0xab,
            seq: Some(7),
            records: 1,
            payload_bytes: 99,
            ..Span::default()
        }
    }

    fn names(message: &messages::Span) -> Vec<&str> {
        message.attributes.iter().skip(4).map(|each| each.key.as_str()).collect()
    }

    #[test]
    fn a_record_is_named_by_its_ring_epoch_and_number() {
        let message = span().message();
        assert_eq!((&*message.name, message.kind), ("publish r", KIND_PRODUCER));
        assert_eq!((message.trace_id.len(), &message.span_id[..]), (16, &[2; 8][..]));
        assert_eq!((&message.parent_span_id[..], message.flags), (&[3; 8][..], 0x301));
        assert_eq!((message.start_time_unix_nano, message.end_time_unix_nano), (10, 20));
        assert_eq!(message.status, None);
        let expected = vec![
            KeyValue::text("messaging.system", "aqueduct"),
            KeyValue::text("messaging.operation.name", "publish"),
            KeyValue::text("messaging.operation.type", "send"),
            KeyValue::text("messaging.destination.name", "r"),
            KeyValue::text("messaging.message.id", "00000000000000ab-7"),
            KeyValue::number("messaging.message.body.size", 99),
        ];
        assert_eq!(message.attributes, expected);
    }

    #[test]
    fn several_records_are_a_batch_and_a_wait_is_told() {
        let message = Span { records: 3, waited_ms: 1, ..span() }.message();
        let more =
            ["messaging.message.id", "messaging.batch.message_count", "aqueduct.full_wait_ms"];
        assert_eq!(names(&message), more);
        assert_eq!(message.attributes[5], KeyValue::number(more[1], 3));
        assert_eq!(message.attributes[6], KeyValue::number(more[2], 1));
    }

    #[test]
    fn a_refusal_is_an_error_and_has_no_number() {
        let message = Span { seq: None, refusal: Some("full"), ..span() }.message();
        assert_eq!(names(&message), ["messaging.message.body.size", "error.type"]);
        assert_eq!(message.attributes[5], KeyValue::text("error.type", "full"));
        let status = message.status.expect("an error");
        assert_eq!((&*status.message, status.code), ("refused: full", STATUS_ERROR));
    }

    #[test]
    fn a_root_has_no_parent_and_no_clock_makes_a_span_end_before_it_begins() {
        let message = Span { parent_id: [0; 8], end_ns: 5, ..span() }.message();
        assert_eq!((message.parent_span_id.len(), message.flags), (0, 1));
        assert_eq!((message.start_time_unix_nano, message.end_time_unix_nano), (10, 10));
    }
}
