//! Hands whole bodies to the sink, and turns its verdict into the answer.

use std::ops::Range;
use std::time::Duration;

use super::answer::{Answer, Taken};
use super::batch::{self, BadBatch, Form, Verdict};
use super::on_route::{self, OnRoute};
use super::wants::{Consumed, Wants};
use super::{Body, Config};
use crate::codec::{
    BatchSize, Event, Kept, Keyed, Outcome, Persistence, Reason, Recall, Record, Release, Ring,
    RingId, Seen, Sink,
};
use crate::middleware::Problem;

/// The refusal of every record while the process ends.
pub(super) const SHUTTING_DOWN: (u16, &str, &str) = (503, RETRY, "shutting down");
pub(super) const RETRY: &str = "retry-after: 1\r\n";

/// What became of a body.
pub(super) enum Published {
    /// It is answered.
    Answered(Persistence),
    /// There is no room yet: the body is to be shown again, a batch with what it takes.
    Full(Option<BatchSize>),
    /// Its answer, the last bytes of the output, waits for readers.
    Awaited(Persistence, Box<Awaited>),
}

/// An answer that waits for readers.
pub(super) struct Awaited {
    pub(super) bytes: Range<usize>,
    pub(super) of: Vec<Release>,
    pub(super) within: Duration,
    /// What is answered if they take too long.
    pub(super) late: Vec<u8>,
}

/// A request for records.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) config: &'a Config,
    pub(super) body: &'a Body,
    pub(super) kept: &'a Kept,
    pub(super) wants: &'a Wants,
    /// What is known of it if it came by a route.
    pub(super) on_route: Option<&'a OnRoute>,
}

impl<'a> Asked<'a> {
    /// Begins its answer.
    pub(super) fn answer<S: Sink>(
        &self,
        sink: &'a mut S,
        out: &'a mut Vec<u8>,
        then: Persistence,
    ) -> Answer<'a, S> {
        let exchange = self.on_route.map(|on| &on.exchange);
        Answer::new(sink, out, self.body.cors(self.config), then).of(exchange)
    }

    /// Its body with the key that it has, for these rings if they are several.
    fn keyed<'k>(&'k self, payload: &'k [u8], rings: &'k [RingId]) -> Option<Keyed<'k>> {
        let owner = self.on_route.and_then(|on| on.exchange.credential.as_ref());
        let owner = owner.map_or(&b""[..], |credential| credential.name.as_bytes());
        let key = self.wants.key.as_deref()?;
        Some(Keyed { owner, key, type_tag: self.body.tag, body: payload, rings })
    }

    /// The rings of a record that goes to several.
    fn several(&self) -> Option<&'a [Ring]> {
        self.on_route.map(|on| &*on.rings).filter(|rings| rings.len() > 1)
    }
}

/// Hands a whole body to the sink and answers, unless the ring is full.
pub(super) fn publish<S: Sink>(
    asked: Asked<'_>,
    payload: &[u8],
    sink: &mut S,
    out: &mut Vec<u8>,
) -> Published {
    let Asked { body, kept, .. } = asked;
    if let Some(rings) = asked.several() {
        return fan_out(asked, rings, payload, sink, out);
    }
    let epoch = body.ring.epoch;
    let ring = body.ring.id;
    let keyed = asked.keyed(payload, &[]);
    let recalled = keyed.as_ref().map(|keyed| sink.recall(ring, keyed));
    let (taken, refusal) = match (recalled, body.form) {
        (Some(Recall::Conflict), _) => return refuse_key(asked, 422, OTHER_BODY, sink, out),
        (Some(Recall::Off), _) => return refuse_key(asked, 400, NO_KEYS, sink, out),
        (Some(Recall::Seen(seen)), form) => {
            let batch = (form != Form::One).then_some(seen.records);
            (Taken { epoch, first: seen.first, last: seen.last, batch }, None)
        }
        (_, Form::One) => {
            let (ring, attributes) = (body.ring.id, kept.block());
            let record = Record { ring, type_tag: body.tag, payload, attributes };
            match sink.record(record) {
                Outcome::Accepted(seq) => {
                    (Taken { epoch, first: seq, last: seq, batch: None }, None)
                }
                Outcome::Full => return Published::Full(None),
                Outcome::Refused(reason) => (Taken::default(), Some((reason, 1))),
            }
        }
        (_, form) => match batch::append(sink, body, form, kept, payload) {
            Verdict::Taken(first, last, count) => {
                (Taken { epoch, first, last, batch: Some(count) }, None)
            }
            Verdict::Full(size) => return Published::Full(Some(size)),
            Verdict::Bad(BadBatch::Refused(size, reason)) => {
                (Taken::default(), Some((reason, size.records)))
            }
            Verdict::Bad(bad) => return refuse_batch(asked, bad, sink, out),
        },
    };
    // The process may have begun to end since the head was read.
    let then = if sink.is_ending() { Persistence::Close } else { body.then };
    match refusal {
        None => {
            if let (Some(keyed), Some(Recall::New)) = (&keyed, recalled) {
                let Taken { first, last, batch, .. } = taken;
                sink.remember(ring, keyed, Seen { first, last, records: batch.unwrap_or(1) });
            }
            let is_repeated = matches!(recalled, Some(Recall::Seen(_)));
            let lines = if is_repeated { REPEATED } else { "" };
            answer(asked, &taken, &[], lines, then, sink, out)
        }
        Some((reason, records)) => refuse(asked, reason, records, then, sink, out),
    }
}

