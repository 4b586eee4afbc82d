//! Hands whole bodies to the sink, and turns its verdict into the answer.

use super::answer::{Answer, Taken};
use super::batch::{self, BadBatch, Form, Verdict};
use super::{Body, Config};
use crate::codec::{Event, Kept, Outcome, Persistence, Reason, Record, Sink};

/// The refusal of every record while the process ends.
pub(super) const SHUTTING_DOWN: (u16, &str, &str) = (503, RETRY, "shutting down");
pub(super) const RETRY: &str = "retry-after: 1\r\n";

/// What became of a body.
pub(super) enum Published {
    /// It is answered.
    Answered(Persistence),
    /// There is no room yet: the body is to be shown again.
    Full,
}

/// Hands a whole body to the sink and answers, unless the ring is full.
pub(super) fn publish<S: Sink>(
    config: &Config,
    (body, kept): (&Body, &Kept),
    payload: &[u8],
    sink: &mut S,
    out: &mut Vec<u8>,
) -> Published {
    let epoch = body.ring.epoch;
    let (taken, refusal) = match body.form {
        Form::One => {
            let (ring, attributes) = (body.ring.id, kept.block());
            let record = Record { ring, type_tag: body.tag, payload, attributes };
            match sink.record(record) {
                Outcome::Accepted(seq) => {
                    (Taken { epoch, first: seq, last: seq, batch: None }, None)
                }
                Outcome::Full => return Published::Full,
                Outcome::Refused(reason) => (Taken::default(), Some((reason, 1))),
            }
        }
        form => match batch::append(sink, &body.ring, form, body.tag, kept, payload) {
            Verdict::Taken(first, last, count) => {
                (Taken { epoch, first, last, batch: Some(count) }, None)
            }
            Verdict::Full => return Published::Full,
            Verdict::Bad(BadBatch::Refused(size, reason)) => {
                (Taken::default(), Some((reason, size.records)))
            }
            Verdict::Bad(bad) => return refuse_batch(config, body, bad, sink, out),
        },
    };
    // The process may have begun to end since the head was read.
    let then = if sink.is_ending() { Persistence::Close } else { body.then };
    match refusal {
        None => {
            Answer::new(sink, out, body.cors(config), then).accepted(&taken);
            Published::Answered(then)
        }
        Some((reason, records)) => refuse(config, body, reason, records, then, sink, out),
    }
}

/// Answers a record or batch that the sink refused.
fn refuse<S: Sink>(
    config: &Config,
    body: &Body,
    reason: Reason,
    records: u64,
    then: Persistence,
    sink: &mut S,
    out: &mut Vec<u8>,
) -> Published {
    let ring = body.ring.id;
    sink.note(Event::Rejected { ring: Some(ring), reason, records });
    let cors = body.cors(config);
    let (status, lines, detail, then) = match reason {
        Reason::Full => {
            let name = sink.name(ring);
            let detail = format!("ring {name} stayed full: its readers have not released enough");
            (503, RETRY, detail, then)
        }
        Reason::ShuttingDown => {
            let (status, lines, detail) = SHUTTING_DOWN;
            (status, lines, detail.to_owned(), Persistence::Close)
        }
        Reason::Journal => {
            let name = sink.name(ring);
            (503, RETRY, format!("the journal of ring {name} failed: nothing is taken"), then)
        }
        Reason::TooLarge => (413, "", record_limit(body, sink), Persistence::Close),
        Reason::Denied => (403, "", "not allowed to write to this ring".to_owned(), then),
        Reason::BadType
        | Reason::Malformed
        | Reason::Timeout
        | Reason::Disconnected
        | Reason::NoMemory => (400, "", "the ring does not take this record".to_owned(), then),
    };
    Answer::new(sink, out, cors, then).problem(status, lines, &detail);
    Published::Answered(then)
}

/// Answers a batch that cannot be appended.
fn refuse_batch<S: Sink>(
    config: &Config,
    body: &Body,
    bad: BadBatch,
    sink: &mut S,
    out: &mut Vec<u8>,
) -> Published {
    let capacity = body.ring.capacity_bytes;
    let (status, reason, records, detail) = match bad {
        BadBatch::Malformed(index, why) => {
            (400, Reason::Malformed, 1, format!("record {index} of the batch: {why}"))
        }
        BadBatch::Empty => (400, Reason::Malformed, 0, "the batch holds no record".to_owned()),
        BadBatch::RecordTooLarge(index) => {
            let limit = record_limit(body, sink);
            (413, Reason::TooLarge, 1, format!("record {index} of the batch: {limit}"))
        }
        BadBatch::TooLarge(size) => {
            let (records, bytes) = (size.records, size.bytes());
            let detail = format!(
                "{records} records take {bytes} bytes with their headers; a ring of {capacity} \
                 bytes never has so much room at once"
            );
            (413, Reason::TooLarge, records, detail)
        }
        BadBatch::Refused(size, reason) => {
            return refuse(config, body, reason, size.records, body.then, sink, out);
        }
        BadBatch::Interrupted(taken) => {
            (500, Reason::Malformed, 1, format!("only {taken} records of the batch were taken"))
        }
    };
    if records > 0 {
        sink.note(Event::Rejected { ring: Some(body.ring.id), reason, records });
    }
    Answer::new(sink, out, body.cors(config), body.then).problem(status, "", &detail);
    Published::Answered(body.then)
}

/// Refuses a body that is larger than allowed. Its rest is not read.
pub(super) fn too_large<S: Sink>(config: &Config, body: &Body, sink: &mut S, out: &mut Vec<u8>) {
    let (ring, reason) = (Some(body.ring.id), Reason::TooLarge);
    sink.note(Event::Rejected { ring, reason, records: 1 });
    let detail = match body.form {
        Form::One => record_limit(body, sink),
        _ => format!("a batch has at most {} bytes", body.limit),
    };
    Answer::new(sink, out, body.cors(config), Persistence::Close).problem(413, "", &detail);
}

fn record_limit<S: Sink>(body: &Body, sink: &S) -> String {
    let (name, limit) = (sink.name(body.ring.id), body.ring.max_payload_bytes);
    match body.attribute_bytes {
        0 => format!("a record of ring {name} has at most {limit} bytes"),
        own => format!(
            "a record of ring {name} has at most {limit} bytes; its attributes take {own} of them"
        ),
    }
}
