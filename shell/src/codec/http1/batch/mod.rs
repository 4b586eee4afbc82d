//! Bodies that hold many records: lines, counted records, a JSON array.
//!
//! A batch is read twice: once to find that every record of it is well-formed and how much room
//! they need, and once to append them. So it is in the ring as a whole or not at all.

mod counted;
mod json;

use super::Body;
use crate::codec::sink::{BatchSize, Record, Ring, Sink};
use crate::codec::{Kept, Outcome, Reason, Room};

/// What a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// One record.
    One,
    /// `application/x-ndjson`: each line is a record, without its line end; empty lines are none.
    Lines,
    /// `application/vnd.aqueduct.records`: each record is its length (u32), its type tag (u16),
    /// both little-endian, and its payload.
    Counted,
    /// `application/vnd.aqueduct.records+json`: each element of one array is a record, as it is
    /// written there.
    JsonArray,
}

impl Form {
    /// What the value of `content-type` says, without its parameters.
    pub(super) fn of(content_type: Option<&[u8]>) -> Self {
        let media_type = content_type
            .and_then(|value| value.split(|byte| *byte == b';').next())
            .map_or(&b""[..], <[u8]>::trim_ascii);
        let is = |known: &[u8]| media_type.eq_ignore_ascii_case(known);
        if is(b"application/x-ndjson") {
            Self::Lines
        } else if is(b"application/vnd.aqueduct.records") {
            Self::Counted
        } else if is(b"application/vnd.aqueduct.records+json") {
            Self::JsonArray
        } else {
            Self::One
        }
    }
}

/// Why a batch is not in the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadBatch {
    /// The record of this index (from 0) breaks the format.
    Malformed(u64, &'static str),
    /// The record of this index is too large.
    RecordTooLarge(u64),
    /// All together they are more than the ring ever holds.
    TooLarge(BatchSize),
    /// There is none.
    Empty,
    /// The sink refused it.
    Refused(BatchSize, Reason),
    /// The sink broke its word after so many records.
    Interrupted(u64),
}

/// What became of a batch.
pub(super) enum Verdict {
    /// It is in the ring: the first and last sequence number and how many.
    Taken(u64, u64, u64),
    /// No room now for what it takes.
    Full(BatchSize),
    /// It is not in the ring.
    Bad(BadBatch),
}

/// Appends all records of `body`, or none, each with the attributes of the request, whose tag is
/// for the forms that do not name one.
pub(super) fn append<S: Sink>(
    sink: &mut S,
    request: &Body,
    form: Form,
    kept: &Kept,
    body: &[u8],
) -> Verdict {
    let (ring, tag, attributes) = (&request.ring, request.tag, kept.block());
    // One that waits for room is shown again each time that there may be some.
    let measured =
        request.measured.map_or_else(|| measure(ring, form, tag, kept.bytes(), body), Ok);
    let size = match measured {
        Ok(size) => size,
        Err(bad) => return Verdict::Bad(bad),
    };
    match sink.room(ring.id, size) {
        Room::Yes => {}
        Room::Full => return Verdict::Full(size),
        Room::Refused(reason) => return Verdict::Bad(BadBatch::Refused(size, reason)),
    }
    let (mut first, mut last, mut taken) = (0, 0, 0);
    let appended = for_each(form, tag, body, |type_tag, payload| {
        match sink.record(Record { ring: ring.id, type_tag, payload, attributes }) {
            Outcome::Accepted(seq) => {
                first = if taken == 0 { seq } else { first };
                (last, taken) = (seq, taken + 1);
                Ok(())
            }
            Outcome::Full | Outcome::Refused(_) => Err(BadBatch::Interrupted(taken)),
        }
    });
    debug_assert!(appended.is_ok(), "the sink said that there is room: {appended:?}");
    match appended {
        Ok(()) => Verdict::Taken(first, last, taken),
        Err(bad) => Verdict::Bad(bad),
    }
}

/// Checks every record and adds up what they take, each with so many bytes of attributes.
fn measure(
    ring: &Ring,
    form: Form,
    tag: u16,
    attribute_bytes: usize,
    body: &[u8],
) -> Result<BatchSize, BadBatch> {
    let mut size = BatchSize::default();
    for_each(form, tag, body, |_, payload| {
        let bytes = payload.len() + attribute_bytes;
        if bytes as u64 > u64::from(ring.max_payload_bytes) {
            return Err(BadBatch::RecordTooLarge(size.records));
        }
        size.add(bytes);
        Ok(())
    })?;
    if size.records == 0 {
        return Err(BadBatch::Empty);
    }
    if !size.fits(ring) {
        return Err(BadBatch::TooLarge(size));
    }
    Ok(size)
}