/// Said of an answer that was given before.
const REPEATED: &str = "idempotent-replayed: true\r\n";
const OTHER_BODY: &str =
    "this idempotency-key came before with another body or type, or for other rings";
const NO_KEYS: &str = "idempotency keys are not remembered here";

/// Refuses a request for its key.
fn refuse_key<S: Sink>(
    asked: Asked<'_>,
    status: u16,
    detail: &str,
    sink: &mut S,
    out: &mut Vec<u8>,
) -> Published {
    let (ring, reason) = (Some(asked.body.ring.id), Reason::Malformed);
    sink.note(Event::Rejected { ring, reason, records: 1 });
    let then = if sink.is_ending() { Persistence::Close } else { asked.body.then };
    asked.answer(sink, out, then).problem(status, "", detail);
    Published::Answered(then)
}

/// Writes the answer of records that are in their ring, or in each of several: `more` are the names
/// of these and what each took. If readers are to release them, also the answer that is given if
/// they do not in time.
fn answer<S: Sink>(
    asked: Asked<'_>,
    taken: &Taken,
    more: &[(&str, Taken)],
    lines: &str,
    then: Persistence,
    sink: &mut S,
    out: &mut Vec<u8>,
) -> Published {
    let Some(consumed) = &asked.wants.consumed else {
        asked.answer(sink, out, then).with(lines).accepted(taken, more);
        return Published::Answered(then);
    };
    let Consumed { by, within } = consumed;
    let from = out.len();
    asked.answer(sink, out, then).with(lines).silently().accepted(taken, more);
    let bytes = from..out.len();
    let rings = asked.several().unwrap_or(std::slice::from_ref(&asked.body.ring));
    let seqs = more.iter().map(|(_, taken)| taken.last).chain(std::iter::once(taken.last));
    let release = |(index, (ring, seq)): (usize, (&Ring, u64))| {
        let by = by.as_ref().and_then(|places| places.get(index).copied());
        Release { ring: ring.id, seq, by }
    };
    let of = rings.iter().zip(seqs).enumerate().map(release).collect();
    let (seq, epoch, ms) = (taken.last, taken.epoch, within.as_millis());
    let who = match (by, more) {
        (None, _) => "not every reader has",
        (Some(_), []) => "its reader has not",
        (Some(_), _) => "not each of its readers has",
    };
    let detail =
        format!("record {seq} is published and stays published; {who} released it within {ms} ms");
    let mut members = format!(",\"seq\":{seq},\"epoch\":\"{epoch:016x}\"").into_bytes();
    Taken::push_several(&mut members, more);
    let seq_line = format!("{lines}aqueduct-seq: {seq}\r\n");
    let mut late = Vec::with_capacity(512);
    let answer = asked.answer(sink, &mut late, then).silently();
    answer.problem_with(504, &seq_line, &detail, &members);
    Published::Awaited(then, Box::new(Awaited { bytes, of, within: *within, late }))
}