/// Calls `each` with type tag and payload of every record, until it fails.
fn for_each<'a>(
    form: Form,
    tag: u16,
    body: &'a [u8],
    mut each: impl FnMut(u16, &'a [u8]) -> Result<(), BadBatch>,
) -> Result<(), BadBatch> {
    match form {
        Form::One => each(tag, body),
        Form::Lines => lines(body).try_for_each(|line| each(tag, line)),
        Form::Counted => counted::Records::new(body).zip(0..).try_for_each(|(record, index)| {
            let (type_tag, payload) = record.map_err(|why| BadBatch::Malformed(index, why))?;
            each(type_tag, payload)
        }),
        Form::JsonArray => json::Elements::new(body).zip(0..).try_for_each(|(element, index)| {
            each(tag, element.map_err(|why| BadBatch::Malformed(index, why))?)
        }),
    }
}

/// The lines of a body that are not empty, without LF or CR LF.
fn lines(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ends =
        memchr::memchr_iter(b'\n', body).chain((!body.ends_with(b"\n")).then_some(body.len()));
    let mut start = 0;
    ends.map(move |end| {
        let line = &body[start..end];
        start = end + 1;
        line.strip_suffix(b"\r").unwrap_or(line)
    })
    .filter(|line| !line.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_media_type_is_compared_without_case_and_parameters() {
        for (value, form) in [
            (None, Form::One),
            (Some("application/json"), Form::One),
            (Some("Application/X-NDJSON ; charset=utf-8"), Form::Lines),
            (Some("application/vnd.aqueduct.records"), Form::Counted),
            (Some("application/vnd.aqueduct.records+json"), Form::JsonArray),
            (Some("application/x-ndjson2"), Form::One),
        ] {
            assert_eq!(Form::of(value.map(str::as_bytes)), form, "{value:?}");
        }
    }

    #[test]
    fn lines_lose_their_ends_and_nothing_else() {
        let split = |body: &'static str| lines(body.as_bytes()).collect::<Vec<_>>();
        assert_eq!(split("a\nb\r\n\r\n\n c \nd"), [&b"a"[..], b"b", b" c ", b"d"]);
        assert_eq!(split("a\n"), [b"a"]);
        assert_eq!(split("\r\r\n"), [b"\r"]);
        assert!(split("").is_empty() && split("\n").is_empty());
    }

    #[test]
    fn a_batch_is_measured_in_granules_with_headers() {
        let ring = Ring {
            id: crate::codec::RingId(0),
            epoch: 1,
            max_payload_bytes: 64,
            capacity_bytes: 320,
        };
        let body = [&[b'x'; 33][..], b"\ny"].concat();
        assert_eq!(
            measure(&ring, Form::Lines, 0, 0, &body),
            Ok(BatchSize { records: 2, granules: 5, largest: 3 })
        );
        let body = [&body[..], b"\nz"].concat();
        assert_eq!(
            measure(&ring, Form::Lines, 0, 0, &body),
            Ok(BatchSize { records: 3, granules: 7, largest: 3 })
        );
        let body = [&body[..], b"\nz"].concat();
        let size = BatchSize { records: 4, granules: 9, largest: 3 };
        assert_eq!(measure(&ring, Form::Lines, 0, 0, &body), Err(BadBatch::TooLarge(size)));
        let body = [&b"a\n"[..], &[b'x'; 65]].concat();
        assert_eq!(measure(&ring, Form::Lines, 0, 0, &body), Err(BadBatch::RecordTooLarge(1)));
        assert_eq!(measure(&ring, Form::Lines, 0, 0, b"\n"), Err(BadBatch::Empty));
        let size = BatchSize { records: 2, granules: 6, largest: 3 };
        assert_eq!(
            measure(&ring, Form::Lines, 0, 32, b"a\n32 bytes are not too much for it..\n"),
            Err(BadBatch::RecordTooLarge(1))
        );
        assert_eq!(measure(&ring, Form::Lines, 0, 32, b"a\nb\n"), Ok(size));
    }
}