/// Hands a record to several rings, or to none.
fn fan_out<S: Sink>(
    asked: Asked<'_>,
    rings: &[Ring],
    payload: &[u8],
    sink: &mut S,
    out: &mut Vec<u8>,
) -> Published {
    let Asked { body, kept, .. } = asked;
    let ids: Vec<_> = rings.iter().map(|ring| ring.id).collect();
    let (ring, attributes) = (body.ring.id, kept.block());
    let record = Record { ring, type_tag: body.tag, payload, attributes };
    let mut seqs = Vec::with_capacity(ids.len());
    let keyed = asked.keyed(payload, &ids);
    let recalled = keyed.as_ref().map(|keyed| sink.recall_all(keyed, &mut seqs));
    let outcome = match recalled {
        Some(Recall::Conflict) => return refuse_key(asked, 422, OTHER_BODY, sink, out),
        Some(Recall::Off) => return refuse_key(asked, 400, NO_KEYS, sink, out),
        Some(Recall::Seen(seen)) => Outcome::Accepted(seen.first),
        Some(Recall::New) | None => sink.fan_out(&ids, record, &mut seqs),
    };
    let then = if sink.is_ending() { Persistence::Close } else { body.then };
    match outcome {
        Outcome::Full => Published::Full(None),
        Outcome::Refused(reason) => refuse(asked, reason, 1, then, sink, out),
        Outcome::Accepted(_) => {
            if let (Some(keyed), Some(Recall::New)) = (&keyed, recalled) {
                sink.remember_all(keyed, &seqs);
            }
            let lines = if matches!(recalled, Some(Recall::Seen(_))) { REPEATED } else { "" };
            let names: Vec<_> = ids.iter().map(|id| sink.name(*id).to_owned()).collect();
            let taken = rings.iter().zip(&seqs).map(|(ring, &seq)| Taken {
                epoch: ring.epoch,
                first: seq,
                last: seq,
                batch: None,
            });
            let each: Vec<_> = names.iter().map(String::as_str).zip(taken).collect();
            let first = each.first().map(|(_, taken)| *taken).unwrap_or_default();
            answer(asked, &first, &each, lines, then, sink, out)
        }
    }
}

/// Answers a record or batch that the sink refused.
fn refuse<S: Sink>(
    asked: Asked<'_>,
    reason: Reason,
    records: u64,
    then: Persistence,
    sink: &mut S,
    out: &mut Vec<u8>,
) -> Published {
    let body = asked.body;
    let ring = body.ring.id;
    sink.note(Event::Rejected { ring: Some(ring), reason, records });
    let (status, lines, detail, then) = match reason {
        Reason::Full => {
            let detail = match asked.several() {
                None if sink.is_out_of_space(ring) => {
                    let name = sink.name(ring);
                    format!("ring {name} takes nothing: there is no space for its journal")
                }
                None => {
                    let name = sink.name(ring);
                    format!("ring {name} stayed full: its readers have not released enough")
                }
                Some(rings) => {
                    let names: Vec<_> = rings.iter().map(|ring| sink.name(ring.id)).collect();
                    let names = names.join(", ");
                    format!("not all of the rings {names} had room: the record is in none of them")
                }
            };
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
        | Reason::RateLimited
        | Reason::Malformed
        | Reason::Timeout
        | Reason::Disconnected
        | Reason::NoMemory => (400, "", "the ring does not take this record".to_owned(), then),
    };
    asked.answer(sink, out, then).problem(status, lines, &detail);
    Published::Answered(then)
}

/// Answers a batch that cannot be appended.
fn refuse_batch<S: Sink>(
    asked: Asked<'_>,
    bad: BadBatch,
    sink: &mut S,
    out: &mut Vec<u8>,
) -> Published {
    let body = asked.body;
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
            return refuse(asked, reason, size.records, body.then, sink, out);
        }
        BadBatch::Interrupted(taken) => {
            (500, Reason::Malformed, 1, format!("only {taken} records of the batch were taken"))
        }
    };
    if records > 0 {
        sink.note(Event::Rejected { ring: Some(body.ring.id), reason, records });
    }
    asked.answer(sink, out, body.then).problem(status, "", &detail);
    Published::Answered(body.then)
}

/// Refuses a body that is larger than allowed. Its rest is not read.
pub(super) fn too_large<S: Sink>(asked: Asked<'_>, sink: &mut S, out: &mut Vec<u8>) {
    let body = asked.body;
    let (ring, reason) = (Some(body.ring.id), Reason::TooLarge);
    sink.note(Event::Rejected { ring, reason, records: 1 });
    // A unit of its route may say less than the ring, or more than a record if bodies are changed.
    let of_route = asked.on_route.map(|on| on.exchange.route()).is_some_and(|route| {
        let of_record = body.ring.max_payload_bytes as usize;
        route.changes_bodies() || body.limit < of_record.saturating_sub(body.attribute_bytes)
    });
    let detail = match body.form {
        Form::One if of_route => {
            format!("a body of this route has at most {} bytes", body.limit)
        }
        Form::One => record_limit(body, sink),
        _ => format!("a batch has at most {} bytes", body.limit),
    };
    asked.answer(sink, out, Persistence::Close).problem(413, "", &detail);
}

/// Refuses a body as a unit of its route does.
pub(super) fn refuse_changed<S: Sink>(
    asked: Asked<'_>,
    problem: &Problem,
    sink: &mut S,
    out: &mut Vec<u8>,
) -> Persistence {
    let (ring, reason) = (Some(asked.body.ring.id), on_route::reason(problem.fault));
    sink.note(Event::Rejected { ring, reason, records: 1 });
    let then = if sink.is_ending() { Persistence::Close } else { asked.body.then };
    asked.answer(sink, out, then).problem(problem.status, &problem.lines, &problem.detail);
    then
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
